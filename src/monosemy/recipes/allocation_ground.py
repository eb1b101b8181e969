"""What allocation stands on: a model, its dictionary, and what both say on the same tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monosemy.data.joined import LiveSites
from monosemy.data.tokens import Contexts
from monosemy.dictionaries.base import Dictionary
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.growth import crowd as crowds
from monosemy.growth import layout
from monosemy.growth.crowd import Crowd
from monosemy.growth.reading import Kind, Rows
from monosemy.models import tap
from monosemy.models.sites import resolve
from monosemy.recipes.absorption import open_dictionary
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import Setting, open_setting
from monosemy.tensors.axes import Activations, Float, Int, Tensor
from monosemy.tensors.codes import SparseCode

# Tokens encoded at once.
_CHUNK = 4096
# One held-out context in so many, for the sake of more documents.
_SPREAD = 5


@dataclass(frozen=True, eq=False)
class Seen:
    """Tokens of one text, as the model and the dictionary see them.

    Attributes
    ----------
    contexts : the text.
    site : the activations that the dictionary reads.
    code : what it makes of them.
    x, neurons : what enters the MLP that moves the features, and its neurons.
    document : of each token.
    """

    contexts: Contexts
    site: Activations
    code: SparseCode
    x: Float[Tensor, "token _"]
    neurons: Float[Tensor, "token _"]
    document: Int[Tensor, "token"]


@dataclass(frozen=True, eq=False)
class Chosen:
    """What gets an axis.

    Attributes
    ----------
    names : latents by number, or relations by name.
    directions : at the site.
    values : on training tokens.
    heldout : on held-out ones.
    """

    names: tuple[str, ...]
    directions: Float[Tensor, "feature width"]
    values: Float[Tensor, "token feature"]
    heldout: Float[Tensor, "unseen feature"]


@dataclass(frozen=True, eq=False)
class Ground:
    """A run opened for allocation.

    Attributes
    ----------
    recipe, dictionary : of the run.
    setting : the model, the site and training text.
    crowd : where the site's features can be moved.
    kind : what a neuron of this model is.
    seen, heldout : training and held-out tokens.
    """

    recipe: DictionaryRecipe
    dictionary: Dictionary
    setting: Setting
    crowd: Crowd
    kind: Kind
    seen: Seen
    heldout: Seen

    @property
    def model(self) -> Any:
        """As it came."""
        return self.setting.loaded.model

    @property
    def density(self) -> Float[Tensor, "latent"]:
        """Share of training tokens on which each latent fires."""
        code = self.seen.code
        return torch.bincount(code.indices, minlength=code.latents) / code.tokens

    def rows(self, chosen: Chosen) -> Rows:
        """What own neurons learn from."""
        return Rows(self.seen.x, self.seen.neurons, chosen.values)

    def latents(self, features: Int[Tensor, "feature"]) -> Chosen:
        """Latents of the dictionary, with their decoder rows."""
        return Chosen(
            tuple(str(i) for i in features.tolist()),
            self.dictionary.W_dec.detach()[features],
            columns(self.seen.code, features),
            columns(self.heldout.code, features),
        )


def columns(code: SparseCode, features: Int[Tensor, "feature"]) -> Float[Tensor, "token feature"]:
    """Chosen columns of a code, dense."""
    place = torch.full((code.latents,), -1)
    place[features] = torch.arange(len(features))
    where = place[code.indices]
    kept = where >= 0
    full = torch.zeros(code.tokens, len(features))
    full[code.rows[kept], where[kept]] = code.values[kept].float()
    return full


def open_ground(
    run: str | Path, tokens: int, heldout: int, changes: dict[str, str] | None = None,
    progress: Progress = SILENT,
) -> Ground:  # fmt: skip
    """Open the dictionary at `run` and its model; read `tokens` of training and held-out text.

    Errors
    ------
    `UserError` with every reason for a dictionary that allocation means nothing for: one that reads
    another place than it writes, or several; a site out of the stream; an encoder.
    """
    recipe, dictionary = open_dictionary(Path(run), changes or {})
    reasons = [f"{name} = {given}; wanted at least 1,000 tokens"
               for name, given in (("tokens", tokens), ("held-out tokens", heldout))
               if given < 1000]  # fmt: skip
    if not dictionary.autoencodes or len(recipe.reads) > 1 or len(recipe.models) > 1:
        reasons.append("the dictionary does not reconstruct what it reads at one site of one model; "
                       "features that get an axis need one place")  # fmt: skip
    refuse(reasons, f"allocation from {run}")
    setting = open_setting(recipe, "train", tokens, progress)
    unseen = open_setting(recipe, "heldout", heldout * _SPREAD, progress)
    loaded = setting.loaded
    if not loaded.is_causal:
        raise UserError(f"{recipe.model} is an encoder: it predicts no next token, so there is no loss "
                        "to keep while features move")  # fmt: skip
    found = crowds.crowd(loaded.model, setting.site)
    dictionary.check_width(setting.site.width, f"site {setting.site.name}")
    seen, other = (
        _see(setting, dictionary, found, contexts, f"read {split}", progress)
        for contexts, split in (
            (setting.contexts, "train"),
            (unseen.contexts[::_SPREAD], "heldout"),
        )
    )
    return Ground(recipe, dictionary, setting, found, _kind(loaded.model, found), seen, other)


@torch.no_grad()
def read_stream(ground: Ground, model: Any, contexts: Contexts) -> Float[Tensor, "token stream"]:
    """The stream behind the MLP that moves features, at kept tokens."""
    site = resolve(model, ground.crowd.behind)
    parts = []
    for ids, kept in zip(contexts.ids.split(32), contexts.kept.split(32), strict=True):
        parts.append(tap.read(model, [site], ids)[site.name][kept].float())
    return torch.cat(parts)


@torch.no_grad()
def _see(
    setting: Setting, dictionary: Dictionary, found: Crowd, contexts: Contexts, what: str,
    progress: Progress,
) -> Seen:  # fmt: skip
    model = setting.loaded.model
    sites = [setting.site, resolve(model, found.read), resolve(model, found.neurons)]
    # A site may be read twice under one name where the features are the neurons'.
    unique = list({site.name: site for site in sites}.values())
    source = LiveSites(setting.loaded, unique, contexts)
    parts: list[Tensor] = []
    with progress.task(what, source.tokens, "tokens") as task:
        for start in range(0, source.tokens, _CHUNK):
            stop = min(start + _CHUNK, source.tokens)
            parts.append(source.rows(start, stop).float())
            task.advance(stop - start)
    by_name = dict(
        zip(
            (site.name for site in unique),
            torch.cat(parts).split([site.width for site in unique], 1),
            strict=True,
        )
    )
    at_site, x, neurons = (by_name[site.name] for site in sites)
    codes = [dictionary.code(part.to(dictionary.b_dec)) for part in at_site.split(_CHUNK)]
    document = contexts.document[contexts.kept].long()
    return Seen(contexts, at_site, SparseCode.stacked(codes), x, neurons, document)


def _kind(model: Any, found: Crowd) -> Kind:
    from transformers.activations import ACT2FN

    config = model.config
    names = ("hidden_activation", "hidden_act", "activation_function")
    act = next(getattr(config, name) for name in names if getattr(config, name, None))
    block = layout.read(model, found.family, found.shape).blocks[found.layer]
    return Kind(ACT2FN[act], "gate.weight" in block, "up.bias" in block)
