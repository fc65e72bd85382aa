"""Speakers, their samples and consents, as rows are read and written within somebody else's transaction.

Who is who: two speakers made one and parted again, a clip given to whose it is, a name corrected.

A merge moves samples and nothing else. The speaker who was absorbed keeps a row, unseen, so that undoing it gives back
exactly what was there, their id and name included.
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
from gallery_db.enrolment_checks import MIN_CLIPS, MIN_SECONDS
from gallery_db.errors import GalleryCode, GalleryError
from gallery_db.records import Basis, Consent, NewSample, Speaker, StoredSample
from gallery_db.schema import ConsentRow, EmbeddingRow, MergeRow, SampleRow, SpeakerRow
from gallery_db.templates import renew_templates

MAX_NAME = 200
LIST = "List them: wayspeak gallery list."


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A sample about to be written."""

    sample: NewSample
    consent_id: int
    created_at: datetime


def clean_name(name: str) -> str:
    """Give a name without spaces around or doubled; NAME_TAKEN where it cannot be one."""
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    if not 0 < len(cleaned) <= MAX_NAME or not cleaned.isprintable():
        raise GalleryCode.NAME_TAKEN(
            f"{name[:50]!r} cannot be a name.", f"Write 1 to {MAX_NAME} characters that can be printed, on one line."
        )
    return cleaned


def fold_name(name: str) -> str:
    """One speaker under one name, however it is spelled or capitalised."""
    return unicodedata.normalize("NFKC", clean_name(name)).casefold()


def is_too_little(seconds: float, n_clips: int) -> bool:
    """Whether there is less of a speaker than is asked for."""
    return seconds < MIN_SECONDS or n_clips < MIN_CLIPS


def find_speaker(connection: Connection, who: int | str) -> int | None:
    """Give the id of a speaker by id or name; None where there is none. One merged into another is not there."""
    wanted = SpeakerRow.id == who if isinstance(who, int) else SpeakerRow.name_key == fold_name(who)
    query = select(SpeakerRow.id).where(wanted, SpeakerRow.merged_into_id.is_(None))
    return connection.execute(query).scalar_one_or_none()


def expect_speaker(connection: Connection, who: int | str) -> int:
    """Give the id of a speaker who must be there."""
    found = find_speaker(connection, who)
    if found is None:
        raise GalleryCode.UNKNOWN_SPEAKER(
            f"Nobody enrolled is {who!r}." if isinstance(who, str) else f"No speaker has the id {who}.", LIST
        )
    return found


def add_speaker(connection: Connection, name: str, created_at: datetime | None = None) -> int:
    """Write a new speaker; NAME_TAKEN where somebody bears the name, also under another spelling."""
    name = clean_name(name)
    refuse_taken(connection, name)
    values = {
        "name": name,
        "name_key": fold_name(name),
        "salt": secrets.token_bytes(16),
        "created_at": created_at or datetime.now(UTC),
    }
    return connection.execute(insert(SpeakerRow).values(values).returning(SpeakerRow.id)).scalar_one()


def refuse_taken(connection: Connection, name: str, but: int | None = None) -> None:
    """NAME_TAKEN where somebody else bears the name, or did until they were merged into another."""
    row = connection.execute(
        select(SpeakerRow.id, SpeakerRow.name, SpeakerRow.merged_into_id).where(SpeakerRow.name_key == fold_name(name))
    ).one_or_none()
    if row is not None and row.id != but:
        raise GalleryCode.NAME_TAKEN(
            f"Somebody is enrolled as {row.name}" + (", and was merged into another." if row.merged_into_id else "."),
            "Choose another name" + (", or undo the merge." if row.merged_into_id else "."),
        )


def suggest_name(connection: Connection, name: str) -> str:
    """Give the name, or `NAME (2)`, `NAME (3)` ... where that is nobody's yet."""
    taken = set(connection.execute(select(SpeakerRow.name_key)).scalars())
    names = (f"{name} ({number})" if number > 1 else name for number in count(1))
    return next(one for one in names if fold_name(one) not in taken)


def add_consent(connection: Connection, consent: Consent) -> int:
    """Write a consent."""
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
    """Write samples, and give their ids.

    A clip that is there already in another recipe gets one more embedding instead of a second sample.
    """
    hashes = [one.sample.source_hash for one in entries]
    query = select(SampleRow.source_hash, SampleRow.id).where(SampleRow.speaker_id == speaker_id)
    there = connection.execute(query.where(SampleRow.source_hash.in_(hashes)))
    known = {row.source_hash: row.id for row in there}
    added = [one for one in entries if one.sample.source_hash not in known]
    if added:
        rows = [_write_sample(speaker_id, one.sample, one.created_at) for one in added]
        returned = insert(SampleRow).returning(SampleRow.id, sort_by_parameter_order=True)
        ids = connection.execute(returned, rows).scalars().all()
        known |= {one.sample.source_hash: number for one, number in zip(added, ids, strict=True)}
    numbers = tuple(known[one] for one in hashes)
    embeddings = [
        _write_embedding(number, one.consent_id, one.sample.embedding)
        for number, one in zip(numbers, entries, strict=True)
    ]
    connection.execute(insert(EmbeddingRow), embeddings)
    return numbers


def read_speakers(connection: Connection, ids: Iterable[int] | None = None) -> list[Speaker]:
    """Read speakers by name, those merged into others left out; all by default."""
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
    """Read the samples of speakers, in the order they were enrolled; of one recipe, or of all."""
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
    """Give samples to another speaker."""
    connection.execute(update(SampleRow).where(_is_one_of(SampleRow.id, sample_ids)).values(speaker_id=speaker_id))


def drop_unused_consents(connection: Connection) -> int:
    """Delete the consents that nothing is kept on any more."""
    used = select(EmbeddingRow.consent_id)
    return connection.execute(delete(ConsentRow).where(ConsentRow.id.not_in(used))).rowcount


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
    is_limited = is_too_little(row.seconds, row.n_clips)
    return Speaker(row.id, row.name, row.n_samples, row.seconds, is_limited, row.created_at, row.expires_at)


def _read_sample(row: Any) -> StoredSample:
    embedding = DynamicEmbedding(
        vector=row.vector,
        seconds=row.seconds,
        spread=row.spread,
        recipe=row.recipe,
        n_windows=row.n_windows,
        evidence=row.evidence,
        is_natural=True,  # no other is enrolled
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
    """Give all samples of one speaker to another."""
    kept_id, absorbed_id = expect_speaker(connection, kept), expect_speaker(connection, absorbed)
    if kept_id == absorbed_id:
        raise GalleryError("Both names are of the same speaker.", "Name two speakers to merge.")
    samples = list(connection.execute(select(SampleRow.id).where(SampleRow.speaker_id == absorbed_id)).scalars())
    values = {"kept_id": kept_id, "absorbed_id": absorbed_id, "samples": samples, "created_at": datetime.now(UTC)}
    connection.execute(insert(MergeRow).values(values))
    move_samples(connection, samples, kept_id)
    connection.execute(update(SpeakerRow).where(SpeakerRow.id == absorbed_id).values(merged_into_id=kept_id))
    return _finish(connection, Action.MERGE, kept_id, absorbed_id)


def unmerge(connection: Connection, absorbed: str | int) -> Speaker:
    """Take a speaker out of the one they were merged into, with those samples they brought that are still there."""
    wanted = SpeakerRow.id == absorbed if isinstance(absorbed, int) else SpeakerRow.name_key == fold_name(absorbed)
    query = select(MergeRow.kept_id, MergeRow.absorbed_id, MergeRow.samples)
    found = connection.execute(
        query.join(SpeakerRow, MergeRow.absorbed_id == SpeakerRow.id).where(wanted)
    ).one_or_none()
    if found is None:
        raise GalleryCode.UNKNOWN_SPEAKER(
            f"{absorbed!r} was not merged into anybody.", "Name the speaker who was absorbed."
        )
    above = connection.execute(select(SpeakerRow.merged_into_id).where(SpeakerRow.id == found.kept_id)).scalar_one()
    if above is not None:
        raise GalleryError("The speaker they were merged into was merged into another since.", "Undo that merge first.")
    there = select(SampleRow.id).where(SampleRow.id.in_(found.samples), SampleRow.speaker_id == found.kept_id)
    move_samples(connection, list(connection.execute(there).scalars()), found.absorbed_id)
    connection.execute(delete(MergeRow).where(MergeRow.absorbed_id == found.absorbed_id))
    connection.execute(update(SpeakerRow).where(SpeakerRow.id == found.absorbed_id).values(merged_into_id=None))
    return _finish(connection, Action.UNMERGE, found.absorbed_id, found.kept_id)


def reassign(connection: Connection, sample_id: int, to: str | int) -> Speaker:
    """Give a sample to another speaker; the last one of a speaker stays, as nobody is enrolled with nothing."""
    speaker_id = expect_speaker(connection, to)
    owner = connection.execute(select(SampleRow.speaker_id).where(SampleRow.id == sample_id)).scalar_one_or_none()
    if owner is None:
        raise GalleryCode.UNKNOWN_SPEAKER(
            f"No sample has the number {sample_id}.", "List them: wayspeak gallery list NAME."
        )
    if owner == speaker_id:
        raise GalleryError(f"Sample {sample_id} is that speaker's already.", "Name another speaker.")
    others = select(SampleRow.id).where(SampleRow.speaker_id == owner, SampleRow.id != sample_id).limit(1)
    if connection.execute(others).one_or_none() is None:
        raise GalleryError(
            f"Sample {sample_id} is all there is of its speaker.", "Merge the two speakers, or forget the one."
        )
    move_samples(connection, [sample_id], speaker_id)
    return _finish(connection, Action.REASSIGN, speaker_id, owner)


def rename(connection: Connection, who: str | int, name: str) -> Speaker:
    """Change a name."""
    speaker_id = expect_speaker(connection, who)
    refuse_taken(connection, name, but=speaker_id)
    values = {"name": clean_name(name), "name_key": fold_name(name)}
    connection.execute(update(SpeakerRow).where(SpeakerRow.id == speaker_id).values(values))
    audit.append(connection, Action.RENAME, audit.find_subject(connection, speaker_id))
    (speaker,) = read_speakers(connection, [speaker_id])
    return speaker


def _finish(connection: Connection, action: Action, speaker_id: int, other_id: int) -> Speaker:
    renew_templates(connection, [speaker_id, other_id])
    subject, other = audit.find_subject(connection, speaker_id), audit.find_subject(connection, other_id)
    audit.append(connection, action, subject, {"other": other})
    (speaker,) = read_speakers(connection, [speaker_id])
    return speaker
