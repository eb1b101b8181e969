"""A name, a folder or the specimen -> model and tokenizer; exact, friendly failures."""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.foundation.storage import read_json
from monosemy.models.fused import fuse
from monosemy.tensors.compute import Compute

if TYPE_CHECKING:
    from transformers import PreTrainedModel
else:  # transformers takes seconds to import, so it is imported only when a model is loaded
    PreTrainedModel = torch.nn.Module

SPECIMEN = "specimen"
ENCODERS = frozenset({"bert"})
"""Model types that read in both directions; they are loaded without a language-model head."""

_CPU = Compute()
_SPECIMEN_FOLDER = Path(__file__).with_name("specimen")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
# Nothing pickled, and no copies for other frameworks in subfolders.
_WANTED = ("*.json", "*.safetensors", "tokenizer.model", "vocab.txt", "merges.txt")
_WANTED_NOT = ("*/*",)


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be read, with the tokenizer that belongs to it.

    Attributes
    ----------
    name : what the user called it: ``specimen``, a folder, a hub name.
    model : in evaluation mode, its parameters frozen.
    tokenizer : the Hugging Face tokenizer.
    family : the model type of its configuration: ``gpt2``, ``gpt_neox``, ``llama``, ``bert``, ...
    context : the most positions a context may have.
    """

    name: str
    model: PreTrainedModel
    tokenizer: Any
    family: str
    context: int

    @property
    def vocabulary(self) -> int:
        """How many token ids the model embeds."""
        return self.model.config.vocab_size

    @property
    def layers(self) -> int:
        """How many blocks the model has."""
        return self.model.config.num_hidden_layers

    @property
    def width(self) -> int:
        """Numbers in a vector of the residual stream."""
        return self.model.config.hidden_size

    @property
    def device(self) -> torch.device:
        """Where its parameters live."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its parameters."""
        return next(self.model.parameters()).dtype

    @property
    def is_causal(self) -> bool:
        """Whether it predicts the next token, and so has a cross-entropy."""
        return self.family not in ENCODERS


def load(name: str | Path, compute: Compute = _CPU, progress: Progress = SILENT) -> LoadedModel:
    """The model and tokenizer called `name`, frozen and in evaluation mode.

    Causal language models come with their head, encoders (BERT) without head and pooler. Attention
    is PyTorch's own wherever the family allows it: on two CPU cores it was 1.2 to 2.2 times as fast
    as the written-out form at every size tried.

    Parameters
    ----------
    name : ``specimen`` (the model that ships with the package), a folder with ``config.json``,
        safetensors weights and tokenizer, or a name on the Hugging Face hub (``gpt2``,
        ``owner/name``), which is downloaded only because it was named here.
    compute : device and precision.

    Errors
    ------
    `UserError` for an unknown name, a hub that cannot be reached, and a folder that is incomplete
    or corrupt, with every reason at once. Pickled weights are never opened.
    """
    with progress.task(f"load {name}", 2, "steps") as task, without_notices(), without_bars():
        folder = _folder_of(name)
        _refuse_incomplete(folder, str(name))
        task.advance(1, "files are whole")
        loaded = _open(folder, str(name), compute)
        task.advance(1)
    return loaded


def reinitialised(loaded: LoadedModel, seed: int) -> LoadedModel:
    """The same architecture and tokenizer with fresh random weights, which have learned nothing.

    Weights follow the configuration's own initialisation and depend on `seed` alone; the global
    random state is left as it was.
    """
    model = loaded.model
    with without_notices(), torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the accelerators; every weight is drawn on the CPU.
        torch.default_generator.manual_seed(seed)
        fresh: Any = type(model)(copy.deepcopy(model.config), **_options(loaded.family))
    fresh = _ready(fresh.to(device=loaded.device, dtype=loaded.dtype))
    return replace(loaded, name=f"{loaded.name} (re-initialised, seed {seed})", model=fresh)


def longest_context(model: PreTrainedModel) -> int:
    """The most positions `model` can read at once; a billion where its family sets no limit."""
    return getattr(model.config, "max_position_embeddings", None) or 10**9


@contextmanager
def without_notices() -> Iterator[None]:
    """Silences what transformers logs below an error; its own setting comes back afterwards."""
    _SILENCE.begin()
    try:
        yield
    finally:
        _SILENCE.end()


class _Silence:
    """Lasts from the first that begins it to the last that ends it, whatever their threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.depth = self.verbosity = 0

    def begin(self) -> None:
        from transformers.utils import logging

        with self.lock:
            if not self.depth:
                self.verbosity = logging.get_verbosity()
                logging.set_verbosity_error()
            self.depth += 1

    def end(self) -> None:
        from transformers.utils import logging

        with self.lock:
            self.depth -= 1
            if not self.depth:
                logging.set_verbosity(self.verbosity)


_SILENCE = _Silence()


@contextmanager
def without_bars() -> Iterator[None]:
    """Hides the progress bars of transformers; its own setting comes back afterwards."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


# --- from a name to a folder ---------------------------------------------------------------------


def _folder_of(name: str | Path) -> Path:
    text, folder = str(name), Path(name).expanduser()
    if text == SPECIMEN:
        return _SPECIMEN_FOLDER
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UserError(f"{text} is a file; a model is a folder with config.json: {folder.parent}?")
    near = nearest(text, [SPECIMEN])
    if isinstance(name, Path) or near or not _HUB_NAME.fullmatch(text):
        raise UserError(
            f"unknown model {text!r}: no such folder; wanted '{SPECIMEN}', a folder with "
            "config.json, or a name on the Hugging Face hub such as 'gpt2' or "
            f"'EleutherAI/pythia-70m'{near}"
        )
    return _download(text)


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            name, allow_patterns=list(_WANTED), ignore_patterns=list(_WANTED_NOT)
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"model {name!r}: no folder of that name here, and the Hugging Face hub did not give "
            f"it ({_brief(error)}). Check the name and the "
            "connection; or copy the model's folder here and name that; or use "
            f"'{SPECIMEN}', which needs no download"
        ) from None
    return Path(found)


def _brief(error: BaseException) -> str:
    """The error's kind and message on one line, cut where a library becomes talkative."""
    message = " ".join(str(error).split())
    short = message if len(message) <= 160 else message[:160].rsplit(" ", 1)[0] + " ..."
    return f"{type(error).__name__}: {short}"


# --- whether a folder is whole -------------------------------------------------------------------


def _refuse_incomplete(folder: Path, name: str) -> None:
    reasons = [
        *_config_problems(folder),
        *_weight_problems(folder),
        *_tokenizer_problems(folder),
    ]
    if reasons and name == SPECIMEN:
        raise UserError(
            "the specimen's files are not whole: install the package again, or train it with "
            "'monosemy specimen train'\n" + "\n".join(f"  - {reason}" for reason in reasons)
        )
    refuse(reasons, f"the model folder {folder}")


def _config_problems(folder: Path) -> list[str]:
    from transformers import CONFIG_MAPPING, __version__

    try:
        config = read_json(folder / "config.json", "the model's configuration")
    except UserError as error:
        return [str(error)]
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(kind, str):
        return [f"{folder / 'config.json'} names no 'model_type'; wanted one such as 'gpt2'"]
    if kind not in CONFIG_MAPPING:
        return [
            f"{folder / 'config.json'}: transformers {__version__} does not know the model type "
            f"{kind!r}{nearest(kind, CONFIG_MAPPING)}"
        ]
    return []


def _weight_problems(folder: Path) -> list[str]:
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists():
        try:
            names = sorted(set(read_json(index, "the index of the weights")["weight_map"].values()))
        except (UserError, KeyError, TypeError, AttributeError) as error:
            return [f"{index} is no index of weights: {error}"]
    elif not (folder / names[0]).exists():
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        also = f" ({', '.join(pickled)} is pickled and never opened)" if pickled else ""
        return [
            f"the weights are missing: {folder / names[0]} does not exist{also}; "
            "write them with model.save_pretrained(folder)"
        ]
    return [reason for name in names for reason in _safetensors_problems(folder / name)]


def _safetensors_problems(path: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return [f"the weights are incomplete: {path} does not exist"]
    try:
        with safe_open(path, framework="pt"):
            return []
    except SafetensorError as error:
        size = path.stat().st_size
        return [f"{path} ({size:,} bytes) is truncated or no safetensors file: {_brief(error)}"]


def _tokenizer_problems(folder: Path) -> list[str]:
    if any((folder / name).exists() for name in _TOKENIZER_FILES):
        return []
    return [
        f"the tokenizer is missing: {folder} holds none of {', '.join(_TOKENIZER_FILES)}; "
        "write it with tokenizer.save_pretrained(folder)"
    ]


# --- from a whole folder to a model --------------------------------------------------------------


def _open(folder: Path, name: str, compute: Compute) -> LoadedModel:
    from transformers import AutoTokenizer

    family = read_json(folder / "config.json", "the model's configuration")["model_type"]
    try:
        model, report = _open_weights(folder, family, compute)
    except Exception as error:  # the library raises every kind
        raise UserError(
            f"the model in {folder} cannot be opened as {family!r}, a causal language model or an "
            f"encoder: {_brief(error)}"
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise UserError(f"the tokenizer in {folder} cannot be opened: {_brief(error)}") from error
    refuse(_misfits(folder, model, tokenizer, report), f"the model folder {folder}")
    model = _ready(model.to(compute.device))
    return LoadedModel(name, model, tokenizer, family, longest_context(model))


def _open_weights(folder: Path, family: str, compute: Compute) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoModel, AutoModelForCausalLM

    opener: Any = AutoModel if family in ENCODERS else AutoModelForCausalLM
    return opener.from_pretrained(
        folder,
        dtype=compute.torch_dtype,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused below, each with its name
        **_options(family),
    )


def _options(family: str) -> dict[str, bool]:
    # The pooler is a head over the first token; many encoders are saved without one.
    return {"add_pooling_layer": False} if family in ENCODERS else {}


def _misfits(
    folder: Path, model: PreTrainedModel, tokenizer: Any, report: dict[str, Any]
) -> list[str]:
    reasons = []
    # Left alone, transformers fills both kinds with random numbers and says so only in a notice.
    if missing := sorted(report["missing_keys"]):
        reasons.append(f"weights that {folder / 'config.json'} wants are missing: {_few(missing)}")
    if wrong := sorted(key for key, *_ in report["mismatched_keys"]):
        reasons.append(
            f"weights have another shape than {folder / 'config.json'} says: {_few(wrong)}"
        )
    if len(tokenizer) > model.config.vocab_size:
        reasons.append(
            f"the tokenizer in {folder} has {len(tokenizer):,} tokens but the model embeds only "
            f"{model.config.vocab_size:,}; they do not belong together"
        )
    return reasons


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _ready(model: PreTrainedModel) -> PreTrainedModel:
    fuse(model)
    return model.eval().requires_grad_(False)
