"""Dictionaries on the Hugging Face hub: ``hf://owner/repository[@revision]/path``.

Nothing is fetched or sent unless such an address is given. `huggingface_hub` does the work, with
its own cache and its own login.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType

from monosemy.foundation.errors import UserError

SCHEME = "hf://"
_ADDRESS = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<path>.*))?", re.ASCII
)


@dataclass(frozen=True)
class Address:
    """A place on the hub.

    Attributes
    ----------
    repo : ``owner/repository``.
    revision : a branch, tag or commit; `None` for the main branch.
    path : a folder or file inside; empty for all of it.
    """

    repo: str
    revision: str | None
    path: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """From ``hf://owner/repository[@revision]/path``; `UserError` for anything else."""
        match = _ADDRESS.fullmatch(text)
        path = (match["path"] or "").removesuffix("/") if match else ""
        if match is None or any(piece in ("", ".", "..") for piece in path.split("/") if path):
            raise UserError(
                f"{text!r} is no address on the hub; wanted hf://owner/repository[@revision]/path"
            )
        return cls(match["repo"], match["revision"], path)

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{SCHEME}{self.repo}{at}" + (f"/{self.path}" if self.path else "")


def is_address(text: str | Path) -> bool:
    """Whether `text` names a place on the hub."""
    return isinstance(text, str) and text.startswith(SCHEME)


def fetched(text: str) -> Path:
    """What lies at the address `text`, in the hub's cache on this machine.

    Errors
    ------
    `UserError` without `huggingface_hub`, without a network, and for what is not there.
    """
    address, hub = Address.parse(text), _library()
    asked = [address.path, f"{address.path}/*"] if address.path else None
    try:
        root = hub.snapshot_download(address.repo, revision=address.revision, allow_patterns=asked)
    except Exception as error:
        # The hub, its network and its cache each raise kinds of their own.
        raise _failed(f"{address} cannot be fetched", error) from error
    found = Path(root) / PurePosixPath(address.path)
    if not found.exists():
        raise UserError(f"{address}: there is no {address.path!r} in {address.repo}")
    return found


def check_free(text: str) -> None:
    """`UserError` unless nothing lies at the address `text` yet."""
    address, hub = Address.parse(text), _library()
    try:
        names = hub.HfApi().list_repo_files(address.repo, revision=address.revision)
    except hub.errors.RepositoryNotFoundError:
        return
    except Exception as error:
        raise _failed(f"{address} cannot be looked at", error) from error
    prefix = f"{address.path}/" if address.path else ""
    # What the hub puts into every new repository is nobody's work.
    taken = [name for name in names if name.startswith(prefix) and name != ".gitattributes"]
    if taken:
        raise UserError(f"{address} is not empty: it holds {taken[0]}; name a new place")


def send(folder: Path, text: str) -> None:
    """Upload the files in `folder` to the address `text`; a new repository is private."""
    address, hub = Address.parse(text), _library()
    try:
        api = hub.HfApi()
        api.create_repo(address.repo, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=address.repo,
            revision=address.revision,
            folder_path=str(folder),
            path_in_repo=address.path or None,
            commit_message="A dictionary, written by monosemy",
        )
    except Exception as error:
        raise _failed(f"{address} cannot be written", error) from error


def _library() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors  # noqa: F401
    except ImportError:
        raise UserError(
            f"{SCHEME} addresses need the package huggingface_hub, which is an extra here: "
            "pip install 'monosemy[hub]'"
        ) from None
    return huggingface_hub


def _failed(what: str, error: Exception) -> UserError:
    lines = str(error).strip().splitlines()
    said = f": {lines[0]}" if lines else ""
    return UserError(f"{what} ({type(error).__name__}{said})")
