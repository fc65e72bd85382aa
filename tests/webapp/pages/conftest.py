"""An app context for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webapp.pages.contexts import open_context
from webapp.context import AppContext


@pytest.fixture
def context(tmp_path: Path) -> Iterator[AppContext]:
    context = open_context(tmp_path)
    yield context
    context.jobs.close()
    context.gallery.close()
