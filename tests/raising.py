"""An error is expected by its code."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.errors import EngineError


@contextmanager
def raises(*codes: str, match: str | None = None) -> Iterator[pytest.ExceptionInfo[EngineError]]:
    """Expect an EngineError of one of the codes, as `pytest.raises` expects an exception of a class."""
    with pytest.raises(EngineError, match=match) as caught:
        yield caught
    assert caught.value.code in codes, f"{caught.value.code}: {caught.value}"
