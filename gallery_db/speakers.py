"""Read and write speakers, samples and consents; merge, split and rename speakers, in the caller's transaction.

A merge only moves samples. The absorbed speaker keeps a hidden row, so that reverting the merge restores its id and
name.
"""

import secrets
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, insert, literal, select, update

from engine.types import DynamicEmbedding
from gallery_db import audit
from gallery_db.audit import Action
from gallery_db.enrolment_checks import is_limited
from gallery_db.errors import GalleryCode, GalleryError
from gallery_db.records import Basis, Consent, NewSample, Speaker, StoredSample
from gallery_db.schema import ConsentRow, EmbeddingRow, MergeRow, SampleRow, SpeakerRow
from gallery_db.templates import renew_templates

MAX_NAME = 200
LIST_HINT = "List them: wayspeak gallery list."


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """Sample to write with its consent."""

    sample: NewSample
    consent_id: int
    created_at: datetime


def clean_name(name: str) -> str:
    """Normalise a name (NFC, single spaces); raises NAME_TAKEN if it is not a valid name."""
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    if not 0 < len(cleaned) <= MAX_NAME or not cleaned.isprintable():
        raise GalleryCode.NAME_TAKEN(
            f"{name[:50]!r} cannot be a name.", f"Write 1 to {MAX_NAME} printable characters on one line."
        )
    return cleaned


def fold_name(name: str) -> str:
    """Return the key under which spellings and capitalisations of a name are equal."""
    return unicodedata.normalize("NFKC", clean_name(name)).casefold()


def find_speaker(connection: Connection, speaker: int | str) -> int | None:
    """Return the id of a speaker by id or name, or None; merged speakers are not found."""
    query = select(SpeakerRow.id).where(_matches(speaker), SpeakerRow.merged_into_id.is_(None))
    return connection.execute(query).scalar_one_or_none()


def expect_speaker(connection: Connection, speaker: int | str) -> int:
    """Return the id of a speaker by id or name; raises UNKNOWN_SPEAKER."""
    found = find_speaker(connection, speaker)
    if found is None:
        raise GalleryCode.UNKNOWN_SPEAKER(
            f"No speaker {speaker!r} is enrolled." if isinstance(speaker, str) else f"No speaker has the id {speaker}.",
            LIST_HINT,
        )
    return found


def add_speaker(connection: Connection, name: str, created_at: datetime | None = None) -> int:
    """Insert a speaker and return the id; raises NAME_TAKEN if the name exists, also in another spelling."""
    name = clean_name(name)
    refuse_taken(connection, name)
    values = {
        "name": name,
        "name_key": fold_name(name),
        "salt": secrets.token_bytes(16),
        "created_at": created_at or datetime.now(UTC),
    }
    return connection.execute(insert(SpeakerRow).values(values).returning(SpeakerRow.id)).scalar_one()


def refuse_taken(connection: Connection, name: str, except_id: int | None = None) -> None:
    """Raise NAME_TAKEN if another speaker has the name, a merged one included."""
    row = connection.execute(
        select(SpeakerRow.id, SpeakerRow.name, SpeakerRow.merged_into_id).where(SpeakerRow.name_key == fold_name(name))
    ).one_or_none()
    if row is not None and row.id != except_id:
        raise GalleryCode.NAME_TAKEN(
            f"A speaker is enrolled as {row.name}" + (", and was merged into another." if row.merged_into_id else "."),
            "Choose another name" + (", or undo the merge." if row.merged_into_id else "."),
        )


def suggest_name(connection: Connection, name: str) -> str:
    """Return the name, or the first of `NAME (2)`, `NAME (3)` ... that is free."""
    taken = set(connection.execute(select(SpeakerRow.name_key)).scalars())
    names = (f"{name} ({number})" if number > 1 else name for number in count(1))
    return next(one for one in names if fold_name(one) not in taken)


def add_consent(connection: Connection, consent: Consent) -> int:
    """Insert a consent and return its id."""
    values = {
        "basis": str(consent.basis),
        "purpose": consent.purpose,
        "term_days": consent.term_days,
        "notice_version": consent.notice_version,
        "collector": consent.collector,
        "given_at": consent.given_at,
        "expires_at": consent.expires_at,
        "release_sha256": consent.release_sha256,
    }
    return connection.execute(insert(ConsentRow).values(values).returning(ConsentRow.id)).scalar_one()


def add_samples(connection: Connection, speaker_id: int, entries: Sequence[Entry]) -> tuple[int, ...]:
    """Insert samples and return their ids.

    A clip that is enrolled in another recipe gets another embedding instead of a second sample.
    """
    hashes = [one.sample.source_hash for one in entries]
    query = select(SampleRow.source_hash, SampleRow.id).where(SampleRow.speaker_id == speaker_id)
    rows = connection.execute(query.where(SampleRow.source_hash.in_(hashes)))
    known = {row.source_hash: row.id for row in rows}
    added = [one for one in entries if one.sample.source_hash not in known]
    if added:
        values = [_write_sample(speaker_id, one.sample, one.created_at) for one in added]
        returned = insert(SampleRow).returning(SampleRow.id, sort_by_parameter_order=True)
        ids = connection.execute(returned, values).scalars().all()
        known |= {one.sample.source_hash: number for one, number in zip(added, ids, strict=True)}
    numbers = tuple(known[one] for one in hashes)
    embeddings = [
        _write_embedding(number, one.consent_id, one.sample.embedding)
        for number, one in zip(numbers, entries, strict=True)
    ]
    connection.execute(insert(EmbeddingRow), embeddings)
    return numbers


def read_speakers(connection: Connection, ids: Iterable[int] | None = None) -> list[Speaker]:
    """Read speakers, by default all, sorted by name, without merged ones."""
    expiry = (
        select(func.min(ConsentRow.expires_at))
        .join(EmbeddingRow, EmbeddingRow.consent_id == ConsentRow.id)
        .join(SampleRow, EmbeddingRow.sample_id == SampleRow.id)
        .where(SampleRow.speaker_id == SpeakerRow.id)
        .scalar_subquery()
    )
    query = (
        select(
            SpeakerRow.id,
            SpeakerRow.name,
            SpeakerRow.created_at,
            func.count(SampleRow.id).label("n_samples"),
            func.count(SampleRow.source_hash.distinct()).label("n_clips"),
            func.coalesce(func.sum(SampleRow.seconds), 0.0).label("seconds"),
            expiry.label("expires_at"),
        )
        .outerjoin(SampleRow, SampleRow.speaker_id == SpeakerRow.id)
        .where(SpeakerRow.merged_into_id.is_(None), _is_one_of(SpeakerRow.id, ids))
        .group_by(SpeakerRow.id, SpeakerRow.name, SpeakerRow.created_at, SpeakerRow.name_key)
        .order_by(SpeakerRow.name_key)
    )
    return [_read_speaker(row) for row in connection.execute(query)]


def read_samples(
    connection: Connection, speaker_ids: Iterable[int], recipe: str | None = None, with_thumbnails: bool = True
) -> list[StoredSample]:
    """Read the samples of speakers in enrolment order, of one recipe or of all."""
    picture = SampleRow.thumbnail if with_thumbnails else literal(None).label("thumbnail")
    query: Select[Any] = (
        select(EmbeddingRow, ConsentRow, SampleRow.speaker_id, SampleRow.source_hash, SampleRow.source_name)
        .add_columns(SampleRow.session, SampleRow.face_px, SampleRow.created_at, picture)
        .join(SampleRow, EmbeddingRow.sample_id == SampleRow.id)
        .join(ConsentRow, EmbeddingRow.consent_id == ConsentRow.id)
        .where(_is_one_of(SampleRow.speaker_id, speaker_ids))
        .order_by(EmbeddingRow.id)
    )
    if recipe is not None:
        query = query.where(EmbeddingRow.recipe == recipe)
    return [_read_sample(row) for row in connection.execute(query)]


def move_samples(connection: Connection, sample_ids: Sequence[int], speaker_id: int) -> None:
    """Move samples to another speaker."""
    connection.execute(update(SampleRow).where(_is_one_of(SampleRow.id, sample_ids)).values(speaker_id=speaker_id))


def drop_unused_consents(connection: Connection) -> int:
    """Delete consents without embeddings; return their number."""
    used = select(EmbeddingRow.consent_id)
    return connection.execute(delete(ConsentRow).where(ConsentRow.id.not_in(used))).rowcount


def _matches(speaker: int | str) -> ColumnElement[bool]:
    return SpeakerRow.id == speaker if isinstance(speaker, int) else SpeakerRow.name_key == fold_name(speaker)


def _is_one_of(column: Any, ids: Iterable[int] | None) -> ColumnElement[bool]:
    return literal(True) if ids is None else column.in_(list(ids))


def _write_sample(speaker_id: int, sample: NewSample, created_at: datetime) -> dict[str, Any]:
    return {
        "speaker_id": speaker_id,
        "source_hash": sample.source_hash,
        "source_name": sample.source_name,
        "session": sample.session,
        "seconds": sample.embedding.seconds,
        "face_px": sample.face_px,
        "thumbnail": sample.thumbnail,
        "created_at": created_at,
    }


def _write_embedding(sample_id: int, consent_id: int, embedding: DynamicEmbedding) -> dict[str, Any]:
    return {
        "sample_id": sample_id,
        "consent_id": consent_id,
        "recipe": embedding.recipe,
        "dim": len(embedding.vector),
        "vector": embedding.vector,
        "seconds": embedding.seconds,
        "spread": embedding.spread,
        "n_windows": embedding.n_windows,
        "evidence": embedding.evidence,
    }


def _read_speaker(row: Any) -> Speaker:
    limited = is_limited(row.seconds, row.n_clips)
    return Speaker(row.id, row.name, row.n_samples, row.seconds, limited, row.created_at, row.expires_at)


def _read_sample(row: Any) -> StoredSample:
    embedding = DynamicEmbedding(
        vector=row.vector,
        seconds=row.seconds,
        spread=row.spread,
        recipe=row.recipe,
        n_windows=row.n_windows,
        evidence=row.evidence,
        is_natural=True,  # others are never enrolled
    )
    consent = Consent(
        Basis(row.basis),
        row.purpose,
        row.term_days,
        row.notice_version,
        row.collector,
        row.given_at,
        row.release_sha256,
    )
    return StoredSample(
        id=row.sample_id,
        speaker_id=row.speaker_id,
        source_hash=row.source_hash,
        source_name=row.source_name,
        session=row.session,
        embedding=embedding,
        consent=consent,
        created_at=row.created_at,
        face_px=row.face_px,
        thumbnail=row.thumbnail,
    )


def merge(connection: Connection, kept: str | int, absorbed: str | int) -> Speaker:
    """Move all samples of one speaker to another; return the kept speaker."""
    kept_id, absorbed_id = expect_speaker(connection, kept), expect_speaker(connection, absorbed)
    if kept_id == absorbed_id:
        raise GalleryError("Both names refer to the same speaker.", "Name two speakers to merge.")
    samples = list(connection.execute(select(SampleRow.id).where(SampleRow.speaker_id == absorbed_id)).scalars())
    values = {"kept_id": kept_id, "absorbed_id": absorbed_id, "samples": samples, "created_at": datetime.now(UTC)}
    connection.execute(insert(MergeRow).values(values))
    move_samples(connection, samples, kept_id)
    connection.execute(update(SpeakerRow).where(SpeakerRow.id == absorbed_id).values(merged_into_id=kept_id))
    return _finish(connection, Action.MERGE, kept_id, absorbed_id)


def unmerge(connection: Connection, absorbed: str | int) -> Speaker:
    """Revert a merge with the samples that still exist; return the restored speaker."""
    query = select(MergeRow.kept_id, MergeRow.absorbed_id, MergeRow.samples)
    found = connection.execute(
        query.join(SpeakerRow, MergeRow.absorbed_id == SpeakerRow.id).where(_matches(absorbed))
    ).one_or_none()
    if found is None:
        raise GalleryCode.UNKNOWN_SPEAKER(
            f"{absorbed!r} was not merged into another speaker.", "Name the absorbed speaker."
        )
    above = connection.execute(select(SpeakerRow.merged_into_id).where(SpeakerRow.id == found.kept_id)).scalar_one()
    if above is not None:
        raise GalleryError(
            "The speaker of this merge was itself merged into another one later.", "Undo that merge first."
        )
    samples = select(SampleRow.id).where(SampleRow.id.in_(found.samples), SampleRow.speaker_id == found.kept_id)
    move_samples(connection, list(connection.execute(samples).scalars()), found.absorbed_id)
    connection.execute(delete(MergeRow).where(MergeRow.absorbed_id == found.absorbed_id))
    connection.execute(update(SpeakerRow).where(SpeakerRow.id == found.absorbed_id).values(merged_into_id=None))
    return _finish(connection, Action.UNMERGE, found.absorbed_id, found.kept_id)


def reassign(connection: Connection, sample_id: int, to: str | int) -> Speaker:
    """Move a sample to another speaker; raises GalleryError for the only sample of a speaker."""
    speaker_id = expect_speaker(connection, to)
    owner = connection.execute(select(SampleRow.speaker_id).where(SampleRow.id == sample_id)).scalar_one_or_none()
    if owner is None:
        raise GalleryCode.UNKNOWN_SPEAKER(
            f"No sample has the number {sample_id}.", "List them: wayspeak gallery list NAME."
        )
    if owner == speaker_id:
        raise GalleryError(f"Sample {sample_id} already belongs to this speaker.", "Name another speaker.")
    others = select(SampleRow.id).where(SampleRow.speaker_id == owner, SampleRow.id != sample_id).limit(1)
    if connection.execute(others).one_or_none() is None:
        raise GalleryError(
            f"Sample {sample_id} is the only one of its speaker.", "Merge the two speakers, or forget one of them."
        )
    move_samples(connection, [sample_id], speaker_id)
    return _finish(connection, Action.REASSIGN, speaker_id, owner)


def rename(connection: Connection, speaker: str | int, name: str) -> Speaker:
    """Change a name; raises NAME_TAKEN."""
    speaker_id = expect_speaker(connection, speaker)
    refuse_taken(connection, name, except_id=speaker_id)
    values = {"name": clean_name(name), "name_key": fold_name(name)}
    connection.execute(update(SpeakerRow).where(SpeakerRow.id == speaker_id).values(values))
    audit.append(connection, Action.RENAME, audit.find_subject(connection, speaker_id))
    (renamed,) = read_speakers(connection, [speaker_id])
    return renamed


def _finish(connection: Connection, action: Action, speaker_id: int, other_id: int) -> Speaker:
    renew_templates(connection, [speaker_id, other_id])
    subject, other = audit.find_subject(connection, speaker_id), audit.find_subject(connection, other_id)
    audit.append(connection, action, subject, {"other": other})
    (speaker,) = read_speakers(connection, [speaker_id])
    return speaker
