"""The audit: every change and every search leaves a row, no row names anybody, no row changes unnoticed."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from gallery_db import audit
from gallery_db.gallery import Gallery
from gallery_db.schema import AuditRow
from tests.gallery_db.planted import REASON, draw_person, embed, enrol_people


def act(gallery: Gallery, folder: Path) -> list[str]:
    """Perform every action once; return the expected audit entries."""
    enrol_people(gallery, [1, 2, 3])
    probe = embed(draw_person(1), 50)
    gallery.search(probe, reason=REASON)
    gallery.verify("Person 1", probe)
    gallery.merge("Person 1", "Person 2")
    gallery.unmerge("Person 2")
    gallery.reassign(gallery.samples("Person 1")[0].id, "Person 2")
    gallery.rename("Person 3", "Ada")
    gallery.export(folder / "people", ["Ada"])
    gallery.forget("Ada", timeout_s=5)
    gallery.import_(folder / "people")
    result = ["enrol"] * 3 + ["search", "verify", "merge", "unmerge", "reassign", "rename", "export", "forget"]
    return [*result, "import"]


def test_everything_is_on_record_and_nobody_is_named(gallery: Gallery, tmp_path: Path) -> None:
    wanted = act(gallery, tmp_path)
    with gallery.database.read() as connection:
        rows = connection.execute(select(AuditRow.__table__).order_by(AuditRow.id)).mappings().all()
        assert audit.find_break(connection) is None
    assert [row["action"] for row in rows] == wanted
    result = str([dict(row) for row in rows])
    assert "Person" not in result
    assert "Ada" not in result
    assert REASON in result


def test_rows_are_sealed_by_the_database(gallery: Gallery) -> None:
    enrol_people(gallery, [1, 2])
    for change in (update(AuditRow).values(action="nothing"), delete(AuditRow)):
        with pytest.raises(DBAPIError, match="sealed"), gallery.database.write() as connection:
            connection.execute(change)


@pytest.mark.parametrize("column", ["action", "subject", "detail", "at"])
def test_a_changed_row_is_found_where_it_is(gallery: Gallery, column: str) -> None:
    enrol_people(gallery, [1, 2, 3, 4])
    with gallery.database.write() as connection:
        rows = {row.id: row for row in connection.execute(select(AuditRow.__table__).order_by(AuditRow.id))}
        unseal(connection)
        connection.execute(update(AuditRow).where(AuditRow.id == 3).values({column: getattr(rows[2], column)}))
        if column in ("action", "detail"):  # which are the same in both rows
            connection.execute(update(AuditRow).where(AuditRow.id == 3).values({column: "{}"}))
    with gallery.database.read() as connection:
        assert audit.find_break(connection) == 3
    (problem,) = gallery.check().problems
    assert "row 3" in problem


def test_a_removed_and_an_added_row_are_found(gallery: Gallery) -> None:
    enrol_people(gallery, [1, 2, 3])
    with gallery.database.write() as connection:
        unseal(connection)
        row = connection.execute(select(AuditRow.__table__).where(AuditRow.id == 2)).mappings().one()
        connection.execute(delete(AuditRow).where(AuditRow.id == 2))
    with gallery.database.read() as connection:
        assert audit.find_break(connection) == 2
    with gallery.database.write() as connection:
        connection.execute(insert(AuditRow).values(dict(row)))
        connection.execute(insert(AuditRow).values(dict(row) | {"id": 4}))
    with gallery.database.read() as connection:
        assert audit.find_break(connection) == 4


def test_what_is_undone_leaves_no_row(gallery: Gallery) -> None:
    def fail() -> None:
        with gallery.database.write() as connection:
            audit.append(connection, audit.Action.SEARCH)
            raise KeyError("undone")

    with pytest.raises(KeyError):
        fail()
    with gallery.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(AuditRow)).scalar_one() == 0


def unseal(connection: Connection) -> None:
    """Tamper as a user with access to the file, or with all rights on the server."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        return
    for change in ("update", "delete"):
        connection.execute(text(f"DROP TRIGGER audit_no_{change}"))
