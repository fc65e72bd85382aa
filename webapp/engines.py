"""The engines behind the page: the default one always, and of the others the last that was asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.consistency.methods import Method, list_methods
from engine.errors import EngineError

if TYPE_CHECKING:  # it imports torch
    from engine.pipeline import Engine


class Engines:
    """Loads an engine when its method is first asked for; one caller at a time.

    The default one takes little and stays. AV-HuBERT takes 0.4 GB (BASE) or 1.3 GB (LARGE) in float32, so of the others
    one is held, and let go before another is loaded.
    """

    def __init__(self, default: "Engine", load: Callable[[Method], "Engine"]):
        self._default, self._load = default, load
        self._other: tuple[Method, Engine] | None = None

    def take(self, method: Method) -> "Engine":
        """Give the engine of a method; EngineError where its weights cannot be loaded."""
        if method == Method():
            return self._default
        if self._other is None or self._other[0] != method:
            self._other = None  # first, so that two never stand in memory together
            self._other = (method, self._load(method))
        return self._other[1]


def find_method(title: str | None, data_dir: Path) -> Method:
    """Give the method of this title; EngineError where it is not, or no longer, among those that are there."""
    for method in list_methods(data_dir):
        if method.title == title:
            return method
    raise EngineError(f"The method {title!r} is not there.", "Reload the page, which lists the methods anew.")
