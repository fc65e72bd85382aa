"""Erase speakers: delete their rows, overwrite the bytes of these rows, clean caches of derived data.

SQLite with `secure_delete` overwrites deleted data, but the log contains them until a truncating checkpoint, which open
readers delay; and moved pages may contain a stale copy, which VACUUM removes. So the files are searched after the
checkpoint, and cleaned again until the bytes are gone or time is up. PostgreSQL keeps dead rows until VACUUM FULL.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import Connection, delete, func, select, text, update

from gallery_db import audit
from gallery_db.audit import Action
from gallery_db.database import Database
from gallery_db.errors import GalleryBusy
from gallery_db.records import Receipt
from gallery_db.schema import (
    Base,
    ConsentRow,
    EmbeddingRow,
    MergeRow,
    SampleRow,
    SpeakerRow,
)
from gallery_db.speakers import drop_unused_consents, read_speakers
from gallery_db.templates import renew_templates

CHUNK = 2**24  # bytes of a file read at once
NO_RESULTS = {"results": 0}  # key of the receipt and the audit log; no version writes results
TRACE = 64  # bytes that identify a vector or picture
ALWAYS = ("backups and exports that were made before", "what was printed, copied or sent")
OF_SERVERS = ("the server's write-ahead log, replicas and dumps",)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Erased speaker, for the cleaners of caches."""

    subject: str
    source_hashes: tuple[str, ...]  # of clips without another speaker
    speaker_ids: tuple[int, ...] = ()  # ids in search results: of the speaker and of all merged into it
    names: tuple[str, ...] = ()  # of all these, as written and case-folded; empty if only clips were erased


Cleaner = Callable[[Forgotten], int]
"""Function that removes an erased speaker from a cache and returns the number of removed items."""


@dataclass(frozen=True, slots=True)
class Removed:
    """Data deleted by a transaction."""

    forgotten: Forgotten
    rows: dict[str, int]  # per table
    traces: tuple[bytes, ...]  # bytes that must not remain in any file


def forget_speaker(connection: Connection, speaker_id: int) -> Removed:
    """Delete a speaker, all merged into it and all their rows, in the caller's transaction."""
    subject = audit.find_subject(connection, speaker_id)
    ids = _find_absorbed(connection, speaker_id)
    samples = connection.execute(select(SampleRow.id).where(SampleRow.speaker_id.in_(ids))).scalars().all()
    names = _read_names(connection, ids)
    traces = [name.encode() for name in names]
    rows = dict(NO_RESULTS)
    hashes, found, counts = _delete_samples(connection, samples)
    rows |= counts | {"templates": len(ids)}
    renew_templates(connection, ids)
    rows["merges"] = connection.execute(delete(MergeRow).where(MergeRow.absorbed_id.in_(ids))).rowcount
    connection.execute(update(SpeakerRow).where(SpeakerRow.id.in_(ids)).values(merged_into_id=None))
    rows["speakers"] = connection.execute(delete(SpeakerRow).where(SpeakerRow.id.in_(ids))).rowcount
    audit.append(connection, Action.FORGET, subject, rows)
    return Removed(Forgotten(subject, hashes, tuple(ids), tuple(names)), rows, (*found, *traces))


def forget_samples(connection: Connection, speaker_id: int, sample_ids: Sequence[int]) -> Removed:
    """Delete some samples of a speaker that remains enrolled."""
    subject = audit.find_subject(connection, speaker_id)
    rows = dict(NO_RESULTS)
    hashes, traces, counts = _delete_samples(connection, sample_ids)
    renew_templates(connection, [speaker_id])
    for merge in connection.execute(select(MergeRow.id, MergeRow.samples)).all():
        left = [one for one in merge.samples if one not in set(sample_ids)]
        connection.execute(update(MergeRow).where(MergeRow.id == merge.id).values(samples=left))
    audit.append(connection, Action.EXPIRE, subject, rows | counts)
    return Removed(Forgotten(subject, hashes, (speaker_id,)), rows | counts, traces)


def forget_lapsed(connection: Connection, now: datetime) -> list[Removed]:
    """Delete the samples of expired consents."""
    removed = []
    for speaker in read_speakers(connection):
        if speaker.expires_at is None or speaker.expires_at > now:
            continue
        expiries = _read_expiries(connection, speaker.id)
        expired = sorted(sample_id for sample_id, expires_at in expiries.items() if expires_at <= now)
        whole = len(expired) == len(expiries)
        removed.append(
            forget_speaker(connection, speaker.id) if whole else forget_samples(connection, speaker.id, expired)
        )
    return removed


def finish_erasure(database: Database, removed: Removed, cleaners: Mapping[str, Cleaner], timeout_s: float) -> Receipt:
    """Clean caches and database files; return the receipt."""
    counts, remaining = dict(removed.rows), list(ALWAYS if database.is_sqlite else ALWAYS + OF_SERVERS)
    for name, clean in cleaners.items():
        try:
            counts[name] = clean(removed.forgotten)
        except OSError as error:
            remaining.append(f"{name}, which could not be cleaned: {error}")
    is_erased = erase(database, removed.traces, timeout_s)
    if not is_erased:
        remaining.append(
            "the database's files, which another program keeps open: close it, then run `wayspeak gallery check`"
        )
    return Receipt(removed.forgotten.subject, datetime.now(UTC), counts, is_erased, tuple(remaining))


def erase(database: Database, traces: Iterable[bytes], timeout_s: float) -> bool:
    """Overwrite deleted data in the files; return whether none of these bytes is left within the timeout."""
    if not database.is_sqlite:
        with database.outside_transactions() as connection:
            for table in Base.metadata.tables:
                connection.execute(text(f'VACUUM FULL "{table}"'))
        return True
    wanted, end = [one for one in set(traces) if len(one) >= TRACE], time.monotonic() + timeout_s
    short = [one for one in set(traces) if len(one) < TRACE]  # names: other names may contain them
    while True:
        if truncate_log(database):
            if not find_traces(database, wanted + short):
                return True
            if _vacuum(database) and truncate_log(database) and not find_traces(database, wanted):
                return True
        if time.monotonic() > end:
            return False
        time.sleep(0.1)


def truncate_log(database: Database) -> bool:
    """Move SQLite's log into the database; return False while a reader blocks it."""
    with database.outside_transactions() as connection:
        connection.execute(text("PRAGMA busy_timeout=1000"))
        try:
            return connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).one()[0] == 0
        finally:
            connection.invalidate()  # the next connection has the usual timeout


def find_traces(database: Database, traces: Sequence[bytes]) -> list[bytes]:
    """Return which of these byte strings occur in a file of the database."""
    left = [one for one in traces if one]
    longest = max(map(len, left), default=0)
    found: set[bytes] = set()
    for path in database.files():
        with path.open("rb") as file:
            window = b""
            while piece := file.read(CHUNK):
                window = window[-longest:] + piece
                found |= {one for one in left if one in window}
    return sorted(found)


def _vacuum(database: Database) -> bool:
    try:
        with database.outside_transactions() as connection:
            connection.execute(text("VACUUM"))
    except GalleryBusy:
        return False
    return True


def _find_absorbed(connection: Connection, speaker_id: int) -> list[int]:
    """Return the ids of a speaker and of all merged into it, recursively."""
    ids, newest = [speaker_id], [speaker_id]
    while newest:
        newest = list(connection.execute(select(SpeakerRow.id).where(SpeakerRow.merged_into_id.in_(newest))).scalars())
        ids += newest
    return ids


def _read_names(connection: Connection, ids: Sequence[int]) -> list[str]:
    rows = connection.execute(select(SpeakerRow.name, SpeakerRow.name_key).where(SpeakerRow.id.in_(ids))).all()
    return [name for row in rows for name in row]


def _read_expiries(connection: Connection, speaker_id: int) -> dict[int, datetime]:
    """Return when the first consent of each sample expires."""
    query = (
        select(EmbeddingRow.sample_id, func.min(ConsentRow.expires_at))
        .join(ConsentRow, EmbeddingRow.consent_id == ConsentRow.id)
        .join(SampleRow, EmbeddingRow.sample_id == SampleRow.id)
        .where(SampleRow.speaker_id == speaker_id)
        .group_by(EmbeddingRow.sample_id)
    )
    return {sample_id: expires_at for sample_id, expires_at in connection.execute(query)}


def _delete_samples(
    connection: Connection, sample_ids: Sequence[int]
) -> tuple[tuple[str, ...], tuple[bytes, ...], dict[str, int]]:
    """Delete samples; return hashes of clips without another speaker, identifying bytes, and counts."""
    rows = connection.execute(
        select(SampleRow.source_hash, SampleRow.thumbnail).where(SampleRow.id.in_(sample_ids))
    ).all()
    vectors = connection.execute(select(EmbeddingRow.vector).where(EmbeddingRow.sample_id.in_(sample_ids))).scalars()
    traces = [np.asarray(one, "<f4").tobytes()[:TRACE] for one in vectors]
    pictures = [row.thumbnail for row in rows if row.thumbnail is not None]
    traces += [piece for picture in pictures for piece in _cut(picture)]
    embeddings = connection.execute(delete(EmbeddingRow).where(EmbeddingRow.sample_id.in_(sample_ids))).rowcount
    samples = connection.execute(delete(SampleRow).where(SampleRow.id.in_(sample_ids))).rowcount
    hashes = {row.source_hash for row in rows}
    kept = connection.execute(select(SampleRow.source_hash).where(SampleRow.source_hash.in_(hashes))).scalars()
    counts = {
        "samples": samples,
        "vectors": embeddings,
        "thumbnails": len(pictures),
        "consents": drop_unused_consents(connection),
    }
    return tuple(sorted(hashes - set(kept))), tuple(traces), counts


def _cut(picture: bytes) -> list[bytes]:
    """Return pieces of a JPEG, one per 2 kB; the first 600 bytes are tables that other files share."""
    return [picture[start : start + TRACE] for start in range(640, len(picture) - TRACE, 2048)]
