"""Galleries to test with: a SQLite file, and a database on a real PostgreSQL that runs as long as the tests."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gallery_db.gallery import Gallery
from tests.gallery_db.servers import make_database, run_postgres

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """Makes an empty database with our tables, each call another one, and gives its URL."""
    with run_postgres() as server:
        Gallery.open(make_database(server, "pattern")).close()
        yield lambda: make_database(server, f"tests_{next(_numbers)}", like="pattern")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "gallery" / "gallery.db"


@pytest.fixture
def sqlite_gallery(file: Path) -> Iterator[Gallery]:
    with Gallery.open(file) as gallery:
        yield gallery
