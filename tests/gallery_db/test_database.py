"""Database: pragmas are set, files are private, errors are translated."""

import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from engine.errors import EngineError, FolderUnwritable
from engine.settings import Settings
from gallery_db import database as module
from gallery_db.database import PRAGMAS, find_file_system, open_database, set_up_sqlite
from gallery_db.errors import GalleryBusy, GalleryCode, GalleryDamaged
from gallery_db.gallery import Gallery
from gallery_db.schema import Base
from tests.gallery_db.planted import enrol_people
from tests.raising import raises


def test_required_sqlite_pragmas_are_on(sqlite_gallery: Gallery) -> None:
    for block in (sqlite_gallery.database.read, sqlite_gallery.database.write):
        with block() as connection:
            for pragma, wanted in PRAGMAS.items():
                name = pragma.split("=")[0]
                assert connection.execute(text(f"PRAGMA {name}")).scalar_one() == wanted, name


def test_a_pragma_that_does_not_take_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRAGMAS, "journal_mode=wal", "wal")
    with closing(sqlite3.connect(":memory:")) as connection, raises(GalleryCode.GALLERY_UNREACHABLE, match="memory"):
        set_up_sqlite(connection)  # which can have no log


def test_folder_and_files_are_this_users_alone(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        with Gallery.open(Settings(tmp_path)) as gallery:
            enrol_people(gallery, [1])
            files = gallery.database.files()
            assert len(files) == 3
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
            assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700
    finally:
        os.umask(previous)


def test_numbers_are_never_used_twice_in_any_table(sqlite_gallery: Gallery) -> None:
    numbered = {"speaker", "consent", "sample", "embedding", "merge", "result"}
    with sqlite_gallery.database.read() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")).all()
    made = {row.name: row.sql for row in rows}
    assert numbered - {"result"} <= set(Base.metadata.tables)
    assert {name for name in made if "AUTOINCREMENT" in (made[name] or "")} == numbered


def test_a_reader_sees_one_state_throughout(sqlite_gallery: Gallery) -> None:
    enrol_people(sqlite_gallery, [1])
    with sqlite_gallery.database.read() as connection:
        count = text("SELECT count(*) FROM speaker")
        assert connection.execute(count).scalar_one() == 1
        enrol_people(sqlite_gallery, [2])
        assert connection.execute(count).scalar_one() == 1
    with sqlite_gallery.database.read() as connection:
        assert connection.execute(count).scalar_one() == 2


def test_a_writer_waits_for_another(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_database(file)) as one, closing(open_database(file)) as other:
        with one.write() as connection:
            connection.execute(text("PRAGMA user_version"))
            thread = threading.Thread(target=lambda: enrol_people(Gallery(other), [1]))
            thread.start()
            thread.join(0.3)
            assert thread.is_alive()
        thread.join(60)
        assert not thread.is_alive()
        with one.read() as connection:
            assert connection.execute(text("SELECT count(*) FROM speaker")).scalar_one() == 1


def test_lock_timeout_is_reported(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_database(file)) as one, closing(open_database(file)) as other:
        monkeypatch.setattr(module, "BUSY_MS", 50)
        with one.write(), pytest.raises(GalleryBusy, match=r"0\.05 s"), other.write():
            pass
        with other.write() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_lock_timeout_of_another_program_is_reported(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"busy_timeout=50": 50} | {name: value for name, value in PRAGMAS.items() if "busy" not in name}
    monkeypatch.setattr(module, "PRAGMAS", quick)
    with closing(open_database(file)) as one, closing(sqlite3.connect(file, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(GalleryBusy), one.write():
            pass


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be taken for one" * 20, b"SQLite format 3\x00" * 9]
)
def test_invalid_database_file_is_reported_and_unchanged(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(GalleryDamaged, match=r"damaged|not a database") as result:
        Gallery.open(file)
    assert "restore" in result.value.hint
    assert file.read_bytes() == content


def test_another_programs_database_is_not_written_into(file: Path) -> None:
    file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE recipes (cake TEXT)")
    with pytest.raises(GalleryDamaged, match="recipes"):
        Gallery.open(file)


def test_damaged_page_is_reported_on_read(file: Path) -> None:
    with Gallery.open(file) as gallery:
        enrol_people(gallery, range(1, 30))
    content = bytearray(file.read_bytes())
    content[8192:-4096] = b"\xff" * (len(content) - 12288)
    file.write_bytes(content)
    with pytest.raises(GalleryDamaged, match="damaged") as result, Gallery.open(file) as gallery:
        gallery.speakers()
    assert "restore" in result.value.hint


def test_flipped_bit_in_rows_is_reported_by_check(file: Path) -> None:
    with Gallery.open(file) as gallery:
        enrol_people(gallery, [1, 2])
        vector = gallery.samples("Person 1")[0].embedding.vector.tobytes()
    content = bytearray(file.read_bytes())
    places = [at for at in range(len(content)) if content.startswith(vector, at)]
    assert len(places) == 1
    content[places[0] + 3] ^= 0x40
    file.write_bytes(content)
    with Gallery.open(file) as gallery:
        found = gallery.check()
        assert not found.is_sound
        assert "length 1" in found.problems[0]


def test_a_damaged_template_is_mended_from_the_samples(file: Path) -> None:
    with Gallery.open(file) as gallery:
        enrol_people(gallery, [1, 2])
        before = gallery.speakers()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE template SET vector = zeroblob(256) WHERE speaker_id = 1")
        connection.execute("UPDATE template SET vector = x'00' WHERE speaker_id = 2")
    with Gallery.open(file) as gallery:
        found = gallery.check()
        assert found.is_sound
        assert "2 templates" in found.mended[0]
        assert gallery.speakers() == before
        assert gallery.check().mended == ()


def test_unusable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(FolderUnwritable, match="cannot be written"):
        Gallery.open(tmp_path / "a file" / "gallery.db")


def test_read_only_file_system_is_reported(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("gallery_db.database.os.open", refuse)
    with pytest.raises(FolderUnwritable, match="Read-only") as result:
        Gallery.open(file)
    assert "WAYSPEAK_DATA" in result.value.hint


def test_a_network_file_system_is_refused(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/vda / ext4 rw 0 0\nserver:/a {tmp_path}/data nfs4 rw 0 0\nserver:/b /else\\040where cifs rw 0 0\n"
    )
    assert find_file_system(file.parent, mounts) == "nfs4"
    assert find_file_system(Path("/else where/x"), mounts) == "cifs"
    assert find_file_system(tmp_path, mounts) == "ext4"
    assert find_file_system(tmp_path, tmp_path / "none") == ""
    monkeypatch.setattr("gallery_db.database.MOUNTS", mounts)
    with raises(GalleryCode.GALLERY_UNREACHABLE, match="nfs4"):
        Gallery.open(file)


@pytest.mark.parametrize(
    "url", ["postgresql://", "mysql://host/name", "sqlite://", "://", "postgresql://tests@/none?host=/none"]
)
def test_invalid_database_url_is_reported(url: str) -> None:
    with raises(GalleryCode.GALLERY_UNREACHABLE) as result:
        Gallery.open(url)
    assert isinstance(result.value, EngineError)
    assert result.value.hint


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with raises(GalleryCode.GALLERY_UNREACHABLE) as result:
        Gallery.open("postgresql://me:secret@localhost:1/none")
    assert "secret" not in f"{result.value.message} {result.value.hint}"
