"""Encoders that look at what their code leaves over: matching pursuit, and one LISTA step."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn

from monosemy.dictionaries.base import Dictionary, misfits
from monosemy.dictionaries.selection import Selection, TopK
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors import kernels
from monosemy.tensors.axes import Activations, Bool, Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.kernels import PreActivations


class Pursuit(TopK):
    """One latent a round, the one that fits best what is left, in at most `k` rounds."""

    kind = "matching_pursuit"

    def support(self, pre: PreActivations) -> SparseCode:
        """The choice of one round: the largest entry of each token, where positive."""
        return pre.largest(1)

    def refuse_for(self, latents: int) -> list[str]:
        """More rounds than latents are fine: a latent may be chosen again."""
        return [] if self.k >= 1 else [f"k = {self.k:,} rounds; wanted at least 1"]


class MatchingPursuit(Dictionary):
    """``i = argmax W_dec r``, ``z = max(<r, W_dec[i]>, 0)``, ``r <- r - z W_dec[i]``, `k` times.

    It begins with ``r = x - b_dec``. The code is the sum of all ``z`` of each latent, and
    ``x̂ = f W_dec + b_dec``. MP-SAE (Costa et al. 2025, arXiv:2506.03093), after Mallat and Zhang
    1993. The encoder is the decoder; gradients flow through every round, not through the choices.
    Where rows have length one, every round shortens the residual and leaves nothing of it along
    the latent that was just chosen. A round costs the encoder's product.

    A token ends early where nothing fits (no positive product) and, after the round in question:

    * where its residual is shorter than `residual_threshold` (0: never);
    * with `stop_on_duplicate`, where that round chose a latent it had already; what it added counts.

    Both as in the authors' code, which knows no `k`, and in SAELens' ``matching_pursuit``, where `k`
    is called ``max_iterations``. A latent counts once, however often it was chosen.

    Parameters
    ----------
    W_dec, b_dec : the directions and their offset. Rows of other lengths are used as they are.
    k : rounds at most.
    residual_threshold : in the units of the activations.
    stop_on_duplicate : see above.

    Errors
    ------
    `UserError` where shapes disagree, for no rounds and a negative threshold, all reasons at once.
    """

    def __init__(
        self,
        W_dec: Float[Tensor, "latent width"],
        b_dec: Float[Tensor, "width"],
        k: int,
        residual_threshold: float = 0.0,
        stop_on_duplicate: bool = True,
    ):
        super().__init__()
        selection = Pursuit(k)
        reasons = misfits(W_dec, {"b_dec": b_dec}, {"b_dec": (W_dec.shape[1],)})
        reasons += selection.refuse_for(len(W_dec))
        if not residual_threshold >= 0:
            reasons.append(f"residual_threshold = {residual_threshold}; wanted at least 0")
        refuse(reasons, "this dictionary")
        self.W_dec = nn.Parameter(W_dec)
        self.b_dec = nn.Parameter(b_dec)
        self.selection = selection
        self.residual_threshold = residual_threshold
        self.stop_on_duplicate = stop_on_duplicate

    @property
    def W_enc(self) -> nn.Parameter:  # type: ignore[override]
        """The decoder itself."""
        return self.W_dec

    @property
    def b_enc(self) -> Float[Tensor, "latent"]:  # type: ignore[override]
        """None: zeros."""
        return torch.zeros_like(self.W_dec[:, 0])

    def code(self, x: Activations) -> SparseCode:
        """See the class."""
        rest, nothing = x - self.b_dec, torch.zeros_like(self.b_dec)
        going = torch.ones(len(x), dtype=torch.bool, device=x.device)
        rounds: list[SparseCode] = []
        choices: list[Int[Tensor, "token"]] = []
        for _ in range(self.selection.k):
            found = self._best(rest, going)
            rest = rest - kernels.decode(found, self.W_dec, nothing)
            rounds.append(found)
            choices.append(_choices(found))
            going = going & self._goes_on(choices, rest)
            if not going.any():
                break
        return _added(rounds)

    def _best(self, rest: Activations, going: Bool[Tensor, "token"]) -> SparseCode:
        """What one round chooses, for the tokens that are still `going`, tied to the decoder."""
        nothing, left = torch.zeros_like(self.b_dec), rest.detach()
        with torch.no_grad():
            support = self.selection.support(
                PreActivations(left, self.W_dec, self.b_enc, self.propose)
            )
            support = support.keep(going[support.rows])
        return kernels.differentiable_values(
            support, rest, self.W_dec, self.b_enc, nothing, shifted=left
        )

    @torch.no_grad()
    def _goes_on(
        self, choices: list[Int[Tensor, "token"]], rest: Activations
    ) -> Bool[Tensor, "token"]:
        """Which tokens have another round after the last of `choices`."""
        last = choices[-1]
        going = last != _NONE
        if self.stop_on_duplicate and len(choices) > 1:
            going &= ~(torch.stack(choices[:-1]) == last).any(0)
        if self.residual_threshold > 0:
            going &= rest.norm(dim=1) >= self.residual_threshold
        return going

    def row_matrices(self) -> Iterator[tuple[nn.Parameter, bool]]:
        """The one matrix."""
        yield self.W_dec, True

    def fold_(self, read: Units, write: Units) -> MatchingPursuit:
        """See `Dictionary`; `UserError` for units that stretch some directions more than others.

        One factor changes no direction, so only lengths follow: activations come in the
        activations' own units.
        """
        if read.scale.ndim or write.scale.ndim:
            raise UserError(
                "matching pursuit reads and writes with the same directions, so it can only learn "
                "in units of one factor for all numbers; whitening, or a factor for each number, "
                "would not fold away. Leave it out"
            )
        here = write.to(self.b_dec)
        with torch.no_grad():
            self.b_dec.mul_(here.inverse)
            if here.origin is not None:
                self.b_dec.add_(here.origin)
        self.residual_threshold *= float(here.inverse)
        return self


class RefinedDictionary(Dictionary):
    """``f0 = first(W_enc (x - b_dec) + b_enc)``, ``u = x + step · (x - f0 W_dec - b_dec)``,
    ``f = select(W_enc (u - b_dec) + b_enc)``, ``x̂ = f W_dec + b_dec``.

    One step of LISTA (Gregor and LeCun 2010): what the first code leaves over is read too,
    ``pre1 = pre0 + step · W_enc (x - x̂0)``, so that overlapping directions explain each other away.
    As in LISTA-Matryoshka (github.com/chanind/claude-auto-research-synthsaebench), whose step is
    0.3. Gregor and LeCun learn the second matrix (``1 - step · W_enc W_decᵀ`` here) freely and keep
    one soft threshold; here matrices and bias are shared by both readings, and the selections are
    of one kind, each with a threshold of its own, where the kind has one. With a step of zero it is
    a `FlatDictionary`. Gradients flow through both readings, not through the selections; AuxK lets
    latents guess from the first. Two encoder products.

    Parameters
    ----------
    W_enc, b_enc : the encoder.
    W_dec, b_dec : the directions and their offset; `b_dec` is also subtracted before encoding.
    selection : which pre-activations survive in the end.
    step : see above.
    first : which survive in the first reading, as many as in the end where the kind has a k;
        `None`: a copy of `selection`.

    Errors
    ------
    `UserError` where shapes disagree or the selections do not fit, all reasons at once.
    """

    def __init__(
        self,
        W_enc: Float[Tensor, "latent width"],
        b_enc: Float[Tensor, "latent"],
        W_dec: Float[Tensor, "latent width"],
        b_dec: Float[Tensor, "width"],
        selection: Selection,
        step: float = 0.3,
        first: Selection | None = None,
    ):
        super().__init__()
        first = copy.deepcopy(selection) if first is None else first
        latents, width = W_dec.shape
        wanted = {"W_enc": (latents, width), "b_enc": (latents,), "b_dec": (width,)}
        given = {"W_enc": W_enc, "b_enc": b_enc, "b_dec": b_dec}
        reasons = misfits(W_dec, given, wanted) + selection.refuse_for(latents)
        if first.kind != selection.kind:
            reasons.append(f"its first selection is {first.kind}, its last {selection.kind}; "
                           "wanted one kind")  # fmt: skip
        else:
            reasons += [f"first: {reason}" for reason in first.refuse_for(latents)]
        refuse(list(dict.fromkeys(reasons)), "this dictionary")
        self.W_enc = nn.Parameter(W_enc)
        self.b_enc = nn.Parameter(b_enc)
        self.W_dec = nn.Parameter(W_dec)
        self.b_dec = nn.Parameter(b_dec)
        self.selection = selection
        self.first = first
        self.step = step

    @classmethod
    def tied(
        cls,
        directions: Float[Tensor, "latent width"],
        b_dec: Float[Tensor, "width"],
        selection: Selection,
        step: float = 0.3,
    ) -> RefinedDictionary:
        """The encoder is the transpose of `directions`, without bias."""
        b_enc = torch.zeros(len(directions))
        return cls(directions.clone(), b_enc, directions.clone(), b_dec.clone(), selection, step)

    def code(self, x: Activations) -> SparseCode:
        """See the class."""
        return self.selection.activate(self._reading(self._corrected(x), self.selection))

    def training_code(self, x: Activations) -> tuple[SparseCode, dict[str, Tensor]]:
        """The code, and what training may be asked to keep small, of the second reading."""
        linear = self._reading(self._corrected(x), self.selection)
        return self.selection.activate(linear), self.selection.penalties(linear, self.width)

    def _corrected(self, x: Activations) -> Activations:
        """``u`` of the class."""
        self.first.k = self.selection.k  # which may fall while training
        guess = self.first.activate(self._reading(x, self.first))
        return x + self.step * (x - kernels.decode(guess, self.W_dec, self.b_dec))

    def _reading(self, x: Activations, selection: Selection) -> SparseCode:
        """``W_enc (x - b_dec) + b_enc`` of the entries that survive, tied to the encoder."""
        with torch.no_grad():
            shifted = x - self.b_dec
            support = selection.support(
                PreActivations(shifted, self.W_enc, self.b_enc, self.propose)
            )
        return kernels.differentiable_values(
            support, x, self.W_enc, self.b_enc, self.b_dec, shifted
        )

    def _fold_encoder_(self, read: Units, length: Float[Tensor, "latent"]) -> None:
        super()._fold_encoder_(read, length)
        self.first.rescale_(length)


_NONE = -1


def _choices(found: SparseCode) -> Int[Tensor, "token"]:
    """The latent of each token that has one."""
    chosen = torch.full((found.tokens,), _NONE, device=found.indices.device)
    chosen[found.rows] = found.indices
    return chosen


def _added(rounds: list[SparseCode]) -> SparseCode:
    """Codes of the same tokens as one, each latent once: its activations add up."""
    tokens, latents = rounds[0].tokens, rounds[0].latents
    places = torch.cat([code.rows * latents + code.indices for code in rounds])
    values = torch.cat([code.values for code in rounds])
    entries, where = places.unique(return_inverse=True)
    counts = torch.bincount(entries // latents, minlength=tokens)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    summed = values.new_zeros(len(entries)).index_add(0, where, values)
    return SparseCode(offsets, entries % latents, summed, latents)
