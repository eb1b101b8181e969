"""monosemy takes a transformer apart into features that each mean one thing.

>>> import monosemy
>>> monosemy.Compute(seed=1).seed
1

The names below are found when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# name -> the module it lives in; nothing inside the package imports from here.
_NAMES = {
    "Compute": "monosemy.tensors.compute",
    "SparseCode": "monosemy.tensors.codes",
    "UserError": "monosemy.foundation.errors",
    "load_model": "monosemy.models.loading:load",
    "resolve_site": "monosemy.models.sites:resolve",
    "list_sites": "monosemy.models.sites:listing",
    "read": "monosemy.models.tap",
    "editing": "monosemy.models.tap",
    "open_corpus": "monosemy.data.text",
    "pack": "monosemy.data.tokens",
    "Packing": "monosemy.data.tokens",
    "capture": "monosemy.data.capture",
    "open_shards": "monosemy.data.shards",
    "FlatDictionary": "monosemy.dictionaries.flat",
    "load_dictionary": "monosemy.dictionaries.files:load",
    "save_dictionary": "monosemy.dictionaries.files:save",
    "DictionaryRecipe": "monosemy.recipes.recipe",
    "train_dictionary": "monosemy.recipes.dictionary",
    "evaluate": "monosemy.recipes.evaluation",
    "run_demo": "monosemy.recipes.demo",
}

__all__ = list(_NAMES)  # noqa: PLE0605 - the table is the list

if TYPE_CHECKING:
    from monosemy.data.capture import capture as capture
    from monosemy.data.shards import open_shards as open_shards
    from monosemy.data.text import open_corpus as open_corpus
    from monosemy.data.tokens import Packing as Packing
    from monosemy.data.tokens import pack as pack
    from monosemy.dictionaries.files import load as load_dictionary  # noqa: F401
    from monosemy.dictionaries.files import save as save_dictionary  # noqa: F401
    from monosemy.dictionaries.flat import FlatDictionary as FlatDictionary
    from monosemy.foundation.errors import UserError as UserError
    from monosemy.models.loading import load as load_model  # noqa: F401
    from monosemy.models.sites import listing as list_sites  # noqa: F401
    from monosemy.models.sites import resolve as resolve_site  # noqa: F401
    from monosemy.models.tap import editing as editing
    from monosemy.models.tap import read as read
    from monosemy.recipes.demo import run_demo as run_demo
    from monosemy.recipes.dictionary import train_dictionary as train_dictionary
    from monosemy.recipes.evaluation import evaluate as evaluate
    from monosemy.recipes.recipe import DictionaryRecipe as DictionaryRecipe
    from monosemy.tensors.codes import SparseCode as SparseCode
    from monosemy.tensors.compute import Compute as Compute


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'monosemy' has no attribute {name!r}")
    module, _, inner = _NAMES[name].partition(":")
    return getattr(importlib.import_module(module), inner or name)


def __dir__() -> list[str]:
    return sorted(__all__)
