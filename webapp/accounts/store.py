"""Accounts, their sessions and API keys; a secret is shown once and stored as a hash.

Five failed logins under a name, or thirty from an address, lock it for five minutes. An unknown name is locked in the
same way, so that a lock does not reveal which accounts exist.
"""

import hashlib
import math
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Self

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from engine.settings import Settings
from webapp.accounts.records import LOCAL, Account, LoginLocked, Role, User
from webapp.accounts.schema import AccountRow, KeyRow, LoginFailureRow, SessionRow
from webapp.database import AppDatabase
from webapp.errors import WebCode

WINDOW = timedelta(minutes=5)
MAX_BY_NAME = 5
MAX_BY_ADDRESS = 30
SESSION = timedelta(hours=12)
IDLE = timedelta(hours=2)
SEEN_EVERY = timedelta(minutes=1)  # how often the last use of a session is recorded at most
MIN_PASSWORD, MAX_PASSWORD = 12, 256
NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
KEY_PREFIX = "wsk_"
_HASHER = PasswordHasher()  # argon2id with the library's parameters: RFC 9106, low memory


def admit_login(connection: Connection, name: str, address: str, now: datetime) -> None:
    """Count an attempt as failed until it succeeds; raise LoginLocked, and count nothing, after too many."""
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
    """Delete the failures under a name after a successful login, and the attempt counted for that login."""
    connection.execute(delete(LoginFailureRow).where(LoginFailureRow.subject == _subject("name", name)))
    own = select(func.max(LoginFailureRow.id)).where(LoginFailureRow.subject == _subject("address", address))
    connection.execute(delete(LoginFailureRow).where(LoginFailureRow.id == own.scalar_subquery()))


def _subject(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}:{text}".encode("utf-8", "surrogateescape")).hexdigest()


def _now() -> datetime:
    return datetime.now(UTC)


class AccountStore:
    """All accounts; threads may share one store, other processes may open the same tables."""

    def __init__(self, database: AppDatabase, clock: Callable[[], datetime] = _now):
        self.database, self._clock = database, clock

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the app's database; raise APP_DATABASE_ERROR or FolderUnwritable if it cannot be opened."""
        return cls(AppDatabase.open(settings))

    def close(self) -> None:
        """Close the database connections."""
        self.database.close()

    # users

    def accounts(self) -> list[Account]:
        """Return all accounts by name."""
        keys = select(func.count()).where(KeyRow.account_id == AccountRow.id).scalar_subquery()
        query = select(AccountRow.__table__, keys.label("n_keys")).order_by(AccountRow.name)
        with self.database.read() as connection:
            return [
                Account(row.name, Role(row.role), row.is_disabled, row.created_at, row.n_keys)
                for row in connection.execute(query)
            ]

    def add(self, name: str, password: str, role: Role) -> None:
        """Create an account; raise BAD_ACCOUNT for an invalid or taken name or a weak password."""
        name = _clean_name(name)
        digest = _hash_password(password, name)
        with self.database.write() as connection:
            if _find(connection, name) is not None:
                raise WebCode.BAD_ACCOUNT(
                    f"There is an account {name} already.", "Choose another name, or change that one."
                )
            values = {"name": name, "role": str(role), "password_hash": digest, "is_disabled": False}
            connection.execute(insert(AccountRow).values(**values, created_at=self._clock()))

    def set_password(self, name: str, password: str) -> None:
        """Change a password and end all sessions of the user."""
        digest = _hash_password(password, _clean_name(name))
        self._change(name, {"password_hash": digest})

    def set_role(self, name: str, role: Role) -> None:
        """Change the role of a user."""
        self._change(name, {"role": str(role)})

    def disable(self, name: str, is_disabled: bool = True) -> None:
        """Disable or enable an account; disabling ends its sessions and makes its keys invalid."""
        self._change(name, {"is_disabled": is_disabled})

    # logins

    def log_in(self, name: str, password: str, address: str) -> str:
        """Return a new session token; raise BAD_LOGIN, or LoginLocked after too many failures."""
        name = name.strip().lower()[:64]
        with self.database.write() as connection:  # counted first, so that concurrent attempts are counted too
            admit_login(connection, name, address, self._clock())
        with self.database.read() as connection:
            row = _find(connection, name)
        known = _hash_for_unknown() if row is None or row.is_disabled else row.password_hash
        if not _verify(known, password) or row is None or row.is_disabled:
            raise WebCode.BAD_LOGIN("Name and password do not match.", "Try again; an administrator can set a new one.")
        token, now = secrets.token_urlsafe(32), self._clock()
        with self.database.write() as connection:
            clear_failures(connection, name, address)
            connection.execute(delete(SessionRow).where(SessionRow.expires_at <= now))
            values = {"token_hash": _hash(token), "account_id": row.id, "seen_at": now, "expires_at": now + SESSION}
            connection.execute(insert(SessionRow).values(values))
        return token

    def log_out(self, token: str) -> None:
        """End a session."""
        with self.database.write() as connection:
            connection.execute(delete(SessionRow).where(SessionRow.token_hash == _hash(token)))

    def find_user(self, token: str) -> User | None:
        """Return the user of a session; None for an unknown or ended one."""
        now, digest = self._clock(), _hash(token)
        query = (
            select(AccountRow.name, AccountRow.role, SessionRow.seen_at)
            .join(SessionRow, SessionRow.account_id == AccountRow.id)
            .where(SessionRow.token_hash == digest, SessionRow.expires_at > now, SessionRow.seen_at > now - IDLE)
            .where(AccountRow.is_disabled.is_(False))
        )
        with self.database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        if now - row.seen_at > SEEN_EVERY:
            with self.database.write() as connection:
                connection.execute(update(SessionRow).where(SessionRow.token_hash == digest).values(seen_at=now))
        return User(row.name, Role(row.role))

    # API keys

    def add_key(self, name: str) -> str:
        """Create a key and return it; it cannot be read again."""
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        with self.database.write() as connection:
            account = _expect(connection, name)
            values = {"account_id": account.id, "key_hash": _hash(key), "created_at": self._clock()}
            connection.execute(insert(KeyRow).values(values))
        return key

    def delete_keys(self, name: str) -> int:
        """Delete all keys of a user and return their number."""
        with self.database.write() as connection:
            account = _expect(connection, name)
            return connection.execute(delete(KeyRow).where(KeyRow.account_id == account.id)).rowcount

    def find_key_owner(self, key: str) -> User | None:
        """Return the user of a key; None for an unknown one."""
        query = (
            select(AccountRow.name, AccountRow.role)
            .join(KeyRow, KeyRow.account_id == AccountRow.id)
            .where(KeyRow.key_hash == _hash(key), AccountRow.is_disabled.is_(False))
        )
        with self.database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else User(row.name, Role(row.role))

    def _change(self, name: str, values: dict[str, Any]) -> None:
        with self.database.write() as connection:
            account = _expect(connection, name)
            connection.execute(update(AccountRow).where(AccountRow.id == account.id).values(values))
            connection.execute(delete(SessionRow).where(SessionRow.account_id == account.id))


def _find(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(AccountRow.__table__).where(AccountRow.name == name)).first()


def _expect(connection: Connection, name: str) -> Row[Any]:
    found = _find(connection, name.strip().lower())
    if found is None:
        raise WebCode.BAD_ACCOUNT(f"There is no account {name!r}.", "See `wayspeak users list`.")
    return found


def _clean_name(name: str) -> str:
    cleaned = name.strip().lower()
    if not NAME.fullmatch(cleaned) or cleaned == LOCAL.name:
        raise WebCode.BAD_ACCOUNT(
            f"{name[:80]!r} is not a valid account name.",
            "Write 1 to 64 of a-z, 0-9 and . _ @ -, beginning with a letter or a digit; not `local`.",
        )
    return cleaned


def _hash_password(password: str, name: str) -> str:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise WebCode.BAD_ACCOUNT(
            f"The password has {len(password)} characters, wanted {MIN_PASSWORD} to {MAX_PASSWORD}.",
            "Take a sentence, or let a password manager make one.",
        )
    if name in password.lower() or len(set(password)) < 5:
        raise WebCode.BAD_ACCOUNT(
            "The password contains the name, or too few different characters.", "Take a sentence."
        )
    return _HASHER.hash(password)


@cache
def _hash_for_unknown() -> str:
    """Hash for unknown names, so that they take as long as a wrong password."""
    return _HASHER.hash(secrets.token_urlsafe())


def _verify(digest: str, password: str) -> bool:
    try:
        return _HASHER.verify(digest, password[:MAX_PASSWORD])
    except (Argon2Error, InvalidHashError):
        return False


def _hash(token: str) -> str:
    """Return the SHA-256; tokens are random, so an unsalted hash cannot be inverted."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
