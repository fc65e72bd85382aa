"""Backups: whole, private, put back with identical searches, and speakers erased since then stay erased."""

import shutil
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from gallery_db import audit
from gallery_db.errors import GalleryCode, GalleryError, GalleryNewer
from gallery_db.gallery import Gallery
from gallery_db.records import Search
from gallery_db.schema import AuditRow
from tests.gallery_db.planted import REASON, draw_person, embed, enrol_people, make_consent, make_samples
from tests.raising import raises


def search_all(gallery: Gallery) -> list[Search]:
    return [gallery.search(embed(draw_person(seed), 50), 10, reason=REASON) for seed in range(1, 12)]


def read_actions(gallery: Gallery) -> list[str]:
    with gallery.database.read() as connection:
        assert audit.find_break(connection) is None
        return list(connection.execute(select(AuditRow.action).order_by(AuditRow.id)).scalars())


def test_what_is_put_back_gives_identical_searches(file: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with Gallery.open(file) as gallery:
        enrol_people(gallery, range(1, 10))
        gallery.merge("Person 1", "Person 2")
        before = search_all(gallery)
        gallery.backup(backup)
        assert stat.S_IMODE(backup.stat().st_mode) == 0o600
        enrol_people(gallery, [10, 11])
        gallery.unmerge("Person 2")
        assert search_all(gallery) != before
        Gallery.restore(file, backup)
        assert search_all(gallery) == before  # by the gallery that was open all the time
        assert gallery.check() == replace(gallery.check(), mended=(), problems=())
    with Gallery.open(file) as gallery:
        assert search_all(gallery) == before
        gallery.unmerge("Person 2")
    assert {one.name for one in tmp_path.iterdir()} == {"backup.db", "data"}


def test_it_is_put_back_where_nothing_is_left(file: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with Gallery.open(file) as gallery:
        enrol_people(gallery, [1, 2, 3])
        before = search_all(gallery)
        gallery.backup(backup)
    shutil.rmtree(file.parent)
    assert Gallery.restore(file, backup) == 0
    with Gallery.open(file) as gallery:
        assert search_all(gallery) == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 50])
def test_it_is_put_back_over_a_gallery_that_cannot_be_read(file: Path, tmp_path: Path, damage: bytes) -> None:
    backup = tmp_path / "backup.db"
    with Gallery.open(file) as gallery:
        enrol_people(gallery, [1, 2])
        before = search_all(gallery)
        gallery.backup(backup)
    file.write_bytes(damage)
    Gallery.restore(file, backup)
    with Gallery.open(file) as gallery:
        assert search_all(gallery) == before


def test_restore_erases_speakers_forgotten_since(file: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with Gallery.open(file) as gallery:
        enrol_people(gallery, [1, 2, 3])
        sample = gallery.samples("Person 2")[0]
        gallery.backup(backup)
        gallery.forget("Person 2")
        assert Gallery.restore(file, backup) == 1
        assert [one.name for one in gallery.speakers()] == ["Person 1", "Person 3"]
        assert "Person 2" not in {one.name for found in search_all(gallery) for one in found.candidates}
    trace = sample.embedding.vector.tobytes()[:64]
    assert trace in backup.read_bytes()
    assert all(trace not in path.read_bytes() for path in file.parent.iterdir())


def test_restore_keeps_speakers_with_partly_lapsed_consent(file: Path, tmp_path: Path) -> None:
    """What went with a consent is no wish to be forgotten: the rest of the person stays."""
    backup = tmp_path / "backup.db"
    with Gallery.open(file) as gallery:
        gallery.enrol("Ada", make_samples(1, 2), make_consent(1))
        gallery.enrol("Ada", make_samples(1, 4)[2:], make_consent(100))
        gallery.backup(backup)
        gallery.forget_overdue(make_consent(2).expires_at)
        assert Gallery.restore(file, backup) == 0
        assert gallery.speaker("Ada").n_samples == 4


def test_ids_go_on_and_the_audit_is_kept(file: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with Gallery.open(file) as gallery:
        enrol_people(gallery, [1])
        gallery.backup(backup)
        later = enrol_people(gallery, [2, 3])
        before = read_actions(gallery)
        Gallery.restore(file, backup)
        assert read_actions(gallery) == [*before, "restore"]
        assert enrol_people(gallery, [4])[0] > max(later)


def test_a_damaged_backup_and_one_of_another_program_are_refused(file: Path, tmp_path: Path) -> None:
    backup, other, text = tmp_path / "backup.db", tmp_path / "other.db", tmp_path / "text.db"
    with Gallery.open(file) as gallery:
        enrol_people(gallery, range(1, 10))
        gallery.backup(backup)
        before = search_all(gallery)
        content = bytearray(backup.read_bytes())
        content[4096:-4096] = b"\x5a" * (len(content) - 8192)
        backup.write_bytes(content)
        with closing(sqlite3.connect(other)) as connection:
            connection.execute("CREATE TABLE cake (recipe TEXT)")
        text.write_text("not a database" * 100)
        for path in (backup, other, text, tmp_path / "missing.db"):
            with raises(GalleryCode.FILE_REFUSED):
                Gallery.restore(file, path)
        assert search_all(gallery) == before
    assert {one.name for one in file.parent.iterdir()} == {"gallery.db"}


def test_a_backup_of_a_newer_version_is_refused(file: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with Gallery.open(file) as gallery:
        gallery.backup(backup)
        with closing(sqlite3.connect(backup)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(GalleryNewer):
            Gallery.restore(file, backup)
        assert gallery.speakers() == []


def test_a_server_is_backed_up_by_its_own_tools(postgres: str, tmp_path: Path) -> None:
    with Gallery.open(postgres) as gallery, pytest.raises(GalleryError) as result:
        gallery.backup(tmp_path / "backup.db")
    assert "pg_dump" in result.value.hint
    assert list(tmp_path.iterdir()) == []
