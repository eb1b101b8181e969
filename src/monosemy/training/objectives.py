"""What is lowered: programs that turn a batch into a loss by calling a module."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from monosemy.dictionaries.base import Dictionary
from monosemy.foundation.errors import refuse
from monosemy.tensors import workers
from monosemy.tensors.axes import Activations, Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.rows import RowGradient, release
from monosemy.training.loop import Readings
from monosemy.training.revival import Firing, auxiliary_loss
from monosemy.training.start import Start


class NextToken:
    """Cross-entropy of the next token, in nats: ``-mean log p(x[t+1] | x[..t])``.

    Parameters
    ----------
    module : a causal language model whose output has ``logits``.
    autocast : precision of the matrix products; parameters and loss stay in float32.
    """

    def __init__(self, module: nn.Module, autocast: torch.dtype | None = None):
        self.module = module
        self.autocast = autocast

    def loss(self, batch: Int[Tensor, "context position"]) -> tuple[Float[Tensor, ""], Readings]:
        """Mean over every position that has a next token."""
        kind = self.autocast or torch.float32
        with torch.autocast(batch.device.type, kind, enabled=kind != torch.float32):
            logits = self.module(batch).logits
        following = batch[:, 1:].reshape(-1)
        flat = logits[:, :-1].reshape(following.shape[0], -1).float()
        return nn.functional.cross_entropy(flat, following), {}

    def at_work(self) -> AbstractContextManager[None]:
        """torch's own loops use every thread."""
        return nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """The module's parameters."""
        return {"module": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up parameters saved by `state_dict`."""
        self.module.load_state_dict(state["module"])


@dataclass(frozen=True)
class ObjectiveConfig:
    """What a dictionary is asked for beside a good reconstruction."""

    l1: float = 0.0
    """Weight of the sparsity penalty (ReLU dictionaries need one)."""
    l0: float = 0.0
    """Weight of the mean number of active latents (JumpReLU dictionaries need one)."""
    warmup: int = 0
    """Steps over which either penalty climbs linearly to its weight."""
    prefixes: tuple[float, ...] = ()
    """Shares of the latents that must reconstruct without the rest (Matryoshka); none for none."""
    k_start: int | None = None
    """Active latents a token at the first step, where the selection has a k; `None` starts at k."""
    k_fall: float = 0.5
    """Share of all steps over which `k_start` falls linearly to k."""
    aux: float = 1 / 32
    """Weight of AuxK, by which dead latents learn from the residual; 0 turns it off."""
    aux_k: int | None = None
    """Dead latents a token may use in AuxK; `None` takes half the width."""
    dead_after: int = 200_000
    """A latent that was silent for this many tokens counts as dead."""

    def __post_init__(self) -> None:
        least = {"l1": 0, "l0": 0, "warmup": 0, "k_start": 1, "k_fall": 0, "aux": 0, "aux_k": 1,
                 "dead_after": 1}  # fmt: skip
        given = {name: getattr(self, name) for name in least}
        reasons = [
            f"{name} = {given[name]}; wanted at least {lowest}"
            for name, lowest in least.items()
            if given[name] is not None and not lowest <= given[name] < math.inf
        ]
        ends = (0.0, *self.prefixes)
        rising = all(a < b for a, b in pairwise(ends))
        if self.prefixes and not (rising and self.prefixes[-1] == 1):
            reasons.append(f"prefixes = {self.prefixes}; wanted rising shares, the last of them 1")
        refuse(reasons, "the objective's configuration")


class LearnDictionary:
    """``FVU + l1 · L1 + l0 · L0 + aux · AuxK`` over the encode and decode of a dictionary.

    * ``FVU = mean |x - x̂|² / variance``: the fraction of variance unexplained, with the variance
      of the sample at the start, so that weights mean the same at every site;
    * with ``prefixes``, the mean over nested prefixes of the latents of the FVU that each leaves
      alone (Matryoshka: Bussmann et al. 2025, arXiv:2503.17547);
    * L1, L0 and whatever else the dictionary's own training asks: see its `training_code`;
    * AuxK: see `revival.auxiliary_loss`.

    Where the selection has a k, it may begin larger and fall (``k_start``): every latent then gets
    gradient while directions are still to be found, and fewer die.

    Decoder rows have length one: an update takes out the gradient along them and scales them back
    (`RowGradient.unit`). The gradients of both matrices live in row gradients.

    Parameters
    ----------
    dictionary : what learns; it sees activations multiplied by ``start.scale``.
    start : the look at the data that set its beginning.
    config : weights of the terms.
    steps : of the whole run, for what changes over a share of it.
    """

    def __init__(
        self, dictionary: Dictionary, start: Start, config: ObjectiveConfig, steps: int = 0
    ):
        self.module = dictionary
        self.k = dictionary.selection.k
        self.steps = steps
        self.scale = start.scale
        self.variance = start.variance
        self.config = config
        device = str(dictionary.W_dec.device)
        self.firing = Firing(dictionary.latents, config.dead_after, device)
        self.step = 0
        ends = [max(round(share * dictionary.latents), 1) for share in config.prefixes]
        self.ends = torch.tensor(ends, dtype=torch.int64, device=device)
        RowGradient.attach(dictionary.W_enc)
        RowGradient.attach(dictionary.W_dec, unit=True)

    def loss(self, batch: Activations) -> tuple[Float[Tensor, ""], Readings]:
        """See the class. Readings: fvu, l0, dead latents, and each further term that counts."""
        x = batch * self.scale
        if self.k:
            self.module.selection.k = self._k_now()
        code, terms = self.module.training_code(x)
        total, fvu, residual = self._unexplained(code, x)
        self.firing.see(code)
        dead = self.firing.dead
        readings = {"fvu": fvu.detach(), "dead": dead.sum()}
        readings["l0"] = (code.values.detach() > 0).sum() / code.tokens
        for name, weight in self._weights_now().items():
            if weight and name in terms:
                readings.setdefault(name, terms[name].detach())
                total = total + weight * terms[name]
        if self.config.aux and bool(dead.any()):
            k = self.config.aux_k or max(self.module.width // 2, 1)
            aux = auxiliary_loss(self.module, x, residual, dead.nonzero().squeeze(1), k)
            readings["aux"] = aux.detach()
            total = total + self.config.aux * aux
        self.step += 1
        return total, readings

    def _k_now(self) -> int:
        begin = min(self.config.k_start or self.k, self.module.latents)
        more = max(begin - self.k, 0)
        share = self.step / max(self.config.k_fall * self.steps, 1)
        return self.k + round(more * max(1 - share, 0.0))

    def _weights_now(self) -> dict[str, float]:
        climbed = min((self.step + 1) / max(self.config.warmup, 1), 1.0)
        penalties = {"l1": self.config.l1 * climbed, "l0": self.config.l0 * climbed}
        return penalties | {"gate": 1 / self.variance}

    def _unexplained(
        self, code: SparseCode, x: Activations
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Activations]:
        """What is lowered, the FVU of the whole dictionary, and what it leaves over."""
        if not self.config.prefixes:
            error, residual = self.module.squared_error(code, x)
            fvu = error.mean() / self.variance
            return fvu, fvu, residual
        errors, residual = self.module.nested_squared_error(code, x, self.ends)
        fvus = errors.mean(0) / self.variance
        return fvus.mean(), fvus[-1], residual

    def at_work(self) -> AbstractContextManager[None]:
        """The kernels bring threads of their own."""
        on_processor = self.module.W_dec.device.type == "cpu"
        return workers.undisturbed() if on_processor else nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """Parameters, thresholds, silence counts, and the step that the warm-up has reached."""
        return {
            "module": self.module.state_dict(),
            "silent": self.firing.silent,
            "step": self.step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state saved by `state_dict`."""
        self.module.load_state_dict(state["module"])
        self.firing.silent.copy_(state["silent"])
        self.step = int(state["step"])

    def result(self) -> Dictionary:
        """The dictionary in the activations' own units, in evaluation mode. Ends the training."""
        if self.k:
            self.module.selection.k = self.k
        for parameter in (self.module.W_enc, self.module.W_dec):
            release(parameter)
        return self.module.rescale_(1 / self.scale).eval()
