"""The app's database: creation, migration from every older version, and errors."""

import ast
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

import webapp.accounts.schema
import webapp.jobs.schema  # noqa: F401 - its tables are among those compared
from engine.errors import FolderUnwritable
from engine.settings import Settings
from gallery_db.database import connect, migrate
from gallery_db.errors import GalleryBusy
from gallery_db.migrations import bring_up_to_date, read_version
from tests.raising import raises
from webapp.database import FILE, VERSION, AppDatabase, Base
from webapp.errors import WebCode
from webapp.migrations import HERE


def list_versions() -> list[str]:
    """All versions, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(HERE))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


def check_schema(database: AppDatabase) -> None:
    with database.write() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
        assert read_version(connection) == VERSION


def test_the_newest_version_is_the_last_migration() -> None:
    assert list_versions()[-1] == VERSION
    assert len(list_versions()) == len(list((HERE / "versions").glob("v*.py")))


def test_empty_database_is_migrated_to_the_models_and_private(tmp_path: Path) -> None:
    database = AppDatabase.open(Settings(tmp_path / "data"))
    check_schema(database)
    assert (tmp_path / "data" / FILE).stat().st_mode & 0o077 == 0
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
    database.close()


@pytest.mark.parametrize("version", list_versions())
def test_every_older_version_becomes_the_newest(tmp_path: Path, version: str) -> None:
    migrate(connect(tmp_path / FILE), version, lambda held: bring_up_to_date(held, version, HERE)).close()
    database = AppDatabase.open(Settings(tmp_path))
    check_schema(database)
    database.close()


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = AppDatabase.open(Settings(tmp_path))
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with raises(WebCode.APP_DATABASE_NEWER, match=FILE):
        AppDatabase.open(Settings(tmp_path))


def test_what_is_no_database_is_refused_and_left(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"somebody's letter, long enough")
    with raises(WebCode.APP_DATABASE_DAMAGED, match="app's database") as result:
        AppDatabase.open(Settings(tmp_path))
    assert "gallery" not in result.value.message + result.value.hint
    assert (tmp_path / FILE).read_bytes() == b"somebody's letter, long enough"


def test_unusable_data_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(FolderUnwritable, match="app's database"):
        AppDatabase.open(Settings(tmp_path / "data"))


def test_errors_within_a_session_are_reported(tmp_path: Path) -> None:
    database = AppDatabase.open(Settings(tmp_path))
    with raises(WebCode.APP_DATABASE_BUSY), database.write():
        raise GalleryBusy("The gallery was held.", "Try again.")
    database.close()


def test_a_released_migration_is_frozen_but_for_its_types() -> None:
    """Its result must never change, so of our modules it may import column types only."""
    paths = list((HERE / "versions").glob("v*.py"))
    assert paths
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("webapp", "gallery_db"):
                assert {one.name for one in node.names} <= {"UtcTime", "Vector"}
