import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from transformers import BertConfig, BertModel

from monosemy.data import capture as capture_module
from monosemy.data.capture import LiveSource, Reader, capture, model_fingerprint
from monosemy.data.manifest import CONTEXTS, DOCUMENTS, MANIFEST, shard_name
from monosemy.data.shards import ShardFolder, open_shards
from monosemy.data.streams import ActivationStream, Source
from monosemy.data.text import open_corpus
from monosemy.data.tokens import NOWHERE, Contexts, Packing, pack
from monosemy.foundation import storage
from monosemy.foundation.errors import UserError
from monosemy.foundation.storage import DiskFull
from monosemy.models import sites, tap
from monosemy.models.loading import LoadedModel, load, reinitialised
from monosemy.tensors.compute import Compute

RESID = "blocks.0.hook_resid_post"
NEURONS = "blocks.1.mlp.hook_post"


def at(loaded, *names):
    return [sites.resolve(loaded.model, name) for name in names]


def live(loaded, contexts, name=RESID, **options):
    return LiveSource(loaded, *at(loaded, name), contexts, **options)


def everything(source):
    return source.rows(0, source.tokens)


@pytest.fixture
def forwards(monkeypatch):
    """How many contexts each forward pass had."""
    counted = []
    read = tap.read

    def counting(model, chosen, ids, mask=None):
        counted.append(len(ids))
        return read(model, chosen, ids, mask)

    monkeypatch.setattr(tap, "read", counting)
    return counted


class TestLiveSource:
    def test_rows_are_what_the_model_computes_at_kept_tokens(self, loaded, contexts):
        hidden = loaded.model(contexts.ids, output_hidden_states=True).hidden_states[1]
        source = live(loaded, contexts)
        assert isinstance(source, Source)
        assert (source.tokens, source.width) == (contexts.tokens, 8)
        torch.testing.assert_close(everything(source), hidden[contexts.kept])
        # The test could fail: beginnings of documents are not among the rows.
        assert contexts.tokens < contexts.kept.numel() - int(contexts.padding.sum())

    def test_any_range_gives_the_same_bits(self, loaded, contexts):
        whole = everything(live(loaded, contexts, group=4))
        draw = torch.Generator().manual_seed(0)
        source = live(loaded, contexts, group=4)
        for _ in range(20):
            ends = torch.randint(contexts.tokens + 1, (2,), generator=draw).sort().values
            start, stop = ends.tolist()
            assert torch.equal(source.rows(start, stop), whole[start:stop])
        with pytest.raises(IndexError):
            source.rows(0, contexts.tokens + 1)

    def test_passes_always_cover_the_same_groups(self, loaded, contexts, forwards):
        source = live(loaded, contexts, group=8)
        for start in range(0, contexts.tokens - 50, 50):
            source.rows(start, start + 50)
        full, rest = divmod(len(contexts), 8)
        assert forwards == [8] * full + [rest] * (rest > 0)

    def test_group_without_kept_tokens(self, loaded, contexts):
        kept = contexts.kept.clone()
        kept[4:8] = False
        gap = replace(contexts, kept=kept)
        hidden = loaded.model(contexts.ids, output_hidden_states=True).hidden_states[1]
        torch.testing.assert_close(everything(live(loaded, gap, group=4)), hidden[kept])

    def test_dtype_of_the_model_is_kept_unless_another_is_asked_for(self, loaded, contexts):
        wide = everything(live(loaded, contexts))
        assert wide.dtype == torch.float32
        narrow = live(loaded, contexts, dtype="bfloat16")
        assert torch.equal(everything(narrow), wide.to(torch.bfloat16))
        loaded.model.to(torch.bfloat16)
        assert everything(live(loaded, contexts)).dtype == torch.bfloat16
        with pytest.raises(UserError, match="dtype 'float23'.*did you mean 'float32'"):
            live(loaded, contexts, dtype="float23")

    def test_padding_is_hidden_from_models_that_read_both_ways(self, tokenizer, contexts):
        config = BertConfig(
            vocab_size=270,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=16,
            initializer_range=0.5,  # enough for attention to matter
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = BertModel(config, add_pooling_layer=False).eval()
        loaded = LoadedModel("tiny", model, tokenizer, "bert", 16)
        last = contexts[-1:]
        real = 16 - int(last.padding.sum())
        alone = model(last.ids[:, :real]).last_hidden_state[last.kept[:, :real]]
        seen = model(last.ids).last_hidden_state[last.kept]
        rows = everything(live(loaded, last, name="encoder.layer.0"))
        torch.testing.assert_close(rows, alone)
        assert not torch.allclose(rows, seen, atol=1e-3)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_activation_that_is_not_finite_is_named(self, loaded, contexts, value):
        token = int(contexts.kept.flatten().nonzero()[321])
        context, position = divmod(token, 16)
        wrong = int(contexts.ids[context, position])
        first = int((contexts.ids == wrong)[contexts.kept].int().argmax())
        place = contexts.place(first)
        loaded.model.transformer.wte.weight[wrong, 2:5] = value
        with pytest.raises(UserError) as caught:
            everything(live(loaded, contexts, name="blocks.0.hook_resid_pre"))
        assert str(caught.value) == (
            f"activation at site blocks.0.hook_resid_pre is not finite: document "
            f"{place.document!r}, character {place.offset:,} (context {place.context:,}, position "
            f"{place.position:,}), 3 of 8 values are NaN or infinite; if a lower precision "
            "overflowed, try --dtype float32"
        )

    def test_what_is_left_out_may_be_infinite(self, loaded, contexts):
        loaded.model.transformer.wte.weight[0] = float("inf")  # beginnings of documents
        assert torch.isfinite(everything(live(loaded, contexts, name="hook_embed"))).all()

    def test_overflow_of_the_cast_is_caught(self, loaded, contexts):
        loaded.model.transformer.wte.weight.mul_(1e9)
        everything(live(loaded, contexts, name="hook_embed"))
        with pytest.raises(UserError, match="try --dtype float32"):
            everything(live(loaded, contexts, name="hook_embed", dtype="float16"))


class TestReader:
    def test_several_sites_take_one_pass_and_give_the_same_bits(self, loaded, contexts, forwards):
        both = Reader(loaded, at(loaded, RESID, NEURONS), contexts).rows(0, contexts.tokens)
        assert len(forwards) == 1  # all of them are few
        for name in (RESID, NEURONS):
            assert torch.equal(both[name], everything(live(loaded, contexts, name)))

    def test_what_does_not_fit_is_refused_with_all_reasons(self, loaded, contexts):
        columns = (contexts.ids + 9, contexts.document, contexts.offset, contexts.kept & False)
        wide = Contexts(*(column[:90].reshape(-1, 32) for column in columns), contexts.documents)
        with pytest.raises(UserError, match="reading tiny has 5 problems") as caught:
            Reader(loaded, [], wide, group=0)
        message = str(caught.value)
        assert "no site to read" in message
        assert "group is 0 contexts; wanted at least 1" in message
        assert "no token is kept" in message
        assert "contexts of 32 positions are longer than the 16 that tiny was made for" in message
        highest = int(wide.ids.max())
        assert f"token id {highest} is outside the 270 that tiny knows" in message


class TestFingerprint:
    def test_of_a_model_sees_its_weights(self, loaded):
        before = model_fingerprint(loaded.model)
        assert model_fingerprint(loaded.model) == before
        assert model_fingerprint(reinitialised(loaded, 1).model) != before
        loaded.model.transformer.h[1].mlp.c_fc.weight[0, 0] += 1
        assert model_fingerprint(loaded.model) != before

    def test_of_a_source_is_equal_exactly_where_the_rows_are(self, loaded, contexts, tmp_path):
        source = live(loaded, contexts)
        shards = capture(loaded, at(loaded, RESID, NEURONS), contexts, tmp_path, shard_tokens=99)
        assert shards[RESID].fingerprint == source.fingerprint
        others = [
            shards[NEURONS],
            live(loaded, contexts[:-1]),
            live(loaded, contexts, group=7),
            live(loaded, contexts, dtype="bfloat16"),
            live(reinitialised(loaded, 1), contexts),
        ]
        assert len({source.fingerprint, *(other.fingerprint for other in others)}) == 6


class TestCapture:
    @pytest.mark.parametrize("shard_tokens", [64, 100, 10_000])
    @pytest.mark.parametrize("dtype", [None, "bfloat16"])
    def test_shards_and_live_give_the_same_stream(
        self, loaded, contexts, tmp_path, shard_tokens, dtype
    ):
        options = {"group": 8, "dtype": dtype}
        shards = capture(
            loaded,
            at(loaded, RESID, NEURONS),
            contexts,
            tmp_path,
            shard_tokens=shard_tokens,
            **options,
        )
        for name in (RESID, NEURONS):
            source = live(loaded, contexts, name, **options)
            assert isinstance(shards[name], Source)
            assert torch.equal(everything(shards[name]), everything(source))
            streams = [
                ActivationStream(one, 32, Compute(seed=4), epochs=2, block=200)
                for one in (source, shards[name])
            ]
            batches = [list(stream) for stream in streams]
            assert len(batches[0]) == len(batches[1]) > 20
            assert all(map(torch.equal, *batches))

    def test_a_run_may_go_on_from_shards_where_it_was_live(self, loaded, contexts, tmp_path):
        shards = capture(loaded, at(loaded, RESID), contexts, tmp_path, shard_tokens=99)
        first = ActivationStream(live(loaded, contexts), 32, Compute(), block=200)
        second = ActivationStream(shards[RESID], 32, Compute(), block=200)
        for _ in range(9):
            next(first)
        second.load_state_dict(first.state_dict())
        assert all(map(torch.equal, first, second))

    def test_capture_runs_each_context_once(self, loaded, contexts, tmp_path, forwards):
        capture(loaded, at(loaded, RESID, NEURONS), contexts, tmp_path, shard_tokens=50)
        assert sum(forwards) == len(contexts)

    def test_provenance_comes_back(self, loaded, contexts, tmp_path):
        source = capture(loaded, at(loaded, RESID), contexts, tmp_path)[RESID]
        back = source.contexts
        for name in ("ids", "document", "offset", "kept"):
            assert torch.equal(getattr(back, name), getattr(contexts, name))
            assert getattr(back, name).dtype == getattr(contexts, name).dtype
        assert (back.documents, back.origin) == (contexts.documents, contexts.origin)
        assert back.place(77) == contexts.place(77)
        assert back.place(77).offset != NOWHERE

    def test_progress_counts_every_token(self, loaded, contexts, tmp_path):
        from contextlib import contextmanager

        told = {}

        class Watcher:
            @contextmanager
            def task(self, description, total, unit=""):
                told[description] = [total, 0]

                class Task:
                    def advance(self, amount=1, note=""):
                        told[description][1] += amount

                yield Task()

        capture(loaded, at(loaded, RESID), contexts, tmp_path, shard_tokens=99, progress=Watcher())
        assert told["capture"] == [contexts.tokens, contexts.tokens]


KILLED = """
import os, signal, sys
from pathlib import Path
from monosemy.data.capture import capture
from monosemy.data.text import open_corpus
from monosemy.data.tokens import Packing, pack
from monosemy.foundation import storage
from monosemy.models import loading, sites
from monosemy.tensors.compute import Compute

folder, replace, renames = Path(sys.argv[1]), os.replace, []

def dying(*names):
    renames.append(names)
    if len(renames) == 8:  # two for the contexts, one manifest, two shards with theirs, a third
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*names)

storage.os.replace = dying
loaded = loading.load(folder / "model")
corpus = open_corpus(folder / "text.jsonl", "all")
contexts = pack(corpus, loaded.tokenizer, Packing(context=16), Compute(seed=1))
site = sites.resolve(loaded.model, sys.argv[2])
capture(loaded, [site], contexts, folder / "shards", shard_tokens=99)
"""


@pytest.mark.slow
def test_a_process_killed_by_the_system_goes_on(loaded, corpus, tmp_path):
    loaded.model.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    lines = [json.dumps({"text": document.text}) for document in corpus.documents]
    (tmp_path / "text.jsonl").write_text("\n".join(lines))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), RESID])
    assert killed.returncode == -signal.SIGKILL
    folder = tmp_path / "shards"
    assert len(list(folder.glob("shard-*"))) == 2
    assert len(list(folder.glob(".shard-00002*"))) == 1  # half a rename: what the kill left
    again = load(tmp_path / "model")
    contexts = pack(
        open_corpus(tmp_path / "text.jsonl", "all"),
        again.tokenizer,
        Packing(context=16),
        Compute(seed=1),
    )
    source = capture(again, at(again, RESID), contexts, folder, shard_tokens=99)[RESID]
    source.verify()
    assert not list(folder.glob(".*"))
    assert torch.equal(everything(source), everything(live(again, contexts)))


class Killed(BaseException):
    """Stands for a signal that ends the process."""


def stop_after(monkeypatch, shards):
    """Let the capture die when it has written so many shards."""
    write = ShardFolder.write

    def dying(self, shard, rows):
        if shard >= shards:
            raise Killed
        write(self, shard, rows)

    monkeypatch.setattr(ShardFolder, "write", dying)


class TestStoppedCapture:
    def run(self, loaded, contexts, folder, **options):
        options = {"shard_tokens": 99, "group": 4} | options
        return capture(loaded, at(loaded, RESID), contexts, folder, **options)

    def test_goes_on_where_it_was_killed(self, loaded, contexts, tmp_path, monkeypatch, forwards):
        whole = everything(self.run(loaded, contexts, tmp_path / "whole")[RESID])
        folder = tmp_path / "killed"
        with monkeypatch.context() as patch:
            stop_after(patch, 3)
            with pytest.raises(Killed):
                self.run(loaded, contexts, folder)
        (folder / f".{shard_name(3)}.x1y2").write_bytes(b"half")  # what a kill leaves behind
        with pytest.raises(UserError, match="only partly captured.*run the same capture command"):
            open_shards(folder)
        kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*")}
        assert len(kept) == 3
        forwards.clear()
        source = self.run(loaded, contexts, folder)[RESID]
        assert torch.equal(everything(source), whole)
        assert sum(forwards) < len(contexts)
        assert all((folder / name).stat().st_mtime_ns == when for name, when in kept.items())
        assert not list(folder.glob(".*"))
        source.verify()

    def test_a_finished_capture_is_not_repeated(self, loaded, contexts, tmp_path, forwards):
        self.run(loaded, contexts, tmp_path)
        forwards.clear()
        self.run(loaded, contexts, tmp_path)
        assert forwards == []

    def test_damaged_shards_are_captured_again(self, loaded, contexts, tmp_path):
        whole = everything(self.run(loaded, contexts, tmp_path)[RESID])
        path = tmp_path / shard_name(1)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        (tmp_path / shard_name(2)).unlink()
        (tmp_path / DOCUMENTS).write_text("[]")
        source = self.run(loaded, contexts, tmp_path)[RESID]
        source.verify()
        assert torch.equal(everything(source), whole)
        assert source.contexts.documents == contexts.documents

    @pytest.mark.parametrize("call", ["fsync", "replace"])
    @pytest.mark.parametrize("survives", [0, 2, 3, 4, 7])
    def test_full_disk_leaves_a_state_that_can_go_on(
        self, loaded, contexts, tmp_path, monkeypatch, call, survives
    ):
        calls = []
        real = getattr(os, call)

        def failing(*args):
            calls.append(args)
            if len(calls) > survives:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(storage.os, call, failing)
            with pytest.raises(DiskFull, match="no space left for .*run the same command again"):
                self.run(loaded, contexts, tmp_path)
        assert not list(tmp_path.glob(".*"))  # nothing half-written stays
        source = self.run(loaded, contexts, tmp_path)[RESID]
        source.verify()
        assert torch.equal(everything(source), everything(live(loaded, contexts, group=4)))

    def test_full_disk_is_foreseen(self, loaded, contexts, tmp_path, monkeypatch):
        usage = type("Usage", (), {"free": contexts.tokens * 8 * 4 - 1})
        monkeypatch.setattr(capture_module.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(DiskFull, match=r"take [\d,]+ bytes and .* has [\d,]+ free"):
            self.run(loaded, contexts, tmp_path)
        usage.free += 1
        self.run(loaded, contexts, tmp_path)

    def test_other_settings_are_refused_with_all_reasons(self, loaded, contexts, tmp_path):
        self.run(loaded, contexts, tmp_path)
        other = replace(reinitialised(loaded, 3), name="other")
        with pytest.raises(UserError, match="6 problems") as caught:
            self.run(other, contexts[:-1], tmp_path, dtype="bfloat16")
        message = str(caught.value)
        assert f"model is 'tiny' in {tmp_path} and 'other' now; give the same settings" in message
        assert f"dtype is 'float32' in {tmp_path} and 'bfloat16' now" in message

    def test_a_folder_with_other_files_is_left_alone(self, loaded, contexts, tmp_path):
        (tmp_path / "thesis.tex").write_text("mine")
        with pytest.raises(UserError, match=r"holds other files \(thesis.tex\) and no manifest"):
            self.run(loaded, contexts, tmp_path)
        assert [path.name for path in tmp_path.glob("*")] == ["thesis.tex"]

    def test_bad_shard_size_is_refused(self, loaded, contexts, tmp_path):
        with pytest.raises(UserError, match="shard_tokens is 0; wanted at least 1"):
            capture(loaded, at(loaded, RESID), contexts, tmp_path, shard_tokens=0)

    def test_killed_before_the_manifest_starts_anew(self, loaded, contexts, tmp_path):
        (tmp_path / CONTEXTS).write_bytes(b"from before")
        assert not (tmp_path / MANIFEST).exists()
        self.run(loaded, contexts, tmp_path)[RESID].verify()
