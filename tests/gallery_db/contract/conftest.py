"""The same gallery on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gallery_db.gallery import Gallery


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    if request.param == "sqlite":
        return tmp_path / "gallery" / "gallery.db"
    return str(request.getfixturevalue("postgres"))


@pytest.fixture
def gallery(where: Path | str) -> Iterator[Gallery]:
    with Gallery.open(where) as opened:
        yield opened
