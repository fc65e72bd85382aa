"""Galleries to test with: a SQLite file, and a database on a real PostgreSQL that runs as long as the tests."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from gallery_db.gallery import Gallery
from gallery_db.schema import Base
from tests.gallery_db.servers import make_database, run_postgres


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a server with one empty database, of no tables."""
    with run_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def used_database(server: str) -> str:
    """A database with our tables, for one test after the other."""
    url = make_database(server, "used")
    Gallery.open(url).close()
    return url


@pytest.fixture
def postgres(used_database: str) -> str:
    """Return the URL of an empty gallery on PostgreSQL."""
    with psycopg.connect(used_database.replace("+psycopg", ""), autocommit=True) as connection:
        tables = ", ".join(f'"{name}"' for name in Base.metadata.tables)
        connection.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE".encode())
        connection.execute("INSERT INTO generation VALUES (1, %s, 0, 0)", [secrets.token_hex(16)])
    return used_database


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "gallery" / "gallery.db"


@pytest.fixture
def sqlite_gallery(file: Path) -> Iterator[Gallery]:
    with Gallery.open(file) as gallery:
        yield gallery
