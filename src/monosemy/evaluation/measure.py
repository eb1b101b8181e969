"""The main road: dictionaries, a model and held-out text -> numbers with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from monosemy.data.tokens import Contexts
from monosemy.dictionaries.base import Dictionary
from monosemy.evaluation.tally import Measurement, Tally
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.loading import LoadedModel
from monosemy.models.sites import Site
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

__all__ = ["Measurement", "measure"]

# Logits of one forward pass (256 MiB in float32); three such tables are held at once.
_LOGITS = 1 << 26
NO_NEXT_TOKEN = "the model does not predict the next token, so it has no cross-entropy"
NOT_SPLICED = "not measured"


def measure(
    loaded: LoadedModel,
    site: Site,
    dictionaries: Mapping[str, Dictionary],
    contexts: Contexts,
    mean: Float[Tensor, "width"],
    *,
    splice: bool = True,
    note: str | None = None,
    compute: Compute | None = None,
    batch: int = 32,
    progress: Progress = SILENT,
) -> dict[str, Measurement]:
    """Measure several dictionaries of one site in a single pass over held-out contexts.

    For each group of contexts: one clean forward pass, which also reads the site; one with the site
    ablated to zero, one to the mean; one for each dictionary, its reconstruction in the
    activation's place. Each token is encoded once for each dictionary.

    Parameters
    ----------
    loaded, site : what is studied.
    dictionaries : by name; they are measured in evaluation mode and left in the mode they had.
    contexts : held-out text. Only kept tokens are reconstructed, edited, and counted.
    mean : of training activations, for mean ablation and `explained_variance_per_token`.
    splice : whether to run the edited passes. Without them, and for models that do not predict the
        next token, cross-entropies and KL are null, with `note`.
    note : why they are null.
    compute : the seed of the bootstrap.
    batch : contexts in a forward pass, fewer where their logits would take more than 256 MiB.

    Errors
    ------
    `UserError` for a dictionary or a mean of another width, contexts longer than the model's,
    nothing to measure (all reasons at once), and activations that are not finite.
    """
    refuse(_unfit(loaded, site, dictionaries, contexts, mean, batch), "this measurement")
    if splice and not loaded.is_causal:
        splice, note = False, note or NO_NEXT_TOKEN
    tally = Tally(loaded, site, dictionaries, contexts, mean)
    step = _contexts_at_once(loaded, contexts, batch) if splice else batch
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
    loaded: LoadedModel,
    site: Site,
    dictionaries: Mapping[str, Dictionary],
    contexts: Contexts,
    mean: Float[Tensor, "width"],
    batch: int,
) -> list[str]:
    reasons = []
    if not dictionaries:
        reasons.append("no dictionary to measure; give at least one")
    for name, dictionary in dictionaries.items():
        try:
            dictionary.check_width(site.width, f"site {site.name}")
        except UserError as error:
            reasons.append(f"{name}: {error}")
    if len(mean) != site.width:
        reasons.append(f"the mean has {len(mean):,} numbers, site {site.name} {site.width:,}")
    if batch < 1:
        reasons.append(f"batch is {batch} contexts; wanted at least 1")
    if not contexts.tokens:
        reasons.append("no token is kept, so there is nothing to measure; give more text")
    if contexts.length > loaded.context:
        reasons.append(
            f"contexts of {contexts.length} positions are longer than the {loaded.context} that "
            f"{loaded.name} was made for; use --context {loaded.context} or less"
        )
    return reasons
