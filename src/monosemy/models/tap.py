"""Read or replace activations at sites, stop early; the only file that touches hooks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from monosemy.foundation.errors import UserError
from monosemy.models.loading import PreTrainedModel, longest_context, without_notices
from monosemy.tensors.axes import Float, Int, Tensor

Edit = Callable[[Tensor], Tensor]
"""Takes the activation at a site, ``[context, position, width]``, and returns its replacement: a
new tensor of the same shape and dtype (it must not write into the one it was given)."""

Visit = Callable[[Any], Tensor | None]


@dataclass(frozen=True)
class Site:
    """A place inside a model where one vector per token passes. `sites.resolve` makes them.

    Attributes
    ----------
    name : as the user said it: ``blocks.0.mlp.hook_post`` or a module path.
    module : dotted path of the module, from the model.
    side : ``input`` or ``output`` of that module (the first tensor where there are several).
    layer : the block it lies in, if it lies in one.
    width : numbers in a vector.
    shared : the block keeps the very tensor that enters the module as its residual stream, so a
        replacement is written into that tensor; handing the module another one would leave the
        residual stream as it was.
    """

    name: str
    module: str
    side: str
    layer: int | None
    width: int
    shared: bool = False


class _Stop(Exception):
    """Every site has been read: the rest of the forward pass is not needed."""


class _Grid:
    """Contexts and positions of the forward pass under way."""

    shape: tuple[int, ...] | None = None


@torch.no_grad()
def read(
    model: PreTrainedModel,
    sites: Sequence[Site],
    ids: Int[Tensor, "context position"],
    mask: Int[Tensor, "context position"] | None = None,
) -> dict[str, Float[Tensor, "context position width"]]:
    """Activations at `sites`, by site name, in the model's own dtype.

    The forward pass ends right after the last site asked for, and logits are never computed unless
    a site lies behind them. Inside `editing`, what is read is what the edited run computes.
    Several threads may read, edit and run one model at once: none notices the others.

    Parameters
    ----------
    sites : where to read, in any order.
    ids : token ids, on any device.
    mask : 1 where a token counts, 0 for padding; `None` where every token counts.

    Errors
    ------
    `UserError` where contexts are longer than the model's, and where a site belongs to another
    model, never runs, or does not carry one vector per token.
    """
    _refuse_long(model, ids)
    grid = tuple(ids.shape)
    found: dict[str, Tensor] = {}
    missing = {site.name for site in sites}

    def keep(site: Site, value: Any) -> None:
        found.setdefault(site.name, _per_token(value, grid, site))
        missing.discard(site.name)
        if not missing:
            raise _Stop

    with ExitStack() as stack, without_notices():
        for site in sites:
            stack.callback(_attach(model, site, partial(keep, site)).remove)
        if missing:
            _run(model, ids, mask)
    if missing:
        raise UserError(
            f"no activation at {', '.join(sorted(missing))}: a forward pass of "
            f"{type(model).__name__} never runs it"
        )
    return {site.name: found[site.name] for site in sites}


@contextmanager
def editing(model: PreTrainedModel, edits: Mapping[Site, Edit]) -> Iterator[None]:
    """Inside the block, the activation at each site is what its function returns.

    Gradients flow through the replacement, and through the function into what it replaces. What
    other threads run is not edited. All hooks are gone when the block ends, however it ends.

    Errors
    ------
    `UserError` where a site belongs to another model, and, while the model runs, where a
    replacement differs in shape, dtype or device from what it replaces.
    """
    grid = _Grid()
    with ExitStack() as stack:
        for root in {model, model.base_model}:
            note = _deaf_to_others(partial(_note_grid, grid))
            hook = root.register_forward_pre_hook(note, with_kwargs=True)
            stack.callback(hook.remove)
        for site, edit in edits.items():
            visit = partial(_replaced, site, edit, grid)
            stack.callback(_attach(model, site, visit).remove)
        yield


def _run(model: PreTrainedModel, ids: Tensor, mask: Tensor | None) -> None:
    device = next(model.parameters()).device
    mask = None if mask is None else mask.to(device)
    try:
        model(input_ids=ids.to(device), attention_mask=mask, use_cache=False)
    except _Stop:
        return


def _refuse_long(model: PreTrainedModel, ids: Tensor) -> None:
    longest = longest_context(model)
    if ids.shape[1] > longest:
        raise UserError(
            f"contexts of {ids.shape[1]} positions do not fit {type(model).__name__}, whose "
            f"context is {longest}; pack them with --context {longest} or less"
        )


def _note_grid(grid: _Grid, module: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    for value in (*args[:1], kwargs.get("input_ids"), kwargs.get("inputs_embeds")):
        if isinstance(value, Tensor):
            grid.shape = tuple(value.shape[:2])


def _replaced(site: Site, edit: Edit, grid: _Grid, value: Any) -> Tensor:
    current = _per_token(value, grid.shape, site)
    # The function must see what was there before the write below, and so must its gradient.
    new = edit(current.clone() if site.shared else current)
    _refuse_misfit(new, current, site)
    if site.shared:
        return value.copy_(new.reshape(value.shape))
    # A value that stood for all contexts at once (positions) becomes one for each.
    return new.reshape(value.shape) if new.numel() == value.numel() else new


def _refuse_misfit(new: Any, current: Tensor, site: Site) -> None:
    if not isinstance(new, Tensor):
        raise UserError(f"the edit at {site.name} returned {type(new).__name__}, not a tensor")
    came = (tuple(new.shape), new.dtype, new.device)
    wanted = (tuple(current.shape), current.dtype, current.device)
    if came != wanted:
        raise UserError(
            f"the edit at {site.name} returned shape {came[0]}, {came[1]} on {came[2]}; "
            f"wanted {wanted[0]}, {wanted[1]} on {wanted[2]}"
        )


def _per_token(value: Any, grid: tuple[int, ...] | None, site: Site) -> Tensor:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = f"{value.dtype} values" if isinstance(value, Tensor) else type(value).__name__
        raise UserError(f"{site.name} carries {kind}, not one vector of numbers per token")
    grid = tuple(value.shape[:2]) if grid is None else grid
    if value.ndim >= 3 and tuple(value.shape[:2]) == grid:
        return value.flatten(2)  # heads, where there are any, are laid side by side
    if value.ndim == 2 and value.shape[0] == grid[0] * grid[1]:
        return value.unflatten(0, grid)  # OPT joins contexts and positions inside its MLP
    if value.ndim == 3 and tuple(value.shape[:2]) == (1, grid[1]):
        return value.expand(grid[0], -1, -1)  # positions are embedded once for all contexts
    raise UserError(
        f"{site.name} carries a tensor of shape {tuple(value.shape)}, not one vector per token of "
        f"{grid[0]} contexts of {grid[1]} positions; name another site"
    )


# --- hooks ---------------------------------------------------------------------------------------


def _attach(model: PreTrainedModel, site: Site, visit: Visit) -> Any:
    """A hook that shows `visit` the value at `site`; what it returns takes the value's place."""
    try:
        module = model.get_submodule(site.module)
    except AttributeError:
        raise UserError(
            f"site {site.name} does not belong to {type(model).__name__}: it has no module "
            f"{site.module!r}"
        ) from None
    visit = _deaf_to_others(visit)
    if site.side == "input":
        return module.register_forward_pre_hook(partial(_at_input, visit), with_kwargs=True)
    return module.register_forward_hook(partial(_at_output, visit))


def _deaf_to_others(hook: Callable[..., Any]) -> Callable[..., Any]:
    """`hook` for this thread's forward passes; a stream may be reading the model in another."""
    owner = threading.get_ident()

    def heard(*args: Any) -> Any:
        return hook(*args) if threading.get_ident() == owner else None

    return heard


def _at_input(
    visit: Visit, module: Any, args: tuple, kwargs: dict[str, Any]
) -> tuple[tuple, dict[str, Any]] | None:
    if args:
        new = visit(args[0])
        return None if new is None else ((new, *args[1:]), kwargs)
    for key, value in kwargs.items():
        if isinstance(value, Tensor):
            new = visit(value)
            return None if new is None else (args, {**kwargs, key: new})
    return None  # nothing entered


def _at_output(visit: Visit, module: Any, args: tuple, output: Any) -> Any:
    if not isinstance(output, (tuple, MutableMapping)):
        return visit(output)
    new = visit(next(iter(output.values() if isinstance(output, MutableMapping) else output), None))
    if new is None:
        return None
    if isinstance(output, tuple):
        return (new, *output[1:])
    output[next(iter(output))] = new  # a named output of transformers
    return output
