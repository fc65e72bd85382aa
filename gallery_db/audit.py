"""Audit log as a hash chain: each row holds the hash of the previous one, so that changes are detected.

A row contains no name. Its subject is a salted hash of the speaker's id, and the salt is deleted with the speaker: rows
that remain after an erasure cannot be linked to a person. Rows removed from the end leave a valid chain; to exclude
that, store the last hash elsewhere.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert, select

from gallery_db.schema import AuditRow, SpeakerRow

FIRST = "0" * 64  # `previous` of the first row


class Action(StrEnum):
    """Recorded action."""

    ENROL = "enrol"
    SEARCH = "search"
    VERIFY = "verify"
    FORGET = "forget"
    EXPIRE = "expire"  # some samples of a speaker were erased with their consent
    MERGE = "merge"
    UNMERGE = "unmerge"
    REASSIGN = "reassign"
    RENAME = "rename"
    EXPORT = "export"
    IMPORT = "import"
    BACKUP = "backup"
    RESTORE = "restore"
    MEND = "mend"
    CALIBRATION = "calibration"


def name_subject(speaker_id: int, salt: bytes) -> str:
    """Return the pseudonym of a speaker in the audit log: SHA-256 of salt and id."""
    return hashlib.sha256(salt + str(speaker_id).encode()).hexdigest()


def find_subject(connection: Connection, speaker_id: int) -> str:
    """Return the pseudonym of an enrolled speaker."""
    salt = connection.execute(select(SpeakerRow.salt).where(SpeakerRow.id == speaker_id)).scalar_one()
    return name_subject(speaker_id, salt)


def append(
    connection: Connection, action: Action, subject: str | None = None, detail: Mapping[str, Any] | None = None
) -> None:
    """Append a row in the caller's write transaction."""
    last = connection.execute(select(AuditRow.id, AuditRow.hash).order_by(AuditRow.id.desc()).limit(1)).one_or_none()
    number, previous = (last.id + 1, last.hash) if last else (1, FIRST)
    row = {
        "id": number,
        "at": datetime.now(UTC),
        "action": str(action),
        "subject": subject,
        "detail": _write_canonical(detail or {}),
        "previous": previous,
    }
    connection.execute(insert(AuditRow).values(**row, hash=_seal(row)))


def find_break(connection: Connection) -> int | None:
    """Return the number of the first row that breaks the chain, or None."""
    expected, previous = 1, FIRST
    for row in connection.execute(select(AuditRow.__table__).order_by(AuditRow.id)).mappings():
        if row["id"] != expected or row["previous"] != previous or row["hash"] != _seal(dict(row)):
            return expected
        expected, previous = expected + 1, row["hash"]
    return None


def _seal(row: Mapping[str, Any]) -> str:
    content = {key: row[key] for key in ("id", "action", "subject", "detail")} | {"at": row["at"].isoformat()}
    return hashlib.sha256((row["previous"] + "|" + _write_canonical(content)).encode()).hexdigest()


def _write_canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
