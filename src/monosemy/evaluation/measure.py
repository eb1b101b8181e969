"""The main road: dictionaries, a model and held-out text -> numbers with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from monosemy.data.tokens import Contexts
from monosemy.dictionaries.base import Dictionary
from monosemy.evaluation.place import Place
from monosemy.evaluation.tally import Measurement, Tally
from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.loading import LoadedModel
from monosemy.models.sites import Site
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

__all__ = ["Measurement", "measure"]

# Logits of one forward pass (256 MiB in float32); three such tables are held at once.
_LOGITS = 1 << 26
NO_NEXT_TOKEN = "the model does not predict the next token, so it has no cross-entropy"
SEVERAL_MODELS = (
    "the dictionary reconstructs several models together, so it is spliced into none of them"
)
NOT_SPLICED = "not measured"


def measure(
    loaded: LoadedModel | Sequence[LoadedModel],
    site: Site | Sequence[Site],
    dictionaries: Mapping[str, Dictionary],
    contexts: Contexts,
    mean: Float[Tensor, "width"],
    *,
    reads: Site | Sequence[Site] | None = None,
    splice: bool = True,
    note: str | None = None,
    compute: Compute | None = None,
    batch: int = 32,
    progress: Progress = SILENT,
) -> dict[str, Measurement]:
    """Measure several dictionaries of one place in a single pass over held-out contexts.

    For each group of contexts: one clean forward pass, which also reads the sites; one with what is
    written ablated to zero, one to the mean; one for each dictionary, its reconstruction in the
    activations' place. Each token is encoded once for each dictionary.

    What a dictionary writes is compared with the clean activations there, and is made from what the
    clean run holds where it reads. Several sites that are written are patched in the same run.

    Parameters
    ----------
    loaded : the model. Several, for crosscoders between models; then nothing is spliced, because
        what is written belongs to more than one run.
    site : where dictionaries write (and read, without `reads`); several for dictionaries of several
        sites side by side.
    dictionaries : by name; they are measured in evaluation mode and left in the mode they had.
    contexts : held-out text. Only kept tokens are reconstructed, edited, and counted.
    mean : of training activations where dictionaries write, for mean ablation and
        `explained_variance_per_token`.
    reads : where transcoders read. A dictionary that reconstructs what it reads still reads `site`,
        so that both kinds can be compared.
    splice : whether to run the edited passes. Without them, and for models that do not predict the
        next token, cross-entropies and KL are null, with `note`.
    note : why they are null.
    compute : the seed of the bootstrap.
    batch : contexts in a forward pass, fewer where their logits would take more than 256 MiB.

    Errors
    ------
    `UserError` for a dictionary or a mean of another width, contexts longer than the model's,
    nothing to measure (all reasons at once), a site that another model does not have, and
    activations that are not finite.
    """
    place = Place.of(loaded, site, reads)
    refuse(_unfit(place, dictionaries, contexts, mean, batch), "this measurement")
    splice, note = _whether(place, splice, note)
    tally = Tally(place, dictionaries, contexts, mean)
    step = _contexts_at_once(place.loaded, contexts, batch) if splice else batch
    with (
        _evaluating(dictionaries),
        torch.no_grad(),
        progress.task("measure", contexts.tokens, "tokens") as task,
    ):
        for start in range(0, len(contexts), step):
            group = contexts[start : start + step]
            tally.add(group, splice)
            task.advance(group.tokens)
    return tally.measurements(compute or Compute(), None if splice else note or NOT_SPLICED)


def _whether(place: Place, splice: bool, note: str | None) -> tuple[bool, str | None]:
    """Whether anything can be spliced, and why not."""
    if splice and len(place.models) > 1:
        return False, note or SEVERAL_MODELS
    if splice and not place.loaded.is_causal:
        return False, note or NO_NEXT_TOKEN
    return splice, note


@contextmanager
def _evaluating(dictionaries: Mapping[str, Dictionary]) -> Iterator[None]:
    """Evaluation mode inside, afterwards the mode that each had.

    While training, BatchTopK's code of a token would depend on the batch, and its threshold move.
    """
    modes = {name: dictionary.training for name, dictionary in dictionaries.items()}
    try:
        for dictionary in dictionaries.values():
            dictionary.eval()
        yield
    finally:
        for name, training in modes.items():
            dictionaries[name].train(training)


def _contexts_at_once(loaded: LoadedModel, contexts: Contexts, batch: int) -> int:
    return max(1, min(batch, _LOGITS // (contexts.length * loaded.vocabulary)))


def _unfit(
    place: Place,
    dictionaries: Mapping[str, Dictionary],
    contexts: Contexts,
    mean: Float[Tensor, "width"],
    batch: int,
) -> list[str]:
    reasons = []
    if not dictionaries:
        reasons.append("no dictionary to measure; give at least one")
    for name, dictionary in dictionaries.items():
        reasons += place.misfits(name, dictionary)
    if len(mean) != place.written_width:
        reasons.append(
            f"the mean has {len(mean):,} numbers, {place.said()} {place.written_width:,}"
        )
    if batch < 1:
        reasons.append(f"batch is {batch} contexts; wanted at least 1")
    if not contexts.tokens:
        reasons.append("no token is kept, so there is nothing to measure; give more text")
    reasons += [
        f"contexts of {contexts.length} positions are longer than the {loaded.context} that "
        f"{loaded.name} was made for; use --context {loaded.context} or less"
        for loaded in place.models
        if contexts.length > loaded.context
    ]
    return reasons
