"""How many axes, units and neurons a model has, from its configuration alone; no weights are read.

*Axes* are the numbers of the residual stream, ``d``. *Units* are axes times layers, the count that is
often set beside a brain's neurons; *MLP neurons* are ``layers x inner``, mostly four times as many;
*attention axes* are ``layers x heads x head width``. The two counts differ, so both are given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.foundation.storage import read_json
from monosemy.models.census_table import (
    ALIASES,
    BRAINS,
    FAMILIES,
    MODELS,
    RMSNORM,
    Brain,
    Family,
    Known,
)

SPECIMEN = "specimen"
_SPECIMEN_FOLDER = Path(__file__).with_name("specimen")
# What configurations call the same thing, in the order they are looked for.
_KEYS = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "width": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head"),
    "key_heads": ("num_key_value_heads",),
    "head_width": ("head_dim",),
    "inner": ("intermediate_size", "n_inner", "ffn_dim", "d_ff"),
    "vocabulary": ("vocab_size",),
}
# Learned positions: where a family has them, and under which key.
_POSITIONS = {"gpt2": "n_positions", "opt": "max_position_embeddings",
              "bert": "max_position_embeddings"}  # fmt: skip


@dataclass(frozen=True)
class Census:
    """One model, counted.

    Attributes
    ----------
    name : of the model.
    source : of its shape.
    layers, width : blocks, and numbers in the residual stream (``d``).
    inner : the MLP's width.
    heads, head_width : of attention.
    norm : ``layernorm``, ``rmsnorm``, or empty where unknown.
    parameters : by the family's formula; `None` for a family without one.
    published : parameters as the paper says or the release has them, in millions; `None` for folders.
    """

    name: str
    source: str
    layers: int
    width: int
    inner: int
    heads: int
    head_width: int
    norm: str
    parameters: int | None
    published: float | None = None

    @property
    def units(self) -> int:
        """``layers x width``."""
        return self.layers * self.width

    @property
    def mlp_neurons(self) -> int:
        """``layers x inner``."""
        return self.layers * self.inner

    @property
    def attention_axes(self) -> int:
        """``layers x heads x head width``."""
        return self.layers * self.heads * self.head_width

    @property
    def freedom(self) -> dict[str, int] | None:
        """Of the normalised stream: ``span`` (linear dimensions) and ``intrinsic`` (of the sphere).

        LayerNorm: ``d - 1`` and ``d - 2``; RMSNorm: ``d`` and ``d - 1``. See ``monosemy lab freedom``.
        """
        if not self.norm:
            return None
        span = self.width if self.norm == RMSNORM else self.width - 1
        return {"span": span, "intrinsic": span - 1}

    @property
    def beside(self) -> Brain | None:
        """The largest nervous system in the table with no more neurons than the model has units."""
        return max((b for b in BRAINS if b.neurons <= self.units),
                   key=lambda brain: brain.neurons, default=None)  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Every count."""
        brain = self.beside
        return {
            "name": self.name, "layers": self.layers, "width": self.width, "units": self.units,
            "mlp_neurons": self.mlp_neurons, "attention_axes": self.attention_axes,
            "parameters": self.parameters,
            "published_parameters": None if self.published is None else round(self.published * 1e6),
            "norm": self.norm or None, "freedom": self.freedom,
            "more_units_than": brain and {"name": brain.name, "neurons": brain.neurons},
            "source": self.source,
        }  # fmt: skip


def count(names: Sequence[str] = ()) -> list[Census]:
    """The models called `names`: of the table, ``specimen``, or folders with ``config.json``.

    Without names, the whole table and the specimen. Nothing is downloaded.

    Errors
    ------
    `UserError` with every unknown name and the nearest known one, and every folder whose
    configuration does not say what is needed.
    """
    if not names:
        return [*(_known(model) for model in MODELS), _folder(_SPECIMEN_FOLDER, SPECIMEN)]
    found, reasons = [], []
    for name in names:
        try:
            found.append(_one(name))
        except UserError as error:
            reasons.append(str(error))
    refuse(reasons, "this census")
    return found


def _one(name: str) -> Census:
    if name == SPECIMEN:
        return _folder(_SPECIMEN_FOLDER, SPECIMEN)
    if (folder := Path(name).expanduser()).is_dir():
        return _folder(folder, name)
    table = {_plain(model.name): model for model in MODELS}
    names = {**table, **{_plain(alias): table[_plain(to)] for alias, to in ALIASES.items()}}
    asked = _plain(name)
    if asked not in names:
        raise UserError(
            f"unknown model {name!r}: neither in the table (monosemy census lists it), nor "
            f"'{SPECIMEN}', nor a folder with config.json"
            f"{nearest(_bare(name), [SPECIMEN, *(model.name for model in MODELS), *ALIASES])}"
        )
    return _known(names[asked])


def _bare(name: str) -> str:
    """Without owner, in small letters: ``EleutherAI/pythia-70m`` is ``pythia-70m``."""
    return name.rsplit("/", 1)[-1].lower()


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", _bare(name))


def _known(model: Known) -> Census:
    family = FAMILIES[model.family]
    return Census(
        model.name, model.source, model.layers, model.width, model.inner, model.heads,
        model.head_width, family.norm, parameters(model, family), model.published,
    )  # fmt: skip


def parameters(model: Known, family: Family) -> int:
    """Parameters of a model of this shape.

    ``V d (1 or 2) + positions d + layers (attention + mlp + norms) + what else the family has``
    """
    d, heads, keys = model.width, model.heads * model.head_width, model.key_heads * model.head_width
    norm = d if family.norm == RMSNORM else 2 * d
    attention = 2 * d * heads + 2 * d * keys
    attention += (heads + 2 * keys) * family.qkv_bias + d * family.out_bias
    attention += 2 * model.head_width * family.head_norm + d * d * family.relative
    mlp = (3 if family.gated else 2) * d * model.inner + (model.inner + d) * family.mlp_bias
    outside = (model.positions + family.segments) * d
    outside += norm * (family.final_norm + family.embedding_norm)
    outside += (d * d + d) * family.pooler + model.vocabulary * family.head_bias
    tied = family.tied if model.tied is None else model.tied
    embeddings = 1 if tied or not family.unembeds else 2
    return (embeddings * model.vocabulary * d + outside
            + model.layers * (attention + mlp + family.norms * norm))  # fmt: skip


def _folder(folder: Path, name: str) -> Census:
    path = folder / "config.json"
    config = read_json(path, "the model's configuration")
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no JSON object; wanted a model's configuration")
    # Models that also see keep their text part's shape in a table of its own.
    config = (
        config | config["text_config"] if isinstance(config.get("text_config"), dict) else config
    )
    found = {key: _first(config, names) for key, names in _KEYS.items()}
    missing = [
        f"{path} does not say {key}: wanted a whole number under {' or '.join(_KEYS[key])}"
        for key in ("layers", "width", "heads") if not found[key]
    ]  # fmt: skip
    refuse(missing, f"the configuration {path}")
    layers, width, heads = found["layers"], found["width"], found["heads"]
    kind = str(config.get("model_type") or "")
    family = FAMILIES.get(kind)
    positions = _first(config, (_POSITIONS.get(kind, ""),))
    shape = Known(
        name, kind, layers, width, heads, found["key_heads"] or heads,
        found["head_width"] or width // heads, found["inner"] or 4 * width, found["vocabulary"],
        positions + 2 * (kind == "opt"), 0.0, f"configuration ({kind or 'no model type'})",
        config.get("tie_word_embeddings"),
    )  # fmt: skip
    total = parameters(shape, family) if family and _regular(config) else None
    norm = family.norm if family else ""
    return Census(
        name, shape.source, layers, width, shape.inner, heads, shape.head_width, norm, total
    )


def _first(config: Mapping[str, Any], names: Sequence[str]) -> int:
    values = (config.get(name) for name in names)
    return next((v for v in values if isinstance(v, int) and not isinstance(v, bool) and v > 0), 0)


def _regular(config: Mapping[str, Any]) -> bool:
    """Whether the family's formula fits: no experts, no embedding of another width, no odd biases."""
    width = _first(config, _KEYS["width"])
    experts = config.get("num_local_experts") or config.get("num_experts")
    biases = config.get("attention_bias") or config.get("mlp_bias")
    embedded = config.get("word_embed_proj_dim") or width
    return not experts and not biases and embedded == width
