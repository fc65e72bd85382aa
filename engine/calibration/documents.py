"""Frozen records from JSON and back, and nothing else: no unknown key, no missing one, no NaN, no other type.

What is read becomes numbers, texts and records of the types that the fields are annotated with; nothing is looked up
by a name that stands in the document, so there is nothing in it that could be run.
"""

import json
import math
import types
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

MAX_CHARS = 4_000_000
MAX_TEXT = 20_000

Kind = TypeVar("Kind")


def parse(text: str) -> Any:
    """Read JSON strictly; ValueError says what is wrong."""
    if len(text) > MAX_CHARS:
        raise ValueError(f"it is {len(text)} characters long, more than {MAX_CHARS}")
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_pair)
    except RecursionError as cause:
        raise ValueError("it is nested too deeply") from cause


def build(kind: type[Kind], found: Any, place: str = "") -> Kind:
    """Build a record of parsed JSON; ValueError names the place of what does not fit."""
    if not is_dataclass(kind) or not isinstance(found, dict):
        raise ValueError(f"{place or 'the document'} is a {type(found).__name__}, wanted an object")
    hints = get_type_hints(kind)
    wanted = [field.name for field in fields(kind)]
    strangers, lacking = sorted(set(found) - set(wanted)), sorted(set(wanted) - set(found))
    if strangers or lacking:
        raise ValueError(f"{place or 'the document'}: unknown keys {strangers}, missing keys {lacking}")
    built = {name: _convert(hints[name], found[name], f"{place}.{name}".lstrip(".")) for name in wanted}
    return kind(**built)


def _convert(hint: Any, found: Any, place: str) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _choose(parts, found, place)
    if origin is tuple:
        if not isinstance(found, list | tuple):
            raise ValueError(f"{place} is a {type(found).__name__}, wanted a list")
        return tuple(_convert(parts[0], one, f"{place}[{number}]") for number, one in enumerate(found))
    if is_dataclass(hint) and isinstance(hint, type):
        return build(hint, found, place)
    if issubclass(hint, Enum):
        return _name(hint, found, place)
    return _take_plain(hint, found, place)


def _choose(parts: Sequence[Any], found: Any, place: str) -> Any:
    """Take the first of several types that fits; of records the one whose keys are there."""
    if found is None and type(None) in parts:
        return None
    rest = [part for part in parts if part is not type(None)]
    if len(rest) == 1:
        return _convert(rest[0], found, place)
    keys = set(found) if isinstance(found, dict) else None
    for part in rest:
        if is_dataclass(part) and keys == {field.name for field in fields(part)}:
            return build(part, found, place)  # type: ignore[arg-type]
    raise ValueError(f"{place} is of no kind that is known")


def _name(hint: type[Enum], found: Any, place: str) -> Enum:
    known = [one.value for one in hint]
    if found not in known:
        raise ValueError(f"{place} is {str(found)[:40]!r}, wanted one of {known}")
    return hint(found)


def _take_plain(hint: type, found: Any, place: str) -> Any:
    if hint is float and type(found) is int:
        found = float(found)
    if isinstance(found, bool) or not isinstance(found, hint):
        raise ValueError(f"{place} is a {type(found).__name__}, wanted {hint.__name__}")
    if isinstance(found, float) and not math.isfinite(found):
        raise ValueError(f"{place} is not a finite number")
    if isinstance(found, str) and len(found) > MAX_TEXT:
        raise ValueError(f"{place} is {len(found)} characters long, more than {MAX_TEXT}")
    return hint(found)


def _pair(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")
