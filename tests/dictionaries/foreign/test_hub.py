"""Addresses on the hub, with the hub's own library replaced: nothing here leaves the machine."""

import sys
from types import SimpleNamespace

import huggingface_hub
import pytest

from monosemy.dictionaries import files
from monosemy.dictionaries.foreign import hub
from monosemy.dictionaries.foreign.conversion import convert
from monosemy.dictionaries.foreign.hub import Address
from monosemy.foundation.errors import UserError


class Hub:
    """What was asked of the library, and what it is to answer."""

    def __init__(self, root):
        self.root, self.asked, self.files, self.error = root, [], [], None

    def snapshot_download(self, repo, **given):
        self.asked.append(("download", repo, given))
        if self.error:
            raise self.error
        return str(self.root)

    def list_repo_files(self, repo, **given):
        if self.error:
            raise self.error
        return self.files

    def create_repo(self, repo, **given):
        self.asked.append(("create", repo, given))

    def upload_folder(self, folder_path, **given):
        kept = self.root / "uploaded"
        files.save(files.load(folder_path), kept)
        self.asked.append(("upload", given))
        if self.error:
            raise self.error


@pytest.fixture
def away(tmp_path, monkeypatch):
    """The library's calls, replaced."""
    away = Hub(tmp_path / "snapshot")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", away.snapshot_download)
    api = SimpleNamespace(
        list_repo_files=away.list_repo_files,
        create_repo=away.create_repo,
        upload_folder=away.upload_folder,
    )
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    return away


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://me/mine", Address("me/mine", None, "")),
        ("hf://me/mine/a/b", Address("me/mine", None, "a/b")),
        ("hf://me/mine@v1.0/a", Address("me/mine", "v1.0", "a")),
        ("hf://me/mine@v1/a/", Address("me/mine", "v1", "a")),
    ],
)
def test_an_address_is_taken_apart_and_put_together(text, address):
    assert Address.parse(text) == address
    assert str(address) == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://me", "hf://me/", "hf://me/mine/../other", "hf://me/mine//a", "hf://m e/mine",
     "https://huggingface.co/me/mine"],
)  # fmt: skip
def test_what_is_no_address(text):
    with pytest.raises(UserError, match="is no address on the hub; wanted hf://owner/repository"):
        Address.parse(text)


def test_a_dictionary_is_fetched_and_read(away, named):
    files.save(named("topk"), away.root / "layers" / "3")
    assert files.load("hf://me/mine@v1/layers/3").selection.k == 3
    assert away.asked == [
        ("download", "me/mine", {"revision": "v1", "allow_patterns": ["layers/3", "layers/3/*"]})
    ]


def test_what_is_not_there(away):
    away.root.mkdir()
    with pytest.raises(UserError, match="hf://me/mine/x: there is no 'x' in me/mine"):
        files.load("hf://me/mine/x")
    away.error = OSError("no network here\nand more")
    with pytest.raises(UserError, match=r"cannot be fetched \(OSError: no network here\)$"):
        files.load("hf://me/mine/x")


def test_a_dictionary_is_sent_only_where_nothing_is(away, folder):
    away.files = [".gitattributes", "other/cfg.json"]
    done = convert(str(folder), "hf://me/mine@dev/demo", "saelens")
    assert sorted(done.files) == ["cfg.json", "sae_weights.safetensors"]
    assert [asked[0] for asked in away.asked] == ["create", "upload"]
    assert away.asked[0][2] == {"private": True, "exist_ok": True}
    sent = away.asked[1][1]
    assert (sent["repo_id"], sent["revision"], sent["path_in_repo"]) == ("me/mine", "dev", "demo")
    assert files.load(away.root / "uploaded").selection.k == 3
    away.asked.clear()
    with pytest.raises(UserError, match="hf://me/mine/other is not empty: it holds other/cfg.json"):
        convert(str(folder), "hf://me/mine/other", "saelens")
    assert away.asked == []


def test_a_hub_that_says_no(away, folder):
    away.error = PermissionError("403")
    with pytest.raises(UserError, match=r"hf://me/mine cannot be looked at \(PermissionError: 403"):
        hub.check_free("hf://me/mine")
    with pytest.raises(UserError, match="hf://me/mine cannot be written"):
        hub.send(folder, "hf://me/mine")


def test_a_repository_that_is_new_is_free(away):
    error = huggingface_hub.errors.RepositoryNotFoundError
    away.error = error.__new__(error)
    hub.check_free("hf://me/mine/demo")


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"need the package huggingface_hub.*monosemy\[hub\]"):
        files.load("hf://me/mine/x")
