"""A desk of one's own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webapp.pages.desks import open_desk
from webapp.pages.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = open_desk(tmp_path)
    yield desk
    desk.jobs.close()
    desk.gallery.close()
