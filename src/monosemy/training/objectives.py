"""What is lowered: programs that turn a batch into a loss by calling a module."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Activations, Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
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

    def before_update(self) -> None:
        """The parameters are free."""

    def after_update(self) -> None:
        """The parameters are free."""

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
    l1_warmup: int = 0
    """Steps over which the penalty climbs linearly to its weight."""
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
        least = {"l1": 0, "l1_warmup": 0, "k_start": 1, "k_fall": 0, "aux": 0, "aux_k": 1,
                 "dead_after": 1}  # fmt: skip
        given = {name: getattr(self, name) for name in least}
        refuse(
            [
                f"{name} = {given[name]}; wanted at least {lowest}"
                for name, lowest in least.items()
                if given[name] is not None and not lowest <= given[name] < math.inf
            ],
            "the objective's configuration",
        )


class LearnDictionary:
    """``FVU + l1 · sparsity + aux · AuxK`` over the encode and decode of a dictionary.

    * ``FVU = mean |x - x̂|² / variance``: the fraction of variance unexplained, with the variance
      of the sample at the start, so that weights mean the same at every site;
    * ``sparsity = mean over tokens of sum_i f_i |W_dec[i]| / sqrt(width)``
      (Bricken et al. 2023; the norm as in Anthropic's April 2024 update);
    * AuxK: see `revival.auxiliary_loss`.

    Where the selection has a k, it may begin larger and fall (``k_start``): every latent then gets
    gradient while directions are still to be found, and fewer die.

    Decoder rows have length one: before an update the gradient along them is taken out, after it
    they are scaled back.

    Parameters
    ----------
    dictionary : what learns; it sees activations multiplied by ``start.scale``.
    start : the look at the data that set its beginning.
    config : weights of the terms.
    steps : of the whole run, for what changes over a share of it.
    """

    def __init__(
        self, dictionary: FlatDictionary, start: Start, config: ObjectiveConfig, steps: int = 0
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

    def loss(self, batch: Activations) -> tuple[Float[Tensor, ""], Readings]:
        """See the class. Readings: fvu, l0, dead latents, and each further term that counts."""
        x = batch * self.scale
        if self.k:
            self.module.selection.k = self._k_now()
        code = self.module.code(x)
        residual = x - self.module.decode(code)
        fvu = residual.square().sum(1).mean() / self.variance
        self.firing.see(code)
        dead = self.firing.dead
        total, readings = fvu, {"fvu": fvu.detach(), "dead": dead.sum()}
        readings["l0"] = code.counts.float().mean()
        if self.config.l1:
            penalty = self._sparsity(code)
            readings["sparsity"] = penalty.detach()
            total = total + self._l1_now() * penalty
        if self.config.aux and bool(dead.any()):
            k = self.config.aux_k or max(self.module.width // 2, 1)
            aux = auxiliary_loss(self.module, x, residual, dead.nonzero().squeeze(1), k)
            readings["aux"] = aux.detach()
            total = total + self.config.aux * aux
        self.step += 1
        return total, readings

    def _sparsity(self, code: SparseCode) -> Float[Tensor, ""]:
        norms = self.module.W_dec.norm(dim=1)[code.indices]
        return (code.values * norms).sum() / code.tokens / self.module.width**0.5

    def _k_now(self) -> int:
        begin = min(self.config.k_start or self.k, self.module.latents)
        more = max(begin - self.k, 0)
        share = self.step / max(self.config.k_fall * self.steps, 1)
        return self.k + round(more * max(1 - share, 0.0))

    def _l1_now(self) -> float:
        return self.config.l1 * min((self.step + 1) / max(self.config.l1_warmup, 1), 1.0)

    @torch.no_grad()
    def before_update(self) -> None:
        """``g <- g - <g, w> w`` for every decoder row ``w``: what is left turns it, not stretches."""
        rows, gradient = self.module.W_dec, self.module.W_dec.grad
        if gradient is not None:
            gradient -= (gradient * rows).sum(1, keepdim=True) * rows

    @torch.no_grad()
    def after_update(self) -> None:
        """Decoder rows back to length one."""
        self.module.W_dec.div_(self.module.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-12))

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

    def result(self) -> FlatDictionary:
        """The dictionary in the activations' own units, in evaluation mode. Ends the training."""
        if self.k:
            self.module.selection.k = self.k
        return self.module.rescale_(1 / self.scale).eval()
