"""Forgetting somebody in what jobs found: answers that name them, and how they look and move in clips of theirs."""

from sqlalchemy import Connection, select, update

from engine.errors import EngineError
from gallery_db.erasure import Forgotten, erase
from gallery_db.speakers import fold_name
from webapp.jobs import folders
from webapp.jobs.leases import NOBODY
from webapp.jobs.records import JobState
from webapp.jobs.schema import JobRow, JobSpeakerRow
from webapp.jobs.store import JobStore

WAIT_S = 10.0  # for readers of the table to leave


def forget_people(store: JobStore, gone: Forgotten) -> int:
    """Erase them from the folders and from the table, to the last byte; gives how many files went.

    Jobs are touched that examined a clip which is nobody's now, that named them, or that were asked about them by name.
    The clips that people handed in stay, as the jobs do: they are theirs to delete. A job that is asking the gallery
    at this moment may have found them already, so it begins again.
    """
    with store.database.write() as connection:
        _begin_again(connection)
        asked = _find_asked(connection, gone)
        ids = {*_find_answered(connection, gone), *asked}
        connection.execute(update(JobRow).where(JobRow.id.in_(asked)).values(speaker=None))
        told = {"error_message": folders.FORGOTTEN.message, "error_hint": folders.FORGOTTEN.hint}
        connection.execute(update(JobRow).where(JobRow.id.in_(asked), JobRow.error_code.is_not(None)).values(told))
    n_files = sum(folders.erase_people(store.folder(one)) for one in sorted(ids))
    erase(store.database.database, [name.encode() for name in gone.names], WAIT_S)
    return n_files


def _begin_again(connection: Connection) -> None:
    """Take running jobs that ask about speakers from their workers; what these have found does not count any more."""
    asking = (JobRow.state == str(JobState.RUNNING), JobRow.reason.is_not(None) | JobRow.speaker.is_not(None))
    again = {"state": JobState.QUEUED, "tries": JobRow.tries - 1, "step": "", "share": 0.0, **NOBODY}
    connection.execute(update(JobRow).where(*asking).values(again))


def _find_answered(connection: Connection, gone: Forgotten) -> set[str]:
    """Jobs on clips that are nobody's now, and jobs whose answers name somebody of those who go."""
    named = select(JobSpeakerRow.job_number).where(JobSpeakerRow.speaker_id.in_(gone.speaker_ids))
    query = select(JobRow.id).where(JobRow.sha256.in_(gone.source_hashes) | JobRow.number.in_(named))
    return set(connection.execute(query).scalars())


def _find_asked(connection: Connection, gone: Forgotten) -> set[str]:
    """Jobs that ask for one of these names."""
    rows = connection.execute(select(JobRow.id, JobRow.speaker).where(JobRow.speaker.is_not(None))).all()
    return {row.id for row in rows if _fold(row.speaker) in gone.names}


def _fold(name: str) -> str:
    try:
        return fold_name(name)
    except EngineError:  # nothing that could be a name
        return name
