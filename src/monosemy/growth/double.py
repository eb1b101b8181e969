"""Models in double precision all the way.

Model libraries cast norms, softmaxes and rotary angles to float32 whatever the precision of the
weights, which hides differences below 1e-7. Here such casts stay in float64.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from monosemy.models.loading import without_notices
from monosemy.tensors.axes import Float, Int, Tensor


class InDouble(TorchFunctionMode):
    """While it lasts, what asks for float32 gets float64."""

    def __torch_function__(
        self, func: Callable, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """See the class."""
        func = torch.Tensor.double if func is torch.Tensor.float else func
        args = [torch.float64 if one is torch.float32 else one for one in args]
        kwargs = {name: torch.float64 if one is torch.float32 else one
                  for name, one in (kwargs or {}).items()}  # fmt: skip
        return func(*args, **kwargs)


def build(
    kind: Any, config: Any, weights: Mapping[str, Tensor] | None, dtype: torch.dtype, attention: str
) -> Any:
    """A model of class `kind` with these weights (or its own fresh ones), in evaluation mode.

    In float64 its own constants, such as rotary frequencies, are worked out in float64 too.
    """
    with without_notices(), torch.random.fork_rng(devices=[]):
        options = {"dtype": dtype, "attn_implementation": attention}
        if dtype == torch.float64:
            with InDouble():
                model = kind._from_config(copy.deepcopy(config), **options)
        else:
            model = kind._from_config(copy.deepcopy(config), **options)
    if weights is not None:
        model.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()})
    return model.eval()


def in_double(model: Any) -> Any:
    """A copy of `model` in double precision."""
    attention = model.config._attn_implementation
    return build(type(model), model.config, model.state_dict(), torch.float64, attention)


@torch.no_grad()
def logits(
    model: Any, ids: Int[Tensor, "context position"]
) -> Float[Tensor, "context position token"]:
    """What `model` predicts, with every cast in double where its weights are."""
    if model.dtype != torch.float64:
        return model(ids, use_cache=False).logits
    with InDouble():
        return model(ids, use_cache=False).logits
