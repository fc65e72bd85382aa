"""Choose the next job and recover jobs of lost workers, within the caller's transaction."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select, update

from webapp.analysis.records import JobError
from webapp.errors import WebCode
from webapp.jobs.records import JobState
from webapp.jobs.schema import JobRow, write_error

LEASE = timedelta(seconds=30)
MAX_TRIES = 2  # a job that lost this many workers is set aside
NO_LEASE: dict[str, Any] = {"worker": None, "leased_until": None, "left_s": None}
LOST = JobError.of(
    WebCode.WORKER_LOST(
        f"The program ended {MAX_TRIES} times while it had this file, so it is not tried again.",
        "Other jobs go on. The file may need too much memory, or may be malicious: do not open it elsewhere "
        "without inspecting it.",
    )
)


def is_something_due(connection: Connection, now: datetime) -> bool:
    """Return whether a job waits or has lost its worker."""
    query = select(JobRow.number).where(or_(JobRow.state == str(JobState.QUEUED), _is_lost(now))).limit(1)
    return connection.execute(query).first() is not None


def requeue_lost(connection: Connection, now: datetime) -> None:
    """Requeue the jobs of lost workers at their old place; set aside those without attempts left."""
    ended = {"state": JobState.SET_ASIDE, "finished_at": now, **write_error(LOST), **NO_LEASE}
    connection.execute(update(JobRow).where(_is_lost(now), JobRow.tries >= MAX_TRIES).values(ended))
    again = {"state": JobState.QUEUED, "step": "", "share": 0.0, **NO_LEASE}
    connection.execute(update(JobRow).where(_is_lost(now)).values(again))


def choose_next(connection: Connection, max_running: int) -> Row[Any] | None:
    """Choose fairly among owners: the first waiting job of the one with the fewest running jobs.

    Ties go to the owner with the longest time since the last start.
    """
    firsts = dict(
        connection.execute(
            select(JobRow.owner, func.min(JobRow.number))
            .where(JobRow.state == str(JobState.QUEUED))
            .group_by(JobRow.owner)
        ).all()
    )
    running = dict(
        connection.execute(
            select(JobRow.owner, func.count()).where(JobRow.state == str(JobState.RUNNING)).group_by(JobRow.owner)
        ).all()
    )
    turns = dict(
        connection.execute(
            select(JobRow.owner, func.max(JobRow.started_at)).where(JobRow.owner.in_(firsts)).group_by(JobRow.owner)
        ).all()
    )
    free = [owner for owner in firsts if running.get(owner, 0) < max_running]
    if not free:
        return None

    def rank(owner: str) -> tuple[int, float, int]:
        turn = turns.get(owner)
        return running.get(owner, 0), turn.timestamp() if turn else 0.0, firsts[owner]

    number = firsts[min(free, key=rank)]
    return connection.execute(select(JobRow.__table__).where(JobRow.number == number)).one()


def _is_lost(now: datetime) -> Any:
    return (JobRow.state == str(JobState.RUNNING)) & (JobRow.leased_until < now)
