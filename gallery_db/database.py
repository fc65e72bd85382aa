"""Connections and transactions of the gallery: SQLite in the data folder, or PostgreSQL by URL.

Writers are serialised: by a folder lock and `BEGIN IMMEDIATE` in SQLite, by an advisory lock in PostgreSQL. So data
read by a writer stay valid until it commits, and generations increase one by one.
"""

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from engine.errors import FolderUnwritable
from gallery_db.errors import GalleryBusy, GalleryCode, GalleryDamaged, GalleryError
from gallery_db.migrations import bring_up_to_date, read_version
from gallery_db.schema import VERSION

try:
    import fcntl
except ImportError:  # Windows: only SQLite's busy timeout
    fcntl = None  # type: ignore[assignment]

FOLDER, FILE = "gallery", "gallery.db"
BUSY_MS = 60_000  # eight writers on two busy cores have waited for more than ten seconds
LONGEST_STREAK = 8  # consecutive writes of one process before it pauses for others
MOMENT_S = 0.006  # longer than the longest polling interval of a waiting writer
LOCK = 0x57415953  # key of PostgreSQL's advisory lock: arbitrary, but fixed
MOUNTS = Path("/proc/self/mounts")
NETWORK = {"nfs", "nfs4", "cifs", "smbfs", "smb3", "fuse.sshfs", "afs", "ncpfs", "ceph", "fuse.glusterfs", "lustre"}
PRAGMAS = {
    f"busy_timeout={BUSY_MS}": BUSY_MS,  # first: the switch to WAL may have to wait for others
    "journal_mode=wal": "wal",
    "synchronous=full": 2,
    "foreign_keys=on": 1,  # off by default in SQLite, which would then accept orphans
    "secure_delete=on": 1,  # deleted data are overwritten
    "temp_store=memory": 2,  # no copy of a face or a vector in a temporary folder
}


class Database:
    """Open database of the newest schema."""

    def __init__(self, engine: Engine, path: Path | None = None):
        self.engine = engine
        self.path = path  # None: not SQLite
        self._lock = WriterLock(path) if path is not None else None
        self._writer = engine.execution_options(wayspeak_writes=True)
        snapshot = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}  # SQLite always reads a snapshot
        self._reader = engine.execution_options(**snapshot)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a SQLite file."""
        return self.engine.dialect.name == "sqlite"

    @property
    def name(self) -> str:
        """URL without the password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a read transaction on one snapshot."""
        with translate_errors(self.name), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, keep: bool = True) -> Iterator[Connection]:
        """Open the only write transaction; commit at the end, roll back on an error.

        Without `keep` it is always rolled back: reads within the block see the result of the change.
        """
        with (
            self._lock.hold() if self._lock is not None else nullcontext(),
            translate_errors(self.name),
            self._writer.connect() as connection,
            connection.begin() as transaction,
        ):
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            yield connection
            if not keep:
                transaction.rollback()

    @contextmanager
    def outside_transactions(self) -> Iterator[Connection]:
        """Open a connection in autocommit mode, for VACUUM and pragmas."""
        with (
            translate_errors(self.name),
            self.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection,
        ):
            yield connection

    def files(self) -> list[Path]:
        """List the files of the SQLite database, its log included."""
        if self.path is None:
            return []
        return [file for file in sorted(self.path.parent.glob(f"{self.path.name}*")) if file.is_file()]

    def measure_bytes(self, connection: Connection) -> int:
        """Return the size on disk in bytes."""
        if self.is_sqlite:
            return sum(file.stat().st_size for file in self.files())
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())

    def find_damage(self) -> list[str]:
        """Return the findings of `integrity_check` and `foreign_key_check`."""
        if not self.is_sqlite:
            return []
        with self.outside_transactions() as connection:
            rows = [str(row[0]) for row in connection.execute(text("PRAGMA integrity_check"))]
            orphans = connection.execute(text("PRAGMA foreign_key_check")).fetchall()
        return [row for row in rows if row != "ok"] + [f"a row of {row[0]} has no parent row" for row in orphans]

    def close(self) -> None:
        """Close all connections; the last one of a SQLite file empties its log."""
        self.engine.dispose()


def open_database(where: Path | str) -> Database:
    """Open the file or URL and migrate its schema.

    Raises GALLERY_UNREACHABLE, FolderUnwritable, GalleryDamaged, GalleryNewer or GalleryBusy.
    """
    return migrate(connect(where), VERSION, bring_up_to_date)


def connect(where: Path | str) -> Database:
    """Open the file or URL without reading or migrating its schema."""
    url, path = _locate(where)
    if path is not None:
        _prepare_file(path)
    engine = create_engine(url, pool_pre_ping=path is None, pool_timeout=BUSY_MS / 1000)
    if path is not None:
        event.listen(engine, "connect", set_up_sqlite)
        event.listen(engine, "begin", _begin)
    return Database(engine, path)


def migrate(database: Database, version: str, upgrade: Callable[[Connection], None]) -> Database:
    """Call `upgrade` unless the schema is of this version; closes the database on an error."""
    try:
        with database.read() as connection:
            is_current = read_version(connection) == version
        if not is_current:
            with database.write() as connection:
                upgrade(connection)
    except BaseException:
        database.close()
        raise
    return database


def _locate(where: Path | str) -> tuple[URL, Path | None]:
    """Parse a path or URL; PostgreSQL always uses psycopg 3."""
    if isinstance(where, Path) or "://" not in where:
        path = Path(where).absolute()
        return URL.create("sqlite", database=str(path)), path
    try:
        url = make_url(where)
    except ArgumentError as cause:
        raise GalleryCode.GALLERY_UNREACHABLE(
            "The database URL is malformed.", "Write postgresql://USER@HOST/NAME."
        ) from cause
    if url.drivername.split("+")[0] in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg"), None
    if url.drivername == "sqlite" and url.database:
        return url, Path(url.database).absolute()
    raise GalleryCode.GALLERY_UNREACHABLE(
        f"A database of the kind {url.drivername} is not supported, only PostgreSQL and SQLite.",
        "Write postgresql://USER@HOST/NAME, or omit the URL for a file in the data folder.",
    )


def _prepare_file(path: Path) -> None:
    """Create folder and file with access for this user only, before any data; the log inherits the mode."""
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, mode=0o700)
        _refuse_network(path.parent)
        if path.exists() and path.stat().st_size:
            _refuse_foreign(path)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as cause:
        raise FolderUnwritable(
            f"The gallery cannot be written at {path}: {cause.strerror}.",
            "Choose another data folder: WAYSPEAK_DATA=/some/folder.",
        ) from cause


def _refuse_network(folder: Path) -> None:
    kind = find_file_system(folder.resolve(), MOUNTS)
    if kind in NETWORK:
        raise GalleryCode.GALLERY_UNREACHABLE(
            f"The gallery's folder {folder} is on a network file system ({kind}), where SQLite's locks fail.",
            "Choose a folder on a local disk with WAYSPEAK_DATA, or use PostgreSQL.",
        )


def find_file_system(folder: Path, mounts: Path) -> str:
    """Return the file system type of a folder from the kernel's mount table; empty without such a table."""
    found = (0, "")
    try:
        lines = mounts.read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return ""
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if folder.is_relative_to(point):
            found = max(found, (len(Path(point).parts), kind), key=lambda one: one[0])
    return found[1]


def _refuse_foreign(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\x00":
            raise GalleryDamaged(
                f"The gallery {path} is not a database.", "Restore it from a backup: wayspeak gallery restore FILE."
            )


def set_up_sqlite(connection: sqlite3.Connection, _: object = None) -> None:
    """Set the pragmas and verify them; raises GALLERY_UNREACHABLE."""
    connection.isolation_level = None  # no implicit transactions
    for pragma, wanted in PRAGMAS.items():
        connection.execute(f"PRAGMA {pragma}")
        found = connection.execute(f"PRAGMA {pragma.split('=')[0]}").fetchone()[0]
        if found != wanted:
            raise GalleryCode.GALLERY_UNREACHABLE(
                f"SQLite refused {pragma}: the value is {found}.", "Use a local disk and Python's own SQLite module."
            )


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("wayspeak_writes") else "BEGIN")


class WriterLock:
    """Fair lock between the processes that write to a SQLite file.

    SQLite backs off ever longer: of many writers, the first may wait longest, or in vain. The lock is on the folder,
    since closing one of SQLite's files would drop SQLite's own locks; it is released when its process ends. A polling
    writer never sees a lock that is retaken at once, so a writer that had to wait leaves it free for a moment
    afterwards, and one that never waits does so after every `LONGEST_STREAK` writes.
    """

    def __init__(self, path: Path):
        self._path = path
        self._streak = 0  # consecutive writes without a wait

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock within the block; raises GalleryBusy after a timeout."""
        if fcntl is None:
            yield
            return
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            self._streak = 0 if self._take(folder) else self._streak + 1
            yield
        finally:
            os.close(folder)
        if self._streak % LONGEST_STREAK == 0:
            time.sleep(MOMENT_S)

    def _take(self, folder: int) -> bool:
        """Lock the folder; return whether it had to wait."""
        end, waited = time.monotonic() + BUSY_MS / 1000, False
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return waited
            except BlockingIOError:
                if time.monotonic() > end:
                    raise _busy(f"{self._path}") from None
            waited = True
            time.sleep(random.uniform(0.001, 0.005))  # noqa: S311 - the same chance for all that wait


def _busy(name: str) -> GalleryBusy:
    return GalleryBusy(f"The gallery {name} was locked by other processes for {BUSY_MS / 1000:g} s.", "Try again.")


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Translate errors of the database that the user can act on into EngineErrors."""
    try:
        yield
    except (PoolTimeout, DBAPIError) as error:
        translated = _explain(name, error)
        if translated is None:
            raise
        raise translated from error
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise GalleryCode.GALLERY_UNREACHABLE(
            f"A package for PostgreSQL is missing: {error}.",
            "Install it: pip install 'wayspeak[postgres]'.",
        ) from error


def _explain(name: str, error: SQLAlchemyError) -> GalleryError | FolderUnwritable | None:
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    message = str(cause).lower()
    if isinstance(error, PoolTimeout) or "locked" in message or "busy" in message:
        return _busy(name)
    if "malformed" in message or "not a database" in message:
        return GalleryDamaged(
            f"The gallery {name} is damaged.", "Restore it from a backup: wayspeak gallery restore FILE."
        )
    if "readonly" in message or "disk is full" in message or "unable to open" in message or "disk i/o" in message:
        return FolderUnwritable(
            f"The gallery {name} cannot be written: {cause}",
            "Free disk space, or choose another folder with WAYSPEAK_DATA.",
        )
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return GalleryCode.GALLERY_UNREACHABLE(
            f"The connection to the database {name} was lost.", "Start it, and try again."
        )
    if isinstance(error, OperationalError) and not name.startswith("sqlite") and cause.sqlstate is None:
        reason = " ".join(str(cause).split())[:200]  # the server did not answer, or refused the login
        return GalleryCode.GALLERY_UNREACHABLE(
            f"The database {name} cannot be reached: {reason}", "Start it, or correct its URL."
        )
    return None
