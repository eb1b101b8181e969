"""AUC of every latent for every concept, in one pass over active entries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from monosemy.evaluation.probing.folds import Labels
from monosemy.evaluation.probing.ranks import auc_of_latents
from monosemy.tensors import workers
from monosemy.tensors.codes import SparseCode

# Pieces that latents are dealt to threads in.
_SHARES = 64


@dataclass(frozen=True, eq=False)
class ByLatent:
    """A code, latent after latent, each latent's entries in order of their values.

    Attributes
    ----------
    bounds : where each latent's entries begin, and the end of the last.
    token, value : of each entry; no value is zero.
    tokens : how many there are.
    """

    bounds: np.ndarray
    token: np.ndarray
    value: np.ndarray
    tokens: int

    @property
    def latents(self) -> int:
        """How many there are."""
        return len(self.bounds) - 1

    def columns(self, latents: np.ndarray) -> np.ndarray:
        """``[token, latent]``, zeros written out, of these latents alone."""
        found = np.zeros((self.tokens, len(latents)), dtype=np.float32)
        for place, latent in enumerate(latents):
            entries = slice(self.bounds[latent], self.bounds[latent + 1])
            found[self.token[entries], place] = self.value[entries]
        return found


def by_latent(code: SparseCode) -> ByLatent:
    """The entries of a code that are not zero, in order of latent, then of value."""
    code = code.detach().to("cpu")
    code = code.keep(code.values != 0)
    bounds, order = code.by_latent
    value, token = code.values[order].float().numpy(), code.rows[order].numpy().astype(np.int32)
    latent = code.indices[order].numpy()
    ranked = np.lexsort((value, latent))
    return ByLatent(bounds.numpy(), token[ranked], value[ranked], code.tokens)


@dataclass(frozen=True, eq=False)
class Singles:
    """What each latent alone says of each concept.

    Attributes
    ----------
    auc : ``[latent, concept]``: the chance that a token that has the concept has the larger
        activation than one that lacks it, ties (both silent) counted half; NaN where no token has
        the concept, or none lacks it.
    fired : ``[latent, concept]``: tokens that have the concept and the latent.
    """

    auc: np.ndarray
    fired: np.ndarray

    def best(self, k: int) -> np.ndarray:
        """``[concept, k]``: the latents whose AUC is furthest from a half, in either direction."""
        distance = np.abs(np.nan_to_num(self.auc, nan=0.5) - 0.5)
        k = min(k, len(distance))
        top = np.argpartition(-distance, k - 1, axis=0)[:k] if k < len(distance) else (
            np.broadcast_to(np.arange(k)[:, None], (k, distance.shape[1]))
        )  # fmt: skip
        height = np.take_along_axis(distance, top, 0)
        # Of equal latents the first, so that a permuted dictionary differs in numbers only.
        order = np.lexsort((top, -height), axis=0)
        return np.take_along_axis(top, order, 0).T


def single(code: ByLatent, labels: Labels, use: np.ndarray | None = None) -> Singles:
    """Each latent against each concept, exactly, on the tokens that are in `use`.

    A latent's entries are walked in order of value. At each, what lies below it is known without
    looking: the entries before, less those that have the concept, and all silent tokens. So the cost
    is one addition for each pair of an active entry and a concept of its token,

        sum over tokens of (active latents) x (concepts of the token),

    where scoring a dense column at a time costs tokens x latents x concepts and a sort each. Values
    are not binned: the numbers are those of Mann and Whitney's statistic with ties counted half.

    Parameters
    ----------
    code : of all tokens.
    labels : of all tokens; where a token is unsure it counts for that concept on neither side.
    use : which tokens count; all, unless given.
    """
    has, unsure = labels
    use = np.ones(code.tokens, dtype=bool) if use is None else use
    concepts = has.shape[1]
    weights = use.astype(np.float64)
    totals = np.asarray(has.T @ weights).ravel(), np.asarray(unsure.T @ weights).ravel()
    auc = np.empty((code.latents, concepts), dtype=np.float32)
    fired = np.zeros((code.latents, concepts), dtype=np.int32)
    has_rows, unsure_rows = _rows(has), _rows(unsure)
    # Shares of equally many entries: latents differ in how often they fire.
    edges = [code.bounds[-1] * part // _SHARES for part in range(_SHARES + 1)]
    cuts = np.unique(np.searchsorted(code.bounds, edges)).tolist()
    cuts[0], cuts[-1] = 0, code.latents

    def work(first: int, last: int) -> None:
        for share in range(first, last):
            auc_of_latents(
                cuts[share], cuts[share + 1], code.bounds, code.token, code.value, use, *has_rows,
                *unsure_rows, int(use.sum()), *totals, auc, fired,
            )  # fmt: skip

    workers.run(work, workers.share_out(len(cuts) - 1))
    return Singles(auc, fired)


def _rows(matrix: scipy.sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
