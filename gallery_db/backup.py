"""Back up and restore a SQLite gallery; PostgreSQL has its own tools.

If the gallery that a backup replaces can still be read, its erasures are repeated on the backup, its newer audit rows
are kept, and its ids are not reused.
"""

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, text, update

from engine.errors import EngineError, FolderUnwritable
from gallery_db import audit, erasure
from gallery_db.audit import Action
from gallery_db.database import Database, open_database, set_up_sqlite
from gallery_db.errors import GalleryCode, GalleryDamaged, GalleryError, GalleryNewer
from gallery_db.schema import AuditRow, GenerationRow, SpeakerRow

OWN_TOOLS = "Use pg_dump and pg_restore, or `wayspeak gallery export`."


def write_backup(database: Database, path: Path) -> None:
    """Write a consistent copy of the gallery into a file that only this user can read."""
    if not database.is_sqlite:
        raise GalleryError("A gallery on a database server cannot be backed up into a file.", OWN_TOOLS)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL, 0o600))
        with database.outside_transactions() as connection:
            connection.execute(text("VACUUM INTO :file"), {"file": str(part)})
        _sync(part)
        part.replace(path)
    except OSError as cause:
        raise FolderUnwritable(f"{path} cannot be written: {cause.strerror}.", "Choose another place.") from cause
    finally:
        part.unlink(missing_ok=True)
    with database.write() as connection:
        audit.append(connection, Action.BACKUP)


def restore_backup(path: Path, live: Path) -> int:
    """Replace a gallery by a backup; return how many speakers were erased again.

    Raises FILE_REFUSED for a damaged backup, GalleryNewer for one of a newer version.
    """
    if not path.is_file():
        raise GalleryCode.FILE_REFUSED(f"There is no file {path}.", "Check the path.")
    live.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    part = live.with_name(f"{live.name}.restoring-{secrets.token_hex(4)}")
    try:
        _copy(path, part)
        before = _open_whole(live)
        try:
            n_forgotten = _carry_over(part, before)
        finally:
            if before is not None:
                before.close()
        if before is None:
            _replace(part, live)
        else:
            _copy_into(part, live)
    finally:
        for left in part.parent.glob(f"{part.name}*"):
            left.unlink()
    return n_forgotten


def _copy(path: Path, part: Path) -> None:
    """Copy a backup with SQLite, so that its log is read too, and check its integrity."""
    os.close(os.open(part, os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source:
            found = [row[0] for row in source.execute("PRAGMA integrity_check")]
            if found != ["ok"]:
                raise GalleryCode.FILE_REFUSED(
                    f"The backup {path.name} is damaged: {found[0]}.", "Restore an older one."
                )
            with closing(sqlite3.connect(part)) as target:
                source.backup(target)
    except sqlite3.Error as cause:
        raise GalleryCode.FILE_REFUSED(
            f"{path.name} is not a backup of a gallery: {cause}.", "Choose another file."
        ) from cause


def _open_whole(live: Path) -> Database | None:
    """Open the gallery to replace; None if it does not exist or cannot be read."""
    if not live.exists():
        return None
    try:
        return open_database(live)
    except GalleryNewer:
        raise
    except (GalleryDamaged, EngineError):
        return None


def _carry_over(part: Path, before: Database | None) -> int:
    """Update the copy: schema, audit rows, erasures, ids and epoch."""
    try:
        copy = open_database(part)
    except GalleryDamaged as cause:
        raise GalleryCode.FILE_REFUSED(
            f"The file is not a backup of a gallery: {cause.message}", "Choose another file."
        ) from cause
    n_forgotten = 0
    traces: list[bytes] = []
    try:
        with copy.write() as connection:
            if before is not None:
                with before.read() as old:
                    _keep_audit(old, connection)
                    _keep_numbers(old, connection)
                    forgotten = set(old.execute(_subjects()).scalars()) | set(connection.execute(_subjects()).scalars())
                for speaker_id in _find_speakers(connection, forgotten):
                    traces += erasure.forget_speaker(connection, speaker_id).traces
                    n_forgotten += 1
            connection.execute(update(GenerationRow).values(epoch=secrets.token_hex(16)))
            audit.append(connection, Action.RESTORE, None, {"forgotten_again": n_forgotten})
        erasure.erase(copy, traces, timeout_s=10)
    finally:
        copy.close()
    return n_forgotten


def _subjects() -> Any:
    return select(AuditRow.subject).where(AuditRow.action == str(Action.FORGET))


def _find_speakers(connection: Connection, subjects: set[str]) -> list[int]:
    """Return the speakers of these pseudonyms, without merged ones: they are erased with their target."""
    query = select(SpeakerRow.id, SpeakerRow.salt).where(SpeakerRow.merged_into_id.is_(None))
    return [row.id for row in connection.execute(query).all() if audit.name_subject(row.id, row.salt) in subjects]


def _keep_audit(old: Connection, new: Connection) -> None:
    """Append the audit rows written after the backup, if one chain continues the other."""
    rows = select(AuditRow.__table__).order_by(AuditRow.id)
    last = new.execute(rows.order_by(None).order_by(AuditRow.id.desc()).limit(1)).one_or_none()
    same = last is None or old.execute(select(AuditRow.hash).where(AuditRow.id == last.id)).scalar() == last.hash
    if not same:
        return
    later = [dict(row) for row in old.execute(rows.where(AuditRow.id > (last.id if last else 0))).mappings()]
    if later:
        new.execute(insert(AuditRow), later)


def _keep_numbers(old: Connection, new: Connection) -> None:
    """Continue ids from the highest of both databases."""
    query = text("SELECT name, seq FROM sqlite_sequence")
    current = {row.name: row.seq for row in new.execute(query)}
    for name, number in old.execute(query):
        if name not in current:
            new.execute(
                text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)"), {"name": name, "seq": number}
            )
        elif number > current[name]:
            new.execute(text("UPDATE sqlite_sequence SET seq = :seq WHERE name = :name"), {"name": name, "seq": number})


def _replace(part: Path, live: Path) -> None:
    """Replace an unreadable database file and its log."""
    _sync(part)
    for left in live.parent.glob(f"{live.name}-*"):
        left.unlink()
    part.replace(live)
    _sync(live.parent)


def _copy_into(part: Path, live: Path) -> None:
    """Overwrite a live gallery in one SQLite transaction: other processes see one state or the other."""
    with closing(sqlite3.connect(part)) as source, closing(sqlite3.connect(live)) as target:
        set_up_sqlite(target)
        source.backup(target)
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
