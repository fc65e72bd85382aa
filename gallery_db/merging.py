"""Who is who: two speakers made one and parted again, a clip given to whose it is, a name corrected.

A merge moves samples and nothing else. The speaker who was absorbed keeps a row, unseen, so that undoing it gives back
exactly what was there, their id and name included.
"""

from datetime import UTC, datetime

from sqlalchemy import Connection, delete, insert, select, update

from gallery_db import audit
from gallery_db.audit import Action
from gallery_db.errors import GalleryCode, GalleryError
from gallery_db.people import clean_name, expect_speaker, fold_name, move_samples, read_speakers, refuse_taken
from gallery_db.records import Speaker
from gallery_db.schema import MergeRow, SampleRow, SpeakerRow
from gallery_db.templates import renew_templates


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
