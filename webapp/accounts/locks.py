"""The lock on logins: five bad ones under a name, or thirty from an address, and the door stays shut for five minutes.

A name that nobody bears is locked in the same way, so a lock tells nothing of who there is.
"""

import hashlib
import math
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select

from webapp.accounts.errors import LoginLocked
from webapp.accounts.schema import LoginFailureRow

WINDOW = timedelta(minutes=5)
MAX_BY_NAME = 5
MAX_BY_ADDRESS = 30


def admit_login(connection: Connection, name: str, address: str, now: datetime) -> None:
    """Count an attempt as failed until it succeeds; LoginLocked, and nothing is counted, where there were too many."""
    connection.execute(delete(LoginFailureRow).where(LoginFailureRow.at <= now - WINDOW))
    limits = {_subject("name", name): MAX_BY_NAME, _subject("address", address): MAX_BY_ADDRESS}
    for subject, limit in limits.items():
        query = select(func.count(), func.min(LoginFailureRow.at)).where(LoginFailureRow.subject == subject)
        count, first = connection.execute(query).one()
        if count >= limit:
            wait = max(1, math.ceil((first + WINDOW - now).total_seconds()))
            raise LoginLocked("Too many logins have failed.", f"Try again in {wait} seconds.", wait)
    for subject in limits:
        connection.execute(insert(LoginFailureRow).values(subject=subject, at=now))


def clear_failures(connection: Connection, name: str, address: str) -> None:
    """Forget the failures under a name that somebody has come in with, and the one that this login was counted as."""
    connection.execute(delete(LoginFailureRow).where(LoginFailureRow.subject == _subject("name", name)))
    own = select(func.max(LoginFailureRow.id)).where(LoginFailureRow.subject == _subject("address", address))
    connection.execute(delete(LoginFailureRow).where(LoginFailureRow.id == own.scalar_subquery()))


def _subject(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}:{text}".encode("utf-8", "surrogateescape")).hexdigest()
