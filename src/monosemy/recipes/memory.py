"""What a run holds in memory, before it runs: sizes of tensors, and a few measured constants.

The constants come from traced runs on Linux with torch 2.13; `benchmarks/memory.py` compares the sum
with the peaks of real runs.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch

from monosemy.data.capture import contexts_at_once
from monosemy.data.streams import Source
from monosemy.data.text import Corpus
from monosemy.foundation.errors import UserError
from monosemy.models.loading import LoadedModel
from monosemy.recipes.building import parameters
from monosemy.recipes.recipe import BRANCHING, CROSS_LAYER, LOCAL, DictionaryRecipe
from monosemy.tensors import routes
from monosemy.training.local import RECENT

MIB = 2**20
# Of the libraries beyond torch itself: transformers (or what torch's optimiser imports without it),
# numba, compiled kernels, oneDNN's and MKL's code and buffers.
_REST_MIB = 350
# Where a fresh process cannot be asked: torch for processors on Linux.
_TORCH_MIB = 220
# A tile of pre-activations of the compiled kernels, and of the plain ones.
_TILE, _PLAIN_TILE = 1 << 21, 1 << 24
# Bytes for each active entry of a batch, gradients and sorting included.
_ENTRY = 120
# Bytes for each entry that is listed before the best are chosen: value, latent, token, and as much
# again, because lists double.
_LISTED = 24
# Bytes for each character: of the documents that are tokenised together, and of one on its way.
_TOKENISED, _ON_ITS_WAY = 60, 190
# Of these the allocator keeps so much.
_KEPT = 0.6
# Bytes for each token of the packed contexts.
_PACKED = 25
# Tables of a batch's predictions that are held at once: logits, both distributions, their gradient.
_TABLES = 5
# Documents that are tokenised together (see data.tokens), and characters of a token, about.
_TOGETHER, _CHARACTERS = 64, 4
# What to lower -> the parts that it makes smaller.
_LOWER = {
    "latents": ("dictionary", "passing"),
    "block": ("activations",),
    "local.samples": ("charts",),
    "batch, k or objective.k_start": ("step",),
    "tokens": ("text",),
    "the precision of the model (dtype=bfloat16)": ("model",),
}
# A part of the whole that is too small to be worth a word.
_SMALL = 0.03
ON_DEVICE = ("model", "activations", "dictionary", "step", "charts")
"""Parts that lie on the accelerator, where there is one."""


@dataclass(frozen=True)
class Reading:
    """What is read, as far as memory goes.

    Attributes
    ----------
    tokens : activations in an epoch.
    read, written : numbers in an activation of each place that is read, and written; the same
        tuple where what is read is written.
    sample : rows that the start looks at.
    row_bytes : of an activation in the block.
    model_bytes, forward_bytes : of the parameters, and of what a forward pass makes.
    vocabulary : of the model, for what is learned from its predictions.
    text_bytes, together, longest : of the documents; characters that are tokenised together, and of
        the longest document that is likely to be met.
    """

    tokens: int
    read: tuple[int, ...]
    written: tuple[int, ...]
    sample: int
    row_bytes: int
    model_bytes: int = 0
    forward_bytes: int = 0
    text_bytes: int = 0
    together: int = 0
    longest: int = 0
    vocabulary: int = 0

    @property
    def width(self) -> int:
        """Numbers that lie side by side in a row."""
        return sum(self.read) + (0 if self.read is self.written else sum(self.written))

    @classmethod
    def of_shards(
        cls, source: Source, widths: tuple[tuple[int, ...], tuple[int, ...]], sample: int
    ) -> Reading:
        """From files: no model, no text."""
        return cls(source.tokens, *widths, sample, source.width * source.dtype.itemsize)

    @classmethod
    def of_models(
        cls,
        models: Sequence[LoadedModel],
        widths: tuple[tuple[int, ...], tuple[int, ...]],
        corpus: Corpus,
        tokens: int,
        sample: int,
    ) -> Reading:
        """From `models`, while they read `corpus`."""
        size = models[0].dtype.itemsize
        texts = sorted((document.text for document in corpus.documents), key=len, reverse=True)
        mean = corpus.characters / len(texts)
        # Documents come in a drawn order and only so many, so the longest may not be met.
        read = min(len(texts), max(_TOGETHER, math.ceil(_CHARACTERS * tokens / max(mean, 1))))
        found = cls(
            tokens, *widths, sample, 0,
            model_bytes=sum(map(_model_bytes, models)),
            forward_bytes=max(map(_forward_bytes, models)),
            text_bytes=sum(map(sys.getsizeof, texts)),
            together=round(mean * min(_TOGETHER, len(texts))),
            longest=len(texts[math.ceil(len(texts) / read) - 1]),
            vocabulary=models[0].vocabulary,
        )  # fmt: skip
        return replace(found, row_bytes=found.width * size)


def _model_bytes(loaded: LoadedModel) -> int:
    return sum(p.numel() * p.element_size() for p in loaded.model.parameters())


def _forward_bytes(loaded: LoadedModel) -> int:
    config, positions = loaded.model.config, contexts_at_once(1, loaded.device)
    inner = getattr(config, "intermediate_size", None) or 4 * loaded.width
    return positions * loaded.dtype.itemsize * (6 * loaded.width + 4 * inner)


def estimate(recipe: DictionaryRecipe, reading: Reading) -> dict[str, int]:
    """MiB at the peak of a run, part by part, and their ``total``.

    * ``libraries``: measured in a fresh process, see `libraries`;
    * ``model``: its parameters, and a forward pass;
    * ``text``: the packed tokens, and what tokenising left behind;
    * ``activations``: the block, and the rows that the start looked at;
    * ``dictionary``: parameters, gradients, two moments;
    * ``charts``, where children share subspaces: residuals of every bearer that charts are found
      from, what is left of them, and residuals that show where parents are missing;
    * ``step``: tiles of pre-activations, lists of candidates, active entries, the batch; no tensor of
      all pre-activations;
    * ``passing``: what comes on top of all that, or would, were the rest not yet there: the bytes
      of a checkpoint, the look at the start, tokenising.
    """
    learned = 4 * parameters(recipe, reading.read, reading.written)
    rows = min(recipe.block, reading.tokens)
    looked = 4 * min(reading.sample, rows) * reading.width
    spike = _TOKENISED * reading.together + _ON_ITS_WAY * reading.longest
    text = reading.text_bytes + _KEPT * spike + (_PACKED * reading.tokens if spike else 0)
    sizes = {
        "libraries": MIB * libraries(recipe.device),
        "model": reading.model_bytes + reading.forward_bytes,
        "text": text,
        "activations": rows * (reading.row_bytes + 16) + looked,
        "dictionary": 4 * learned,
        "step": _step(recipe, reading),
    }
    held, worked = _charts(recipe, reading)
    sizes["charts"] = held + worked
    later = sizes["dictionary"] + sizes["step"]
    sizes["passing"] = max(
        # A checkpoint: parameters, moments and residuals; the finished file is as large.
        3 * learned + held,
        2 * looked - later,
        (1 - _KEPT) * spike - sizes["activations"] - later,
    )
    parts = {name: round(size / MIB) for name, size in sizes.items()}
    return {**parts, "total": sum(parts.values())}


def keep_within(recipe: DictionaryRecipe, reading: Reading) -> None:
    """`UserError` where the estimate exceeds ``recipe.memory``, with the settings to lower.

    Where the recipe computes on an accelerator, its memory is meant.
    """
    if recipe.memory is None:
        return
    parts = estimate(recipe, reading)
    if not recipe.device.startswith("cpu"):
        parts = {name: parts[name] for name in ON_DEVICE}
        parts["total"] = sum(parts.values())
    if parts["total"] <= recipe.memory:
        return
    raise UserError(
        f"this run would take about {parts['total']:,} MiB, and memory = {recipe.memory:,} allows "
        f"less; lower {'; '.join(_to_lower(parts))}; or raise memory"
    )


def _to_lower(parts: dict[str, int]) -> list[str]:
    """What makes the run smaller, largest gain first."""
    gains = []
    for setting, names in _LOWER.items():
        here = [name for name in names if parts.get(name)]
        gains.append((sum(parts[name] for name in here), setting, " and ".join(here)))
    return [
        f"{setting} ({names}: {size:,} MiB)"
        for size, setting, names in sorted(gains, reverse=True)
        if size > _SMALL * parts["total"]
    ]


@cache
def libraries(device: str = "cpu") -> int:
    """MiB of the process before it holds anything: torch's, asked of a fresh process, and the rest."""
    script = _PEAK.format(device=device)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
        )
        return _REST_MIB + int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return _REST_MIB + _TORCH_MIB


# Linux hands the peak of the process that starts it on to a new one, but for this file.
_PEAK = """
import torch
torch.zeros(1, device={device!r})
try:
    lines = open("/proc/self/status").read().splitlines()
    print(next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")))
except OSError:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20)
"""


def _step(recipe: DictionaryRecipe, reading: Reading) -> float:
    """Bytes that a step takes beside the dictionary's; kept from step to step."""
    kind = torch.device(recipe.device).type
    kernels = routes.name_for(kind, torch.float32)
    everything = recipe.batch * _latents(recipe, reading)
    encoder = 4 * recipe.latents * sum(reading.read)
    if kernels == "portable":
        tiles, proposals = 12 * min(_PLAIN_TILE, everything), 0.0
    else:
        workers = torch.get_num_threads() if kind == "cpu" else 1
        tiles, proposals = (
            4 * workers * min(_TILE, everything),
            _proposes(recipe, kind) * encoder / 2,
        )
    layers = _latents(recipe, reading) // recipe.latents
    k = recipe.local.proposed(recipe.k) if recipe.encoder in BRANCHING else recipe.k
    active = max(k, recipe.objective.k_start or 0) * recipe.batch * layers
    has_k = recipe.selection in ("topk", "batchtopk")
    entries = _ENTRY * min(active if has_k else everything // 2, everything)
    batch = 12 * recipe.batch * reading.width
    predictions = 0
    if recipe.end_to_end.wanted:
        tokens = max(recipe.batch, recipe.context)
        predictions = 4 * _TABLES * tokens * reading.vocabulary
    return tiles + proposals + entries + batch + predictions + _listed(recipe, reading, active)


def _charts(recipe: DictionaryRecipe, reading: Reading) -> tuple[int, int]:
    """Bytes of residuals that charts are found from, and of the factors that they become."""
    if recipe.encoder != LOCAL:
        return 0, 0
    config, width = recipe.local, sum(reading.read)
    bearers = config.bearers(recipe.latents)[-1]
    recent = RECENT * recipe.batch * width
    # Factors, and the same weighed, of twice as many axes as a chart has.
    return 4 * (bearers * config.samples * width + recent), 4 * 4 * bearers * config.rank * width


def _latents(recipe: DictionaryRecipe, reading: Reading) -> int:
    """Those of all layers together."""
    return recipe.latents * (len(reading.read) if recipe.structure == CROSS_LAYER else 1)


def _proposes(recipe: DictionaryRecipe, kind: str) -> bool:
    auto = recipe.precision == "auto"
    return routes.multiplies_bfloat16(kind) if auto else recipe.precision == "bfloat16"


def _listed(recipe: DictionaryRecipe, reading: Reading, active: int) -> float:
    """Bytes of candidates, in a step or when the threshold is settled at the end."""
    if recipe.selection == "topk":
        return 8 * min(8 * active, recipe.batch * recipe.latents)
    if recipe.selection != "batchtopk":
        return 0
    workers = torch.get_num_threads()
    settled = min(reading.sample, reading.tokens)
    lists = [
        min(tokens * recipe.latents / 2, workers * (4 * count + _TILE / 2))
        for tokens, count in ((recipe.batch, active), (settled, recipe.k * settled))
    ]
    return _LISTED * max(lists)
