"""What a feature's direction does to the next-token logits on the direct path."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from monosemy.explanation.words import TokenText
from monosemy.foundation.errors import UserError
from monosemy.models import sites
from monosemy.models.loading import LoadedModel
from monosemy.models.sites import Site
from monosemy.tensors.axes import Float, Tensor

_RESIDUAL = ("hook_embed", "hook_pos_embed", "hook_resid_pre", "hook_attn_out", "hook_resid_mid",
             "hook_mlp_out", "hook_resid_post")  # fmt: skip
# Where each projection's output joins the residual stream.
_JOINS = {"mlp.hook_post": "hook_mlp_out", "attn.hook_z": "hook_attn_out"}


@dataclass(frozen=True)
class DirectEffect:
    """The tokens that a feature raises and lowers most.

    Attributes
    ----------
    raised, lowered : (token text, weight), strongest first; weights fall, or rise from the lowest.
    reason : why the lists are empty; empty where they are not.
    """

    raised: tuple[tuple[str, float], ...] = ()
    lowered: tuple[tuple[str, float], ...] = ()
    reason: str = ""


@torch.no_grad()
def direct_effects(
    loaded: LoadedModel, site: Site, directions: Float[Tensor, "feature width"], count: int = 10
) -> list[DirectEffect]:
    """The top and bottom `count` tokens of `logit_weights`, for each direction.

    Where the model or the site has no such path, the lists are empty and the reason is given.
    """
    try:
        weights = logit_weights(loaded, site, directions)
    except NoDirectPath as error:
        return [DirectEffect(reason=str(error))] * len(directions)
    text = TokenText(loaded.tokenizer)
    # Some models embed more ids than their tokenizer has tokens.
    weights = weights[:, : len(loaded.tokenizer)]
    count = min(count, weights.shape[1])

    def listed(row: Tensor, largest: bool) -> tuple[tuple[str, float], ...]:
        values, ids = row.topk(count, largest=largest)
        pairs = zip(ids.tolist(), values.tolist(), strict=True)
        return tuple((text(token), value) for token, value in pairs)

    return [DirectEffect(listed(row, True), listed(row, False)) for row in weights]


class NoDirectPath(UserError):
    """The site does not reach the logits by linear maps and norms alone; the message says why."""


@torch.no_grad()
def logit_weights(
    loaded: LoadedModel, site: Site, directions: Float[Tensor, "feature width"]
) -> Float[Tensor, "feature vocabulary"]:
    """``w = W_U (g ∘ (P W_out d))``, less its mean over the vocabulary.

    ``d`` is a direction at the site; ``W_out`` the output projection where the site is its input
    (``mlp.hook_post``, ``attn.hook_z``), else left out; ``P`` takes the mean away for a LayerNorm
    and does nothing for an RMSNorm; ``g`` is the last norm's weight; ``W_U`` the unembedding. One
    unit of activation changes the logits by ``w / σ``, with ``σ`` the last norm's scale on that
    token (where a norm stands between projection and residual stream, times its own). The constant
    over the vocabulary is taken away because no probability depends on it.

    Limits: the direct path only. What later layers make of the direction is not in it, so it says
    most at late sites; ``σ`` differs from token to token and is held fixed, so weights compare
    within a feature, not in units of logits; a soft cap on the logits is ignored, which keeps their
    order. This is the logit lens (nostalgebraist 2020) applied to a direction, as in "Towards
    Monosemanticity" (Bricken et al. 2023).

    Errors
    ------
    `NoDirectPath` for models without unembedding or without a norm before it, and for sites that
    are neither in the residual stream nor added to it by a linear map.
    """
    norm, unembedding = _ending(loaded)
    at_end = (site.module, site.side) == (norm.module, norm.side)
    last = loaded.model.get_submodule(norm.module)
    written = directions.to(loaded.device, torch.float32)
    if not at_end:
        written = _linear_norm(last, _in_residual(loaded, site, written))
    weights = written @ unembedding.float().T
    return weights - weights.mean(1, keepdim=True)


def _ending(loaded: LoadedModel) -> tuple[Site, Float[Tensor, "vocabulary width"]]:
    """The last norm, and the unembedding behind it."""
    model = loaded.model
    head = model.get_output_embeddings()
    if head is None:
        raise NoDirectPath(
            f"{type(model).__name__} has no unembedding: it does not predict tokens, so no token "
            "is raised or lowered"
        )
    norm = next((site for site in sites.listing(model) if site.name == "ln_final"), None)
    if norm is None or head.weight.shape[1] != norm.width:
        raise NoDirectPath(
            f"{type(model).__name__} does not go from its residual stream through one norm to the "
            "unembedding, so the direct effect has no simple form"
        )
    return norm, head.weight


def _in_residual(loaded: LoadedModel, site: Site, directions: Tensor) -> Tensor:
    """`directions` at `site` as they arrive in the residual stream."""
    named = {place.name: place for place in sites.listing(loaded.model)}
    same = (s.name for s in named.values() if (s.module, s.side) == (site.module, site.side))
    name = next(same, site.name)
    if name.endswith(_RESIDUAL):
        return directions
    end = next((end for end in _JOINS if name.endswith(end)), None)
    if end is None:
        raise NoDirectPath(
            f"site {site.name} is neither in the residual stream nor added to it by a linear map, "
            "so the direct effect has no simple form; sites that have one end in "
            f"{', '.join((*_RESIDUAL, *_JOINS))}"
        )
    written = _without_bias(loaded.model.get_submodule(site.module), directions)
    joined = loaded.model.get_submodule(named[name.removesuffix(end) + _JOINS[end]].module)
    # Gemma 2 and 3 normalise what attention and MLP write before it is added.
    is_norm = getattr(joined, "weight", None) is not None and joined.weight.ndim == 1
    return _linear_norm(joined, written) if is_norm else written


def _without_bias(projection: nn.Module, x: Tensor) -> Tensor:
    weight = projection.get_parameter("weight").float()
    # GPT-2's Conv1D keeps its weight as [input, output], a Linear as [output, input].
    return x @ (weight.T if isinstance(projection, nn.Linear) else weight)


def _linear_norm(norm: nn.Module, x: Tensor) -> Tensor:
    """`norm` as a linear map with its scale at one: mean taken away (LayerNorm), times the weight.

    The weight is measured rather than read, since families store it in two ways (Gemma keeps
    ``weight - 1``): a vector of mean 0 and mean square 1 passes with nothing but weight and bias.
    """
    probe = torch.ones(x.shape[-1], device=x.device)
    probe[1::2] = -1
    if len(probe) % 2:  # three entries that sum to zero, none of them zero
        probe[-3:] = torch.tensor([1.0, 1.0, -2.0])
    probe = probe / probe.square().mean().sqrt()
    exact = copy.deepcopy(norm).float()
    weight = (exact(probe[None]) - exact(-probe[None]))[0] / (2 * probe)
    centred = x - x.mean(-1, keepdim=True) if isinstance(norm, nn.LayerNorm) else x
    return centred * weight
