"""Clears away what nobody needs: what a lost worker left half done, folders without a job, jobs without a folder.

A job that waits or runs is never touched, nor is a file that is being handed in.
"""

import logging
import re
import shutil
import time
from pathlib import Path

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
