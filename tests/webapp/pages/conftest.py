"""A desk of one's own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webapp.pages.desks import open_desk
from webapp.context import AppContext


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[AppContext]:
    desk = open_desk(tmp_path)
    yield desk
    desk.jobs.close()
    desk.gallery.close()
