"""Changing numbers deep in nested options by their names, as they stand in the sidecar: `steps.learning_rate=0.001`."""

import json
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from engine.errors import EngineError

Options = TypeVar("Options")


def change_options(options: Options, changes: Iterable[str]) -> Options:
    """Give the options with every `NAME=VALUE` carried out, values in JSON; a word needs no quotes.

    Raises EngineError for a name that is not there, a value of another kind, or one that the options refuse.
    """
    for change in changes:
        name, equals, text = change.partition("=")
        try:
            if not equals:
                raise ValueError("no value is given")
            options = _change(options, name.split("."), _read(text))
        except (ValueError, LookupError) as cause:
            raise EngineError(
                f"--set {change}: {cause}.", "Give NAME=VALUE, such as steps.learning_rate=0.001."
            ) from cause
    return options


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _change(old: Any, names: list[str], value: Any) -> Any:
    if not names:
        return _accept(old, value)
    name, *rest = names
    if isinstance(old, tuple):
        i = int(name)
        return (*old[:i], _change(old[i], rest, value), *old[i + 1 :])
    known = [one.name for one in fields(old)] if is_dataclass(old) else []
    if name not in known:
        raise LookupError(f"{name!r} is not one of {', '.join(known) or 'anything: it has no parts'}")
    return replace(old, **{name: _change(getattr(old, name), rest, value)})


def _accept(old: Any, value: Any) -> Any:
    """The value as the kind of the old one."""
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if old is not None and value is not None and type(old) is not type(value):
        raise ValueError(f"{json.dumps(value)} is not of the kind of {old!r}")
    return value
