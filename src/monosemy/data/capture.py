"""Tokens through a model into live batches or shards.

Forward passes always run over the same groups of contexts, because the last bit of a sum can depend
on the size of the batch: so live activations and shards are the same bit for bit.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from monosemy.data.manifest import Settings
from monosemy.data.shards import ShardFolder, ShardSource, open_shards
from monosemy.data.tokens import Contexts
from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.foundation.storage import DiskFull
from monosemy.models import tap
from monosemy.models.loading import LoadedModel
from monosemy.models.sites import Site
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.compute import DTYPES

SHARD_TOKENS = 32_768
# Positions of one forward pass. On two CPU cores 2,048 were the fastest of 512 to 4,096 at every
# precision and context tried: more do not fit the caches, and are written to fresh pages each time.
# An accelerator wants many more to be busy.
_POSITIONS = {"cpu": 2048}
_POSITIONS_ELSEWHERE = 16_384
# Values of each weight that its fingerprint looks at: tells models apart in milliseconds.
_SAMPLED = 1024


class Reader:
    """Activations at several sites in one forward pass, group of contexts by group.

    Parameters
    ----------
    loaded : the model.
    sites : where to read.
    contexts : what the model reads.
    group : contexts in one forward pass; `None` leaves it to `contexts_at_once`.
    dtype : precision of the rows; `None` keeps the model's.

    Errors
    ------
    `UserError` for contexts longer than the model's, token ids that it does not have, and nothing
    to read; later for activations that are not finite (document and position are named).
    """

    def __init__(
        self,
        loaded: LoadedModel,
        sites: Sequence[Site],
        contexts: Contexts,
        group: int | None = None,
        dtype: str | None = None,
    ):
        group = contexts_at_once(contexts.length, loaded.device) if group is None else group
        refuse(_unfit(loaded, sites, contexts, group), f"reading {loaded.name}")
        self.loaded = loaded
        self.sites = tuple(sites)
        self.contexts = contexts
        self.group = group
        self.dtype = _dtype(loaded, dtype)
        self.tokens = contexts.tokens
        self._bounds = _group_bounds(contexts, group)
        self._last: tuple[int, dict[str, Tensor]] | None = None  # (group, its rows)

    def rows(
        self, start: int, stop: int, advance: Callable[[float], object] = lambda rows: None
    ) -> dict[str, Float[Tensor, "token _"]]:
        """Site name to the activations of kept tokens `start` to `stop`.

        `advance` hears how many rows each group gave.
        """
        if not 0 <= start <= stop <= self.tokens:
            raise IndexError(f"rows {start} to {stop} of {self.tokens}")
        empty = partial(torch.empty, dtype=self.dtype, device=self.loaded.device)
        out = {site.name: empty(stop - start, site.width) for site in self.sites}
        index = int(torch.searchsorted(self._bounds, start, right=True)) - 1
        while start < stop:
            first, last = self._bounds[index : index + 2].tolist()
            end = min(stop, last)
            for name, rows in self._read(index).items():
                done = len(out[name]) - (stop - start)
                out[name][done : done + end - start] = rows[start - first : end - first]
            advance(end - start)
            start, index = end, index + 1
        return out

    def _read(self, index: int) -> dict[str, Float[Tensor, "token _"]]:
        if self._last is None or self._last[0] != index:
            self._last = None  # frees the old rows before the new ones are made
            self._last = (index, self._forward(index))
        return self._last[1]

    def _forward(self, index: int) -> dict[str, Float[Tensor, "token _"]]:
        chosen = self.contexts[index * self.group : (index + 1) * self.group]
        kept = chosen.kept.flatten().nonzero().squeeze(1).to(self.loaded.device)
        real = ~chosen.padding
        # A mask that hides nothing would only keep the model from its faster attention.
        mask = None if real.all() else real.long()
        read = tap.read(self.loaded.model, list(self.sites), chosen.ids, mask)
        rows = {
            name: values.flatten(0, 1).index_select(0, kept).to(self.dtype)
            for name, values in read.items()
        }
        for name, values in rows.items():
            self._refuse_not_finite(name, values, index)
        return rows

    def _refuse_not_finite(self, site: str, rows: Float[Tensor, "token width"], index: int) -> None:
        # Nothing that is not finite leaves a finite sum; only an overflow has to be looked into.
        if torch.isfinite(rows.sum()):
            return
        finite = torch.isfinite(rows)
        if finite.all():
            return
        bad = (~finite).sum(dim=1)
        row = int(bad.nonzero()[0])
        place = self.contexts.place(int(self._bounds[index]) + row)
        raise UserError(
            f"activation at site {site} is not finite: {place}, {int(bad[row])} of {rows.shape[1]} "
            "values are NaN or infinite; if a lower precision overflowed, try --dtype float32"
        )


def contexts_at_once(length: int, device: torch.device) -> int:
    """Contexts of `length` positions for one forward pass on `device`: where it is fast."""
    return max(1, _POSITIONS.get(device.type, _POSITIONS_ELSEWHERE) // length)


def _unfit(loaded: LoadedModel, sites: Sequence[Site], contexts: Contexts, group: int) -> list[str]:
    reasons = []
    if not sites:
        reasons.append("no site to read; name at least one (monosemy sites lists them)")
    if group < 1:
        reasons.append(f"group is {group} contexts; wanted at least 1")
    if not contexts.tokens:
        reasons.append("no token is kept, so there is nothing to read; give more text")
    if loaded.context and contexts.length > loaded.context:
        reasons.append(
            f"contexts of {contexts.length} positions are longer than the {loaded.context} that "
            f"{loaded.name} was made for; use --context {loaded.context} or less"
        )
    if contexts.ids.numel() and (highest := int(contexts.ids.max())) >= loaded.vocabulary:
        reasons.append(
            f"token id {highest} is outside the {loaded.vocabulary} that {loaded.name} knows; "
            "tokenize with the model's own tokenizer"
        )
    return reasons


def _dtype(loaded: LoadedModel, name: str | None) -> torch.dtype:
    name = name or str(loaded.dtype).removeprefix("torch.")
    if name not in DTYPES:
        hint = nearest(name, DTYPES)
        raise UserError(f"activations of dtype {name!r}: known are {', '.join(DTYPES)}{hint}")
    return DTYPES[name]


def _group_bounds(contexts: Contexts, group: int) -> Int[Tensor, "bound"]:
    """First kept token of every group, and the number of all at the end."""
    groups = -(-len(contexts) // group)
    ends = contexts.kept.sum(dim=1).cumsum(dim=0)
    last = torch.arange(1, groups + 1).mul(group).clamp(max=len(contexts)) - 1
    return torch.cat([torch.zeros(1, dtype=ends.dtype), ends[last]])


class LiveSource:
    """The rows of one site, computed by the model whenever they are asked for. A `streams.Source`.

    Takes what `Reader` takes, and refuses what it refuses.
    """

    waits_for = "model"

    def __init__(
        self,
        loaded: LoadedModel,
        site: Site,
        contexts: Contexts,
        group: int | None = None,
        dtype: str | None = None,
    ):
        self._reader = Reader(loaded, [site], contexts, group, dtype)
        self.contexts = contexts
        self.site = site.name
        self.tokens = contexts.tokens
        self.width = site.width
        self.dtype = self._reader.dtype
        self.fingerprint = site_fingerprints(self._reader)[site.name]

    def rows(self, start: int, stop: int) -> Float[Tensor, "token width"]:
        """Activations of kept tokens `start` to `stop`, in order, on the model's device."""
        return self._reader.rows(start, stop)[self.site]


def capture(
    loaded: LoadedModel,
    sites: Sequence[Site],
    contexts: Contexts,
    folder: str | Path,
    *,
    group: int | None = None,
    dtype: str | None = None,
    shard_tokens: int = SHARD_TOKENS,
    progress: Progress = SILENT,
) -> dict[str, ShardSource]:
    """Write the activations of all `sites` to `folder`, in one pass; go on where it was stopped.

    Shards that an earlier call completed are verified and kept. The form is docs/formats/shards.md.

    Parameters
    ----------
    loaded, sites, contexts, group, dtype : see `Reader`.
    folder : new, empty, or captured into before with the same settings.
    shard_tokens : rows of a file; one shard of all sites is held in memory.

    Returns
    -------
    Site name to its source.

    Errors
    ------
    `UserError` for other settings than the folder's, and for activations that are not finite;
    `DiskFull`, before work begins where that can be foreseen. What is whole is kept.
    """
    folder = Path(folder)
    reader = Reader(loaded, sites, contexts, group, dtype)
    if shard_tokens < 1:
        raise UserError(f"shard_tokens is {shard_tokens}; wanted at least 1")
    settings = _settings(reader, shard_tokens)
    target = ShardFolder(folder, settings, contexts)
    bounds = {shard: settings.bounds(shard) for shard in target.missing}
    rows = sum(stop - start for start, stop in bounds.values())
    _refuse_full_disk(folder, rows, reader)
    with progress.task("capture", rows, "tokens") as task:
        for shard, (start, stop) in bounds.items():
            target.write(shard, reader.rows(start, stop, task.advance))
    return {site.name: open_shards(folder, site.name) for site in reader.sites}


def site_fingerprints(reader: Reader) -> dict[str, str]:
    """Of the rows of each site: equal wherever they are, live or in shards."""
    settings = _settings(reader, SHARD_TOKENS)
    return {name: settings.source_fingerprint(name) for name in settings.sites}


def _settings(reader: Reader, shard_tokens: int) -> Settings:
    contexts = reader.contexts
    return Settings(
        model=reader.loaded.name,
        model_fingerprint=model_fingerprint(reader.loaded.model),
        sites={site.name: site.width for site in reader.sites},
        dtype=str(reader.dtype).removeprefix("torch."),
        group=reader.group,
        contexts=len(contexts),
        context_length=contexts.length,
        contexts_fingerprint=contexts.fingerprint,
        tokens=reader.tokens,
        tokens_per_shard=shard_tokens,
        origin=asdict(contexts.origin) if contexts.origin else None,
    )


def _refuse_full_disk(folder: Path, rows: int, reader: Reader) -> None:
    wanted = rows * sum(site.width for site in reader.sites) * reader.dtype.itemsize
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise DiskFull(
            f"the activations take {wanted:,} bytes and {folder} has {free:,} free; free some "
            "space, capture fewer tokens or sites, or use --dtype bfloat16"
        )


def model_fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 over name, shape, dtype and about 1,024 evenly spaced values of every weight."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\0".encode())
        flat = value.detach().flatten()
        sample = flat[:: max(1, len(flat) // _SAMPLED)]
        digest.update(sample.double().cpu().numpy().tobytes())
    return digest.hexdigest()
