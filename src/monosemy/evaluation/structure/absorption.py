"""The main road: a dictionary, activations and their labels -> absorption and splitting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch

from monosemy.data.labels.labelling import Labels
from monosemy.dictionaries.base import Dictionary
from monosemy.evaluation.structure.codes import directions, lengths, misfits, origin, sparse_code
from monosemy.evaluation.structure.config import AbsorptionConfig
from monosemy.evaluation.structure.gathering import Found, gather
from monosemy.evaluation.structure.probes import Probe, f1, fit_probe, typical_size
from monosemy.evaluation.structure.projections import Seen, absorbed
from monosemy.evaluation.structure.results import Absorption
from monosemy.evaluation.structure.splitting import split
from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.tensors.axes import Activations, Bool, Float, Tensor
from monosemy.tensors.compute import Compute

# Share of the documents that is held out where the caller does not say: SAEBench's.
_HELDOUT = 0.2


@dataclass(frozen=True, eq=False)
class Probed:
    """Activations with labels, split by document, and a probe for each label that counts.

    Attributes
    ----------
    labels : of all tokens.
    x : their activations.
    heldout : which tokens are measured on; probes are fitted on the others.
    probes, f1 : by label.
    left_out : labels that do not count, with the reason.
    """

    labels: Labels
    x: Activations
    heldout: np.ndarray
    probes: Mapping[str, Probe]
    f1: Mapping[str, float]
    left_out: Mapping[str, str]


def probe_labels(
    activations: Float[Tensor, "_ width"],
    labels: Labels,
    heldout: Bool[Tensor, "_"] | None = None,
    config: AbsorptionConfig | None = None,
    compute: Compute | None = None,
    progress: Progress = SILENT,
) -> Probed:
    """Fit a probe for each label; the same probes then serve every dictionary of the place.

    Parameters
    ----------
    activations : of the labelled tokens, in the order of `labels`.
    heldout : which tokens are held out; whole documents. `None` draws a fifth of the documents.

    Errors
    ------
    `UserError` where the number of rows is not that of the labels, and where a document lies on
    both sides.
    """
    config, compute = config or AbsorptionConfig(), compute or Compute()
    refuse(_unfit(activations, labels, heldout), "these labelled activations")
    held = (_drawn(labels, compute) if heldout is None else heldout).numpy()
    x = activations.float().cpu().numpy()
    probes, scores, left_out = dict[str, Probe](), dict[str, float](), dict[str, str]()
    with progress.task("probe", len(labels.parents), "labels") as task:
        for name in labels.parents:
            positive = labels.is_(name).numpy()
            reason = _too_few(positive, held, labels, config)
            if reason is None:
                probe = fit_probe(x[~held], positive[~held])
                scores[name] = f1(probe.scores(x[held]), positive[held])
                if scores[name] > config.probe_f1:
                    probes[name] = probe
                else:
                    reason = f"the probe's F1 is {scores[name]:.2f}, not above {config.probe_f1}"
            if reason is not None:
                left_out[name] = reason
            task.advance(1)
    return Probed(labels, activations, held, probes, scores, left_out)


def absorption(
    dictionary: Dictionary,
    activations: Float[Tensor, "_ width"],
    labels: Labels,
    heldout: Bool[Tensor, "_"] | None = None,
    *,
    config: AbsorptionConfig | None = None,
    compute: Compute | None = None,
    probed: Probed | None = None,
    progress: Progress = SILENT,
) -> Absorption:
    """How much of each label is absorbed by latents of its children, and into how many it is split.

    For each parent label: a probe on activations; latents ranked by an L1 probe; the *split
    features*, taken one by one as long as a probe on them gains; and on each held-out token of the
    label that the probe sees, whether other latents hold what the split features leave out (see
    `projections.absorbed`). Chanin et al. 2024 (arXiv:2409.14507), in the form of SAEBench (Karvonen
    et al. 2025, arXiv:2503.09532), with labels of any hierarchy in the place of first letters.

    Parameters
    ----------
    dictionary : an autoencoder of the site; measured in evaluation mode.
    activations, labels, heldout : see `probe_labels`.
    config : thresholds.
    compute : the seed of the draw of documents and of the bootstrap.
    probed : what `probe_labels` found on the same arguments, where several dictionaries share it.

    Errors
    ------
    `UserError` for a dictionary that writes another place than it reads or several places, for one
    of another width, and what `probe_labels` refuses.
    """
    config, compute = config or AbsorptionConfig(), compute or Compute()
    refuse(misfits("this dictionary", dictionary), "this dictionary")
    dictionary.check_width(activations.shape[1], "these activations")
    probed = probed or probe_labels(activations, labels, heldout, config, compute, progress)
    was_training = dictionary.training
    try:
        dictionary.eval()
        code = sparse_code(dictionary, probed.x)
        found = _measure(dictionary, code, probed, config, compute, progress)
    finally:
        dictionary.train(was_training)
    return found


def _measure(
    dictionary: Dictionary, code: scipy.sparse.csr_array, probed: Probed, config: AbsorptionConfig,
    compute: Compute, progress: Progress,
) -> Absorption:  # fmt: skip
    held, x = probed.heldout, probed.x.float().cpu().numpy()
    # One number for all latents: the L1 penalty then means the same at every site.
    scaled = scipy.sparse.csr_array(code / typical_size(x[~held]))
    fitting, measured = scaled[~held], scaled[held]
    rows, length = directions(dictionary), lengths(dictionary).numpy()
    beginning = origin(dictionary).float().cpu().numpy() if config.centred else np.zeros(x.shape[1])
    found = dict[str, Found]()
    with progress.task("absorption", len(probed.probes), "labels") as task:
        for name, probe in probed.probes.items():
            positive = probed.labels.is_(name).numpy()
            parts = split(fitting, positive[~held], measured, positive[held], config)
            tokens = np.flatnonzero(held & positive & (probe.scores(x) > 0))
            # In float32: or all directions would be copied into float64 for every label.
            cosine = rows @ probe.direction.astype(np.float32)
            seen = Seen(
                code[tokens], cosine, length * cosine, (x[tokens] - beginning) @ probe.direction
            )
            shared = absorbed(seen, parts.latents, config)
            found[name] = Found(probed.f1[name], parts, tokens, shared)
            task.advance(1)
    return gather(probed.labels, found, probed.left_out, held, compute, config.examples)


def _drawn(labels: Labels, compute: Compute) -> Bool[Tensor, "token"]:
    """Tokens of a fifth of the documents."""
    there = labels.document.unique()
    order = torch.randperm(len(there), generator=compute.generator("absorption held-out documents"))
    chosen = there[order[: max(1, round(_HELDOUT * len(there)))]]
    return torch.isin(labels.document, chosen)


def _too_few(
    positive: np.ndarray, held: np.ndarray, labels: Labels, config: AbsorptionConfig
) -> str | None:
    """Why a label cannot be measured, or `None`."""
    counts = (int(positive[~held].sum()), int(positive[held].sum()))
    if min(counts) < config.examples:
        return (
            f"{counts[0]} tokens to fit on and {counts[1]} held out; wanted at least "
            f"{config.examples} each"
        )
    if positive[~held].all() or positive[held].all():
        return "every token has the label: there is nothing to tell it from"
    documents = len(np.unique(labels.document.numpy()[held & positive]))
    return None if documents > 1 else "all held-out tokens are in one document; wanted two"


def _unfit(
    activations: Float[Tensor, "_ width"], labels: Labels, heldout: Bool[Tensor, "_"] | None
) -> list[str]:
    reasons = []
    if len(activations) != len(labels):
        reasons.append(
            f"{len(activations):,} activations for {len(labels):,} labelled tokens; wanted one each"
        )
    if heldout is None:
        if len(labels.document.unique()) < 2:
            reasons.append("all tokens are of one document; probes need another to be tested on")
        return reasons
    if len(heldout) != len(labels):
        reasons.append(f"heldout has {len(heldout):,} entries for {len(labels):,} labelled tokens")
        return reasons
    inside, outside = (set(labels.document[part].tolist()) for part in (heldout, ~heldout))
    if not inside or not outside:
        reasons.append(
            f"{int(heldout.sum()):,} of {len(heldout):,} tokens are held out; wanted some on each side"
        )
    if both := inside & outside:
        names = ", ".join(repr(labels.documents[i]) for i in sorted(both)[:3])
        reasons.append(
            f"{len(both)} documents lie on both sides ({names}); hold out whole documents"
        )
    return reasons
