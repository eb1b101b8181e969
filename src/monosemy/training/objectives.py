"""What is lowered: programs that turn a batch into a loss by calling a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.penalties import QUADRATIC, Measure
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import refuse
from monosemy.tensors import workers
from monosemy.tensors.axes import Activations, Float, Int, Tensor, Written
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.rows import RowGradient, release
from monosemy.training.loop import Readings
from monosemy.training.nesting import Nesting
from monosemy.training.objective_config import FREE, UNIT, ObjectiveConfig, misfits
from monosemy.training.resampling import Resampling
from monosemy.training.revival import Firing, auxiliary_loss
from monosemy.training.sparsity import Sparsity
from monosemy.training.start import Start
from monosemy.training.tilting import tilted_mean

__all__ = ["LearnDictionary", "NextToken", "ObjectiveConfig"]


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

    def renew(self) -> Sequence[tuple[nn.Parameter, Tensor]]:
        """Nothing begins anew."""
        return ()

    def at_work(self) -> AbstractContextManager[None]:
        """torch's own loops use every thread."""
        return nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """The module's parameters."""
        return {"module": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up parameters saved by `state_dict`."""
        self.module.load_state_dict(state["module"])


Unexplained = Callable[
    [SparseCode, Activations, Written],
    tuple[Float[Tensor, ""], Float[Tensor, ""], Written],
]
"""From a code, what was read and what was to be written: what is lowered, the FVU, the residual."""


class LearnDictionary:
    """``FVU + l1 · L1 + l0 · L0 + aux · AuxK`` over the encode and decode of a dictionary.

    * ``FVU = mean |x - x̂|² / variance``: the fraction of variance unexplained, with the variance
      of the sample at the start, so that weights mean the same at every site;
    * with prefixes, the mean over nested prefixes of the latents of the FVU that each leaves
      alone (Matryoshka: Bussmann et al. 2025, arXiv:2503.17547); see `Nesting`;
    * with a tilt, tokens with a large error count for more: see `tilting.tilted_mean`;
    * L1, L0 and whatever else the dictionary's own training asks: see its `training_code`, and
      `penalties.Measure`; their weights: see `Sparsity`;
    * AuxK: see `revival.auxiliary_loss`; dead latents may also begin anew: see `Resampling`.

    Where the selection has a k, it may begin larger and fall (``k_start``): every latent then gets
    gradient while directions are still to be found, and fewer die.

    Decoder rows have length one: an update takes out the gradient along them and scales them back
    (`RowGradient.unit`); or they are free. The gradients of both matrices live in row gradients.

    Parameters
    ----------
    dictionary : what learns; it sees activations in the units of `start`.
    start : the look at the data that set its beginning.
    config : weights of the terms.
    steps : of the whole run, for what changes over a share of it.
    seed : of what is drawn while learning.

    Errors
    ------
    `UserError` where the configuration does not fit the dictionary, all reasons at once.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        start: Start,
        config: ObjectiveConfig,
        steps: int = 0,
        seed: int = 0,
    ):
        refuse(misfits(dictionary, config, steps), "this dictionary's objective")
        self.module = dictionary
        self.k = dictionary.selection.k
        self.steps = steps
        self.units = start.units.to(dictionary.b_dec)
        self.variance = start.variance
        self.config = config
        device = dictionary.b_dec.device
        self.firing = Firing(dictionary.latents, config.dead_after, device)
        self.step = 0
        self.nesting = Nesting(
            dictionary.latents, config.prefixes, config.prefixes_sampled, seed, device,
            config.prefixes_by, config.prefixes_detached,
        )  # fmt: skip
        self.sparsity = _sparsity(dictionary, config, steps)
        self.resampling = Resampling(config.resample_every, config.resample_until, steps, seed)
        self._seen: tuple[Activations, Written, Float[Tensor, "token"]] | None = None
        for matrix, unit in dictionary.row_matrices():
            RowGradient.attach(matrix, unit=unit and config.decoder == UNIT)

    def loss(
        self, batch: Float[Tensor, "token columns"], unexplained: Unexplained | None = None
    ) -> tuple[Float[Tensor, ""], Readings]:
        """See the class. Readings: fvu, l0, dead latents, and each further term that counts.

        What is lowered may be something else than the error at the site: `unexplained` then takes
        the place of the method.
        """
        x, target = self.module.split(self.units.apply(batch))
        if self.k:
            self.module.selection.k = self._k_now()
        code, terms = self.module.training_code(x)
        total, fvu, residual = (unexplained or self.unexplained)(code, x, target)
        self.firing.see(code)
        dead = self.firing.dead
        readings = {"fvu": fvu.detach(), "dead": dead.sum()}
        readings["l0"] = (code.values.detach() > 0).sum() / code.tokens
        weights, steered = self.sparsity.at(self.step, readings["l0"])
        readings |= steered
        for name, weight in (weights | {"gate": 1 / self.variance}).items():
            if name in terms and (name == self.sparsity.controlled or weight):
                readings.setdefault(name, terms[name].detach())
                total = total + weight * terms[name]
        if self.config.aux and bool(dead.any()):
            k = self.config.aux_k or max(self.module.written // 2, 1)
            aux = auxiliary_loss(self.module, x, residual, dead.nonzero().squeeze(1), k)
            readings["aux"] = aux.detach()
            total = total + self.config.aux * aux
        self.step += 1
        if self.resampling.due(self.step):
            self._seen = x, target, residual.square().sum(1)
        return total, readings

    def renew(self) -> Sequence[tuple[nn.Parameter, Tensor]]:
        """Dead latents begin anew, where it is time for that."""
        if self._seen is None:
            return ()
        seen, self._seen = self._seen, None
        return self.resampling.renew(self.module, *seen, self.firing, self.step)

    def _k_now(self) -> int:
        begin = min(self.config.k_start or self.k, self.module.latents)
        more = max(begin - self.k, 0)
        share = self.step / max(self.config.k_fall * self.steps, 1)
        return self.k + round(more * max(1 - share, 0.0))

    def unexplained(
        self, code: SparseCode, x: Activations, target: Written
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Written]:
        """What is lowered, the FVU of the whole dictionary, and what it leaves over."""
        if not self.nesting:
            error, residual = self.module.squared_error(code, x, target)
            lowered = tilted_mean(error, self.config.tilt) / self.variance
            return lowered, error.detach().mean() / self.variance, residual
        self.nesting.see(code)
        prefixes = self.nesting.prefixes(self.step)
        errors, residual = self.module.nested_squared_error(code, x, target, prefixes)
        lowered = tilted_mean(errors, self.config.tilt).mean() / self.variance
        return lowered, errors.detach()[:, -1].mean() / self.variance, residual

    def at_work(self) -> AbstractContextManager[None]:
        """The kernels bring threads of their own."""
        on_processor = self.module.b_dec.device.type == "cpu"
        return workers.undisturbed() if on_processor else nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """Parameters, thresholds, silence counts, the controller, and the step that was reached."""
        return {
            "module": self.module.state_dict(),
            "silent": self.firing.silent,
            "sparsity": self.sparsity.state_dict(),
            "nesting": self.nesting.state_dict(),
            "step": self.step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state saved by `state_dict`."""
        self.module.load_state_dict(state["module"])
        self.firing.silent.copy_(state["silent"])
        self.sparsity.load_state_dict(state["sparsity"])
        self.nesting.load_state_dict(state.get("nesting", {}))
        self.step = int(state["step"])

    def result(self, whole: Dictionary | None = None) -> Dictionary:
        """The dictionary in the activations' own units, in evaluation mode. Ends the training.

        `whole` is what it is a part of, where that is folded with it.
        """
        if self.k:
            self.module.selection.k = self.k
        for matrix, _ in self.module.row_matrices():
            release(matrix)
        self.sparsity.finish()
        if self.nesting:
            self.module.prefixes = self.nesting.lasting
            if self.nesting.by_rate:
                self.module.rearrange_(self.nesting.order)
        read, write = self.places()
        return (whole or self.module).fold_(read, write).eval()

    def places(self) -> tuple[Units, Units]:
        """The units of what is read and of what is written."""
        if self.module.autoencodes:
            return self.units, self.units
        width = self.module.width
        return self.units.part(slice(0, width)), self.units.part(slice(width, None))


def _sparsity(dictionary: Dictionary, config: ObjectiveConfig, steps: int) -> Sparsity:
    pulls = config.l0_form == QUADRATIC
    measure = Measure(config.l0_form, config.tanh_slope, config.target_l0 or 1.0)
    return Sparsity(
        dictionary, config.l1, config.l0, measure, None if pulls else config.target_l0,
        config.warmup, steps, free=config.decoder == FREE,
    )  # fmt: skip
