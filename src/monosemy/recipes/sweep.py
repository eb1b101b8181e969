"""A sweep: one recipe, and the keys in which its dictionaries differ."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.recipes import config
from monosemy.recipes.catalogue import find_recipe
from monosemy.recipes.recipe import DictionaryRecipe, check

SHARED = (
    "model", "compare_with", "random_model", "text", "shards", "world", "world_seed",
    "tokens", "epochs", "context", "batch", "block", "dtype", "device", "checkpoint", "memory",
)  # fmt: skip
"""Keys that decide the stream, or the run as a whole: one value for all dictionaries."""
_END_TO_END = (
    "end-to-end training reads text, not the activations that a sweep shares; train it alone"
)
_WORLD = "a sweep is measured on held-out text, and a world has none; see: monosemy truth table"
# What is no part of a folder's name.
_UNFIT = re.compile(r"[^A-Za-z0-9._=,+-]+")


@dataclass(frozen=True)
class Sweep:
    """Several dictionaries that learn from one stream.

    Attributes
    ----------
    base : what they share; its seed deals the stream.
    recipes : by name, each dictionary's own.
    varied : keys in which they differ, dotted where nested.
    """

    base: DictionaryRecipe
    recipes: dict[str, DictionaryRecipe]
    varied: tuple[str, ...]

    def changes(self, name: str) -> dict[str, Any]:
        """The varied keys of one dictionary, with their values."""
        return {key: value_of(self.recipes[name], key) for key in self.varied}

    def to_json(self) -> dict[str, Any]:
        """``{base, dictionaries: {name: changes}}``: what decides the result."""
        base = asdict(self.base) | {"memory": None}
        return {"base": base, "dictionaries": {name: self.changes(name) for name in self.recipes}}


def find_sweep(name: str, over: Mapping[str, Any], changes: Mapping[str, Any]) -> Sweep:
    """The recipe called `name` with `changes`, swept over `over` and over what its TOML file says.

    A TOML recipe may have a table ``[sweep]`` with a list of values for a key (every combination is
    trained) and tables ``[[variant]]`` with one combination each, which may have a ``name``; where
    both stand, every variant is combined with the sweep. `over` goes before ``[sweep]``.

    Errors
    ------
    See `make_sweep`; and whatever `find_recipe` refuses.
    """
    if not name.endswith(".toml"):
        return make_sweep(config.override(find_recipe(name), changes), over)
    table = _read(Path(name))
    swept, variants = table.pop("sweep", {}), table.pop("variant", [])
    if not isinstance(swept, Mapping) or not isinstance(variants, list):
        raise UserError(f"{name}: wanted a table [sweep] and tables [[variant]]")
    base = config.override(config.override(DictionaryRecipe(), table), changes)
    return make_sweep(base, _flat(swept) | dict(over), [_flat(one) for one in variants])


def make_sweep(
    base: DictionaryRecipe,
    over: Mapping[str, Any],
    variants: Sequence[Mapping[str, Any]] = (),
) -> Sweep:
    """Every combination of the values in `over`, for each of `variants`.

    Errors
    ------
    `UserError` for a key that is unknown or must be shared, for values that do not fit, for two
    dictionaries of one name, and where nothing is swept: all reasons at once.
    """
    keys = [key for table in (*variants, over) for key in table if key != "name"]
    varied = tuple(dict.fromkeys(keys))
    reasons = [reason for key in varied if (reason := _unfit(key))]
    reasons += [f"{key} = {values!r}; wanted a list of values, one or more"
                for key, values in over.items() if not _is_list(values)]  # fmt: skip
    if not varied:
        reasons.append(
            "nothing is swept; give --over KEY=VALUE,VALUE, a table [sweep] or tables [[variant]]"
        )
    fit = {key: values for key, values in over.items() if _is_list(values) and not _unfit(key)}
    shown = [{key: v for key, v in one.items() if not _unfit(key)} for one in variants]
    recipes = _combine(base, fit, shown or [{}], varied, reasons)
    refuse(reasons, "this sweep")
    return Sweep(base, recipes, varied)


def parse_over(pairs: Sequence[str]) -> dict[str, list[str]]:
    """``("k=16,32",)`` as ``{"k": ["16", "32"]}``; values that hold commas stand between ``;``."""
    wrong = [pair for pair in pairs if not all(pair.partition("="))]
    refuse(
        [f"--over {pair!r}: wanted KEY=VALUE,VALUE, as in --over k=16,32,64" for pair in wrong],
        "this sweep",
    )
    split = dict(pair.split("=", 1) for pair in pairs)
    return {
        key: [value.strip() for value in values.split(";" if ";" in values else ",") if value]
        for key, values in split.items()
    }


def value_of(recipe: DictionaryRecipe, key: str) -> Any:
    """The value of a key, dotted where nested."""
    return reduce(getattr, key.split("."), recipe)


def _combine(
    base: DictionaryRecipe,
    over: Mapping[str, Sequence[Any]],
    variants: Sequence[Mapping[str, Any]],
    varied: Sequence[str],
    reasons: list[str],
) -> dict[str, DictionaryRecipe]:
    """Every recipe by its name; what does not fit is told once, with the first that has it."""
    recipes: dict[str, DictionaryRecipe] = {}
    told: dict[str, str] = {}
    for variant, values in product(variants, product(*over.values())):
        combined = dict(zip(over, values, strict=True))
        changes = {key: value for key, value in variant.items() if key != "name"} | combined
        given = str(variant.get("name", ""))
        try:
            recipe = config.override(base, changes)
            check(recipe)
        except UserError as error:
            told.setdefault(str(error), _spell(changes))
            continue
        if recipe.end_to_end.wanted:
            told.setdefault(_END_TO_END, _spell(changes))
        if recipe.world:
            told.setdefault(_WORLD, _spell(changes))
        name = _name(recipe, given, list(combined if given else changes), varied)
        if name in recipes:
            told[f"two dictionaries are called {name}; give each a name or values of its own"] = ""
        recipes[name] = recipe
    reasons += [f"{where}: {error}" if where else error for error, where in told.items()]
    return recipes


def _spell(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in changes.items()) or "the recipe"


def _name(recipe: DictionaryRecipe, given: str, keys: Sequence[str], varied: Sequence[str]) -> str:
    """``k=16,seed=0``: the last part of each key, where that says which."""
    lasts = [key.rpartition(".")[2] for key in varied]
    parts = [_UNFIT.sub("_", given)] if given else []
    for key in keys:
        last = key.rpartition(".")[2]
        shown = last if lasts.count(last) == 1 else key
        parts.append(f"{shown}={_UNFIT.sub('_', written(value_of(recipe, key)))}")
    return ",".join(parts)


def written(value: Any) -> str:
    """A value as names and tables show it."""
    if isinstance(value, tuple):
        return "+".join(map(written, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unfit(key: str) -> str | None:
    if key in SHARED:
        return (
            f"{key} cannot be swept: every dictionary learns from the same stream; "
            f"give it once, as in --set {key}=VALUE"
        )
    if key == "name":
        return None
    known = config.keys_of(DictionaryRecipe)
    return None if key in known else f"unknown key {key!r}{nearest(key, known)}"


def _is_list(values: Any) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config.from_toml(path, DictionaryRecipe())  # says what is wrong with it
        raise


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
