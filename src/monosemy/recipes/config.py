"""From tables (TOML, flags) to frozen recipes and back: an unknown key is an error."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from monosemy.foundation.errors import UserError, nearest, refuse

R = TypeVar("R")


def override(recipe: R, changes: Mapping[str, Any]) -> R:
    """`recipe` with some fields changed; a dotted key reaches into a nested table.

    Values may be strings, as flags give them; they are read as the field's type.

    Errors
    ------
    `UserError` listing every unknown key (with the nearest name) and every unreadable value.

    >>> from monosemy.training.optim import OptimConfig
    >>> override(OptimConfig(), {"clip": "0.5"}).clip
    0.5
    """
    reasons: list[str] = []
    changed = _apply(recipe, _nested(changes), "", reasons)
    refuse(reasons, "this recipe")
    return changed


def from_toml(path: Path, default: R) -> R:
    """The recipe in a TOML file: what it leaves out is as in `default`."""
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no recipe at {path}: no such file") from None
    except OSError as error:
        raise UserError(f"the recipe at {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from None
    return override(default, table)


def from_python(path: Path, function: str, kind: type[R]) -> R:
    """Call `function` of the Python file at `path`; it must return a `kind`."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no recipe at {path}: no such file")
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses defined in the file look themselves up there
    spec.loader.exec_module(module)
    made = _function(module, function, path)()
    if not isinstance(made, kind):
        raise UserError(
            f"{function}() in {path} returned {type(made).__name__}; wanted {kind.__name__}"
        )
    return made


def _function(module: types.ModuleType, name: str, path: Path) -> Callable[[], Any]:
    found = getattr(module, name, None)
    if callable(found):
        return found
    known = [
        key
        for key, value in vars(module).items()
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__
    ]
    listed = ", ".join(known) or "none"
    raise UserError(f"no function {name!r} in {path}; it has: {listed}{nearest(name, known)}")


def keys_of(kind: Any, prefix: str = "") -> list[str]:
    """Every key of a recipe, dotted where nested."""
    keys = []
    for field in dataclasses.fields(kind):
        inner = typing.get_type_hints(kind)[field.name]
        name = f"{prefix}{field.name}"
        keys += keys_of(inner, f"{name}.") if dataclasses.is_dataclass(inner) else [name]
    return keys


def _nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in changes.items():
        *outer, last = key.split(".")
        place = table
        for name in outer:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                raise UserError(f"{key} = {value!r} stands beside {name} = {inner!r}; give one")
            place = inner
        place[last] = value
    return table


def _apply(recipe: Any, table: Mapping[str, Any], prefix: str, reasons: list[str]) -> Any:
    hints = typing.get_type_hints(type(recipe))
    known = {field.name for field in dataclasses.fields(recipe)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if key not in known:
            reasons.append(_unknown(name, prefix, known, type(recipe)))
        elif dataclasses.is_dataclass(hints[key]):
            if isinstance(value, Mapping):
                values[key] = _apply(getattr(recipe, key), value, f"{name}.", reasons)
            else:
                reasons.append(f"{name} is a table ({', '.join(keys_of(hints[key], name + '.'))})")
        else:
            try:
                values[key] = _read(value, hints[key])
            except (ValueError, TypeError, OverflowError):  # what int and float raise, and tuple
                reasons.append(f"{name} = {value!r}; wanted {_spell(hints[key])}")
    return recipe if reasons else dataclasses.replace(recipe, **values)


def _unknown(name: str, prefix: str, known: set[str], kind: type) -> str:
    close = nearest(name, keys_of(kind, prefix) + [f"{prefix}{key}" for key in known])
    return f"unknown key {name!r}{close or '; known: ' + ', '.join(keys_of(kind, prefix))}"


def _read(value: Any, hint: Any) -> Any:
    """`value` as the type `hint` says; `ValueError` where it cannot be."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in options and value in (None, "none", ""):
        return None
    for option in options:
        if option is type(None):
            continue
        return _read_one(value, option)
    raise ValueError


def _read_one(value: Any, hint: Any) -> Any:
    if typing.get_origin(hint) is tuple:
        parts = [p for p in value.split(",") if p] if isinstance(value, str) else list(value)
        inner = typing.get_args(hint)
        if inner[-1] is Ellipsis:  # as many as there are
            inner = inner[:1] * len(parts)
        if len(parts) != len(inner):
            raise ValueError
        return tuple(_read_one(part, one) for part, one in zip(parts, inner, strict=True))
    if hint is bool:
        return _read_bool(value)
    if hint is int:
        return _read_int(value)
    if hint is float and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, str):
        return value
    raise ValueError


def _read_bool(value: Any) -> bool:
    known = {True: True, False: False, "true": True, "false": False}
    key = value.lower() if isinstance(value, str) else value
    if not isinstance(key, bool | str) or key not in known:
        raise ValueError
    return known[key]


def _read_int(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError
    number = float(value.replace("_", "")) if isinstance(value, str) else value
    if number != int(number):
        raise ValueError
    return int(number)


def _spell(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return " or ".join(map(_spell, typing.get_args(hint)))
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)
        some = "" if inner[-1] is Ellipsis else f"{len(inner)} "
        return f"{some}values, as in 0.9,0.999"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(hint, "none")
