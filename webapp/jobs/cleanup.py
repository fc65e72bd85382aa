"""Remove leftovers of lost workers and orphaned folders and rows, and erase speakers from job results.

Files of a job that waits, runs or is being submitted are never touched.
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
from webapp.jobs.leases import NO_LEASE
from webapp.jobs.records import JobState
from webapp.jobs.schema import JobRow, JobSpeakerRow
from webapp.jobs.store import JobStore

STRAY_S = 3600.0  # minimum age of a folder without a job: a new file is copied before its row exists
_OURS = re.compile(r"[0-9a-f]{32}(\.[a-z0-9]+)?")  # temporary file of a fetch

_log = logging.getLogger(__name__)
WAIT_S = 10.0  # wait for readers of the table


def sweep(store: JobStore, now: float | None = None) -> int:
    """Clean up once and return the number of removed folders and jobs; disk errors are logged and skipped."""
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
                clean_folder(path)
        except OSError as error:
            _log.warning("cleanup could not remove %s: %s", path, error)
    found = {path.name for path in there}
    return n_gone + sum(store.forget(job_id) for job_id, is_open in jobs.items() if not is_open and job_id not in found)


def clean_folder(folder: Path) -> None:
    """Remove what an interrupted attempt left; the input file, its origin and complete results stay."""
    for path in folder.glob("*"):
        if path.name.startswith(".") or _OURS.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def erase_from_jobs(store: JobStore, gone: Forgotten) -> int:
    """Erase speakers from job folders and table, also from unused pages, and return the number of removed files.

    It affects jobs that analysed an erased clip, found an erased speaker, or requested one by name.
    Jobs and uploaded clips stay: their owners delete them. A job that is querying the gallery may have found the
    speaker already, so it starts again.
    """
    with store.database.write() as connection:
        _restart_queries(connection)
        asked = _find_requested(connection, gone)
        ids = {*_find_affected(connection, gone), *asked}
        connection.execute(update(JobRow).where(JobRow.id.in_(asked)).values(speaker=None))
        texts = {"error_message": folders.FORGOTTEN.message, "error_hint": folders.FORGOTTEN.hint}
        connection.execute(update(JobRow).where(JobRow.id.in_(asked), JobRow.error_code.is_not(None)).values(texts))
    n_files = sum(folders.erase_speakers(store.folder(one)) for one in sorted(ids))
    erase(store.database.database, [name.encode() for name in gone.names], WAIT_S)
    return n_files


def _restart_queries(connection: Connection) -> None:
    """Put running jobs with speaker queries back into the queue; results of their workers no longer count."""
    asking = (JobRow.state == str(JobState.RUNNING), JobRow.reason.is_not(None) | JobRow.speaker.is_not(None))
    again = {"state": JobState.QUEUED, "tries": JobRow.tries - 1, "step": "", "share": 0.0, **NO_LEASE}
    connection.execute(update(JobRow).where(*asking).values(again))


def _find_affected(connection: Connection, gone: Forgotten) -> set[str]:
    """Return the jobs on erased clips and those with an erased speaker in their results."""
    named = select(JobSpeakerRow.job_number).where(JobSpeakerRow.speaker_id.in_(gone.speaker_ids))
    query = select(JobRow.id).where(JobRow.sha256.in_(gone.source_hashes) | JobRow.number.in_(named))
    return set(connection.execute(query).scalars())


def _find_requested(connection: Connection, gone: Forgotten) -> set[str]:
    """Return the jobs that request one of these names."""
    rows = connection.execute(select(JobRow.id, JobRow.speaker).where(JobRow.speaker.is_not(None))).all()
    return {row.id for row in rows if _fold(row.speaker) in gone.names}


def _fold(name: str) -> str:
    try:
        return fold_name(name)
    except EngineError:  # not a valid name
        return name
