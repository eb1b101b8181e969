import hashlib
import json
import struct
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import save

from monosemy.data.manifest import CONTEXTS, DOCUMENTS, MANIFEST, Settings, shard_name
from monosemy.data.shards import ShardFolder, open_shards
from monosemy.foundation.errors import UserError


@pytest.fixture
def settings(contexts):
    return Settings(
        model="tiny",
        model_fingerprint="f00d",
        sites={"a.site": 3, "b.site": 2},
        dtype="float32",
        group=8,
        contexts=len(contexts),
        context_length=contexts.length,
        contexts_fingerprint=contexts.fingerprint,
        tokens=contexts.tokens,
        tokens_per_shard=300,
        origin=asdict(contexts.origin),
    )


@pytest.fixture
def rows(settings):
    """What is captured, in full."""
    draw = torch.Generator().manual_seed(0)
    return {
        site: torch.randn(settings.tokens, width, generator=draw)
        for site, width in settings.sites.items()
    }


@pytest.fixture
def folder(tmp_path, settings, rows, contexts):
    """A complete folder."""
    target = ShardFolder(tmp_path, settings, contexts)
    for shard in target.missing:
        start, stop = settings.bounds(shard)
        target.write(shard, {site: value[start:stop] for site, value in rows.items()})
    return tmp_path


def tensors(path):
    """A safetensors file read by hand: eight bytes of length, a JSON header, the numbers."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    metadata = header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        found[name] = (entry["dtype"], entry["shape"], body[start:stop])
    return metadata, found


class TestFormat:
    """The folder is what docs/formats/shards.md says, to the byte."""

    def test_files(self, folder, settings):
        shards = [f"shard-0000{i}.safetensors" for i in range(settings.shards)]
        found = sorted(path.name for path in folder.iterdir())
        assert found == sorted(["manifest.json", "contexts.safetensors", "documents.json", *shards])
        assert settings.shards == 3

    def test_manifest(self, folder, contexts):
        manifest = json.loads((folder / "manifest.json").read_text())
        assert list(manifest) == [
            "format",
            "version",
            "model",
            "model_fingerprint",
            "sites",
            "dtype",
            "group",
            "contexts",
            "context_length",
            "contexts_fingerprint",
            "tokens",
            "tokens_per_shard",
            "origin",
            "files",
        ]
        assert manifest["format"] == "monosemy-activations"
        assert manifest["version"] == 1
        assert manifest["sites"] == {"a.site": 3, "b.site": 2}
        assert set(manifest["origin"]) == {"corpus", "split", "fingerprint", "seed"}
        assert set(manifest["files"]) == {p.name for p in folder.iterdir()} - {"manifest.json"}
        for name, record in manifest["files"].items():
            data = (folder / name).read_bytes()
            assert record == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def test_shard(self, folder, rows):
        metadata, found = tensors(folder / "shard-00001.safetensors")
        assert metadata == {"format": "monosemy-activations"}
        assert found == {
            site: ("F32", [300, len(value[0])], value[300:600].numpy().tobytes())
            for site, value in rows.items()
        }
        _, last = tensors(folder / "shard-00002.safetensors")
        assert last["a.site"][1] == [len(rows["a.site"]) - 600, 3]

    def test_contexts_and_documents(self, folder, contexts):
        _, found = tensors(folder / "contexts.safetensors")
        shape = [len(contexts), 16]
        for name in ("ids", "document", "offset"):
            numbers = getattr(contexts, name).int().numpy().tobytes()
            assert found[name] == ("I32", shape, numbers)
        assert found["kept"] == ("BOOL", shape, contexts.kept.numpy().tobytes())
        assert json.loads((folder / "documents.json").read_text()) == list(contexts.documents)


class TestReading:
    def test_any_range_of_rows(self, folder, rows):
        source = open_shards(folder, "b.site")
        assert (source.tokens, source.width, source.site) == (len(rows["b.site"]), 2, "b.site")
        for start, stop in [(0, source.tokens), (0, 0), (299, 301), (300, 600), (3, 603), (7, 8)]:
            assert torch.equal(source.rows(start, stop), rows["b.site"][start:stop])
        for start, stop in [(-1, 2), (2, 1), (0, source.tokens + 1)]:
            with pytest.raises(IndexError):
                source.rows(start, stop)

    def test_dtype_is_kept(self, tmp_path, settings, contexts):
        half = replace(settings, dtype="bfloat16", sites={"a": 2}, tokens_per_shard=10_000)
        target = ShardFolder(tmp_path, half, contexts)
        value = torch.randn(half.tokens, 2).bfloat16()
        target.write(0, {"a": value})
        source = open_shards(tmp_path)  # the only site need not be named
        assert source.dtype == torch.bfloat16
        assert source.rows(0, 5).dtype == torch.bfloat16
        assert torch.equal(source.rows(0, half.tokens), value)

    def test_site_must_be_one_of_those_there(self, folder):
        with pytest.raises(UserError, match="several sites; name one of: a.site, b.site"):
            open_shards(folder)
        with pytest.raises(
            UserError, match="no site 'a.sight'.*a.site, b.site; did you mean 'a.site'"
        ):
            open_shards(folder, "a.sight")

    def test_folder_without_a_manifest(self, tmp_path):
        with pytest.raises(UserError, match="manifest of the activation shards is missing"):
            open_shards(tmp_path)


class TestDamage:
    def test_truncated_shard_is_named(self, folder):
        path = folder / shard_name(1)
        size = path.stat().st_size
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(UserError) as caught:
            open_shards(folder, "a.site")
        assert str(caught.value) == (
            f"{path} has {size - 100:,} bytes, the manifest says {size:,}; run the same capture "
            "command again: it keeps what is whole and writes the rest"
        )

    def test_all_bad_files_are_named(self, folder):
        (folder / shard_name(0)).unlink()
        (folder / CONTEXTS).write_bytes(b"")
        with pytest.raises(UserError, match="2 problems") as caught:
            open_shards(folder, "a.site")
        assert f"{folder / shard_name(0)} is missing" in str(caught.value)
        assert f"{folder / CONTEXTS} has 0 bytes" in str(caught.value)

    def test_tampering_is_found_by_verify(self, folder):
        open_shards(folder, "a.site").verify()
        path = folder / shard_name(2)
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)
        source = open_shards(folder, "a.site")  # the size is right, so opening cannot tell
        with pytest.raises(UserError, match=r"shard-00002\S* has SHA-256 .* the manifest says"):
            source.verify()

    def test_header_that_lies_is_found_on_reading(self, folder, rows):
        first, last = folder / shard_name(0), folder / shard_name(2)
        source = open_shards(folder, "a.site")
        last.write_bytes(first.read_bytes())
        with pytest.raises(UserError, match=r"of shape \[300, 3\], wanted .* of shape \[\d+, 3"):
            source.rows(600, 601)
        last.write_bytes(save({"a.site": rows["a.site"][600:].half()}))
        with pytest.raises(UserError, match="as torch.float16 .* wanted torch.float32"):
            source.rows(600, 601)
        last.write_bytes(b"not safetensors")
        with pytest.raises(UserError, match="shard-00002.safetensors is damaged"):
            source.rows(600, 601)
        last.unlink()
        with pytest.raises(UserError, match="shard-00002.safetensors is damaged"):
            source.rows(600, 601)
        assert torch.equal(source.rows(0, 600), rows["a.site"][:600])

    def test_other_documents_are_found_on_reading(self, folder, contexts):
        names = json.loads((folder / DOCUMENTS).read_text())
        assert open_shards(folder, "a.site").contexts.fingerprint == contexts.fingerprint
        names[0], names[1] = names[1], names[0]
        (folder / DOCUMENTS).write_text(json.dumps(names, ensure_ascii=False) + "\n")
        data = bytearray((folder / DOCUMENTS).read_bytes())
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["files"][DOCUMENTS]["bytes"] = len(data)
        (folder / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(UserError, match="is not what was captured from"):
            open_shards(folder, "a.site").contexts

    def test_damaged_contexts_are_named(self, folder):
        source = open_shards(folder, "a.site")
        (folder / CONTEXTS).write_bytes(b"not safetensors")
        with pytest.raises(UserError, match="contexts.safetensors is damaged"):
            source.contexts


def test_partial_folder_is_refused(tmp_path, settings, rows, contexts):
    target = ShardFolder(tmp_path, settings, contexts)
    target.write(1, {site: value[300:600] for site, value in rows.items()})
    assert target.missing == [0, 2]
    with pytest.raises(UserError) as caught:
        open_shards(tmp_path, "a.site")
    assert str(caught.value) == (
        f"{tmp_path} is only partly captured: 2 of 5 files are still to be written; "
        "run the same capture command again to finish"
    )
    assert ShardFolder(tmp_path, settings, contexts).missing == [0, 2]
