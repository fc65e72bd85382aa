"""The schema: from nothing and from every older version to the newest, on both databases."""

import ast
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from gallery_db.database import Database, open_database
from gallery_db.errors import GalleryNewer
from gallery_db.gallery import Gallery
from gallery_db.migrations import HERE, bring_up_to_date, read_version
from gallery_db.schema import VERSION, Base
from tests.gallery_db.planted import enrol_people
from tests.gallery_db.servers import make_database

UNUSED = {"result", "result_speaker"}  # tables without a model


def list_versions() -> list[str]:
    """All versions, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(HERE))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


@pytest.fixture(params=["sqlite", "postgresql"])
def blank(request: pytest.FixtureRequest, file: Path) -> Path | str:
    """Where nothing is yet."""
    if request.param == "sqlite":
        return file
    return make_database(request.getfixturevalue("server"), f"blank_{abs(hash(request.node.nodeid))}")


def differences(connection: Connection) -> list[object]:
    def is_mapped(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or name not in UNUSED

    options = {"compare_type": True, "compare_server_default": True, "include_name": is_mapped}
    return compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)


def test_the_newest_version_is_the_last_migration() -> None:
    versions = list_versions()
    assert versions[-1] == VERSION
    assert len(versions) == len(list((HERE / "versions").glob("v*.py")))


def test_empty_database_is_migrated_to_the_models(blank: Path | str) -> None:
    database = open_database(blank)
    with database.write() as connection:
        assert differences(connection) == []
        assert read_version(connection) == VERSION
    database.close()


@pytest.mark.parametrize("version", list_versions())
def test_every_older_version_becomes_the_newest(blank: Path | str, version: str) -> None:
    database = open_database_at(blank, version)
    with database.write() as connection:
        bring_up_to_date(connection)
        assert read_version(connection) == VERSION
        assert differences(connection) == []
    enrol_people(Gallery(database), [1])
    database.close()


def open_database_at(where: Path | str, version: str) -> Database:
    """A database as that version of the program made it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gallery_db.database.VERSION", version)
        patch.setattr("gallery_db.database.bring_up_to_date", lambda connection: bring_up_to_date(connection, version))
        return open_database(where)


def test_a_newer_version_is_refused_and_left_as_it_is(blank: Path | str) -> None:
    database = open_database(blank)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(GalleryNewer, match="9999") as result:
        open_database(blank)
    assert "Update" in result.value.hint
    with database.read() as connection:
        assert read_version(connection) == "9999"
    database.close()


def test_a_migration_that_fails_leaves_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("half way")

    monkeypatch.setattr("alembic.op.create_index", fail)
    with pytest.raises(RuntimeError, match="half way"):
        open_database(file)
    monkeypatch.undo()
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        assert read_version(connection) is None
    engine.dispose()
    Gallery.open(file).close()


def test_a_released_migration_is_frozen_but_for_its_types() -> None:
    """It must make tomorrow what it makes today, so of our modules it may import column types alone."""
    for path in (HERE / "versions").glob("v*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gallery_db"):
                assert {one.name for one in node.names} <= {"UtcTime", "Vector"}
