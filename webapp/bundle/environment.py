"""Environment of a result: program versions, weights, and model cards with known weaknesses."""

import platform
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from engine.weights.registry import WEIGHTS, WeightState, hash_file, inspect_weight

CARDS = ("calibration.md", "compact-model.md", "dynamics-model.md")
CHECKOUT = Path(__file__).parents[2] / "docs"
PACKAGE = "wayspeak"


def read_cards() -> dict[str, str]:
    """Return the model cards by file name, from the checkout or the installed package; skip missing ones.

    A package keeps them among its shared data, at the place listed in its RECORD.
    """
    found = {}
    for name in CARDS:
        path = next((place for place in _places(name) if place.is_file()), None)
        if path is not None:
            found[name] = path.read_text("utf-8")
    return found


def describe_environment(data_dir: Path) -> dict[str, Any]:
    """Return versions of Python, the system and the packages, and the SHA-256 of every weight file."""
    return {
        "wayspeak": find_version(PACKAGE),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "packages": {name: version for name in _list_packages() if (version := find_version(name))},
        "weights": {name: digest for name, digest in _hash_weights(data_dir)},
    }


def find_version(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _places(name: str) -> Iterator[Path]:
    yield CHECKOUT / name
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return
    yield from (Path(str(file.locate())) for file in files if file.name == name)


def _list_packages() -> list[str]:
    """Return all packages that Wayspeak requires, with all extras."""
    try:
        wanted = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []
    names = {re.split(r"[\s\[<>=!~;(]", line, maxsplit=1)[0].lower() for line in wanted}
    return sorted(names - {PACKAGE})


def _hash_weights(data_dir: Path) -> Iterator[tuple[str, str]]:
    for weight in WEIGHTS:
        check = inspect_weight(weight, data_dir)
        if check.state is WeightState.VERIFIED:
            yield weight.file, hash_file(Path(check.detail))
