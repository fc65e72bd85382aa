"""Clears away what nobody needs: what a lost worker left half done, folders without a job, jobs without a folder.

A job that waits or runs is never touched, nor is a file that is being handed in.

Forgetting somebody in what jobs found: answers that name them, and how they look and move in clips of theirs.
"""

import logging
import re
import shutil
import time
from pathlib import Path

from sqlalchemy import Connection, select, update

from engine.errors import EngineError
from gallery_db.erasure import Forgotten, erase
from gallery_db.speakers import fold_name
from webapp.jobs import files as folders
from webapp.jobs.leases import NOBODY
from webapp.jobs.records import JobState
from webapp.jobs.schema import JobRow, JobSpeakerRow
from webapp.jobs.store import JobStore

STRAY_S = 3600.0  # how old a folder without a job must be: the file of a new one is copied before it is in the table
_OURS = re.compile(r"[0-9a-f]{32}(\.[a-z0-9]+)?")  # what a fetch leaves before it is taken over

_log = logging.getLogger(__name__)


def sweep(store: JobStore, now: float | None = None) -> int:
    """Go round once; gives how many folders and jobs went. Errors of the disk are logged, and the round goes on."""
    now = time.time() if now is None else now
    jobs = store.find_open()
    there = [path for path in store.root.glob("*") if path.is_dir()]
    n_gone = 0
    for path in there:
        try:
            if path.name not in jobs and now - path.stat().st_mtime > STRAY_S:
                shutil.rmtree(path)
                n_gone += 1
            elif not jobs.get(path.name, True):
                clear_up(path)
        except OSError as error:
            _log.warning("the janitor could not clear %s: %s", path, error)
    found = {path.name for path in there}
    return n_gone + sum(store.forget(job_id) for job_id, is_open in jobs.items() if not is_open and job_id not in found)


def clear_up(folder: Path) -> None:
    """Remove what an earlier try left half done; the file, where it is from and whole results stay."""
    for path in folder.glob("*"):
        if path.name.startswith(".") or _OURS.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


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
