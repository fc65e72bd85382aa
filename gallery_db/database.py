"""The database behind the gallery: SQLite in the data folder, or PostgreSQL by a URL.

Writers stand in line: by a lock and `BEGIN IMMEDIATE` in SQLite, by an advisory lock in PostgreSQL. What a writer has
read stays true until it commits, and generations rise one by one.
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
except ImportError:  # Windows: SQLite's own patience must do
    fcntl = None  # type: ignore[assignment]

FOLDER, FILE = "gallery", "gallery.db"
BUSY_MS = 60_000  # eight writers on two busy cores have waited for more than ten seconds
LONGEST_STREAK = 8  # writes of one process before others get a moment
MOMENT_S = 0.006  # longer than the longest time between two looks
LOCK = 0x57415953  # of PostgreSQL's advisory locks: any number, the same everywhere
MOUNTS = Path("/proc/self/mounts")
NETWORK = {"nfs", "nfs4", "cifs", "smbfs", "smb3", "fuse.sshfs", "afs", "ncpfs", "ceph", "fuse.glusterfs", "lustre"}
PRAGMAS = {
    f"busy_timeout={BUSY_MS}": BUSY_MS,  # first: turning to WAL may have to wait for others
    "journal_mode=wal": "wal",
    "synchronous=full": 2,
    "foreign_keys=on": 1,  # SQLite's default is off, and an orphan would be accepted
    "secure_delete=on": 1,  # what is deleted is overwritten
    "temp_store=memory": 2,  # no copy of a face or a vector in a temporary folder
}


class Database:
    """An open database of the newest schema."""

    def __init__(self, engine: Engine, path: Path | None = None):
        self.engine = engine
        self.path = path  # None: not SQLite
        self._line = Line(path) if path is not None else None
        self._writer = engine.execution_options(wayspeak_writes=True)
        snapshot = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}  # SQLite has nothing less
        self._reader = engine.execution_options(**snapshot)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file in the data folder."""
        return self.engine.dialect.name == "sqlite"

    @property
    def name(self) -> str:
        """Its URL without the password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one state throughout."""
        with translate_errors(self.name), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, keep: bool = True) -> Iterator[Connection]:
        """Give the only connection that writes; what it did is kept whole, or not at all where an error leaves.

        Without `keep` it is not kept either way: whoever reads within the block sees what would be.
        """
        with (
            self._line.wait() if self._line is not None else nullcontext(),
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
        """Give a connection for what knows no transaction: VACUUM and the pragmas."""
        with (
            translate_errors(self.name),
            self.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection,
        ):
            yield connection

    def files(self) -> list[Path]:
        """Every file that SQLite keeps for it."""
        if self.path is None:
            return []
        return [file for file in sorted(self.path.parent.glob(f"{self.path.name}*")) if file.is_file()]

    def measure_bytes(self, connection: Connection) -> int:
        """How much room it takes."""
        if self.is_sqlite:
            return sum(file.stat().st_size for file in self.files())
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())

    def find_damage(self) -> list[str]:
        """What `integrity_check` and `foreign_key_check` complain about; empty where SQLite is content."""
        if not self.is_sqlite:
            return []
        with self.outside_transactions() as connection:
            rows = [str(row[0]) for row in connection.execute(text("PRAGMA integrity_check"))]
            orphans = connection.execute(text("PRAGMA foreign_key_check")).fetchall()
        return [row for row in rows if row != "ok"] + [f"a row of {row[0]} belongs to nothing" for row in orphans]

    def close(self) -> None:
        """Let go of every connection; the last one out of a SQLite file empties its log."""
        self.engine.dispose()


def open_database(where: Path | str) -> Database:
    """Open the file or the URL, and bring its schema up to date.

    GALLERY_UNREACHABLE, FolderUnwritable, GalleryDamaged, GalleryNewer and GalleryBusy say what is wrong.
    """
    return migrate(connect(where), VERSION, bring_up_to_date)


def connect(where: Path | str) -> Database:
    """Open the file or the URL as it is, whatever tables are in it."""
    url, path = _locate(where)
    if path is not None:
        _prepare_file(path)
    engine = create_engine(url, pool_pre_ping=path is None, pool_timeout=BUSY_MS / 1000)
    if path is not None:
        event.listen(engine, "connect", set_up_sqlite)
        event.listen(engine, "begin", _begin)
    return Database(engine, path)


def migrate(database: Database, version: str, bring: Callable[[Connection], None]) -> Database:
    """Let `bring` bring the schema to this version, unless it is there; where that fails the database is closed."""
    try:
        with database.read() as connection:
            is_current = read_version(connection) == version
        if not is_current:
            with database.write() as connection:
                bring(connection)
    except BaseException:
        database.close()
        raise
    return database


def _locate(where: Path | str) -> tuple[URL, Path | None]:
    """Read a path or a URL; PostgreSQL is always reached through psycopg 3."""
    if isinstance(where, Path) or "://" not in where:
        path = Path(where).absolute()
        return URL.create("sqlite", database=str(path)), path
    try:
        url = make_url(where)
    except ArgumentError as cause:
        raise GalleryCode.GALLERY_UNREACHABLE(
            "The database's URL cannot be read.", "Write postgresql://USER@HOST/NAME."
        ) from cause
    if url.drivername.split("+")[0] in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg"), None
    if url.drivername == "sqlite" and url.database:
        return url, Path(url.database).absolute()
    raise GalleryCode.GALLERY_UNREACHABLE(
        f"A database of the kind {url.drivername} was found, wanted PostgreSQL or SQLite.",
        "Write postgresql://USER@HOST/NAME, or leave it out for a file in the data folder.",
    )


def _prepare_file(path: Path) -> None:
    """Make folder and file readable by this user alone, before anything is in them; the log inherits that."""
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
    """Name the file system that a folder is on, by the kernel's table of mounts; empty where there is no such table."""
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
    """Set what SQLite leaves off, and make sure that it took."""
    connection.isolation_level = None  # transactions begin where we say
    for pragma, wanted in PRAGMAS.items():
        connection.execute(f"PRAGMA {pragma}")
        found = connection.execute(f"PRAGMA {pragma.split('=')[0]}").fetchone()[0]
        if found != wanted:
            raise GalleryCode.GALLERY_UNREACHABLE(
                f"SQLite answers {found} to {pragma}.", "Use a local disk and Python's own SQLite module."
            )


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("wayspeak_writes") else "BEGIN")


class Line:
    """Where the writers of a SQLite file wait for each other, and let each other pass.

    SQLite would wait, too, but ever more patiently: of many writers, those who came first may wait longest, or in vain.
    The lock is on the folder, since closing a file of SQLite's would drop SQLite's own locks; it ends with its process.
    Whoever looks for a free lock from time to time never sees one that is taken again at once, so it is left free for a
    moment by who had to wait, and now and then by who never has to.
    """

    def __init__(self, path: Path):
        self._path = path
        self._streak = 0  # turns in a row without a wait

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Hold the lock within the block; GalleryBusy where nobody lets it go."""
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
        """Lock the folder; whether that took a wait."""
        end, waited = time.monotonic() + BUSY_MS / 1000, False
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return waited
            except BlockingIOError:
                if time.monotonic() > end:
                    raise _busy(f"{self._path}") from None
            waited = True
            time.sleep(random.uniform(0.001, 0.005))  # noqa: S311 - whoever waits has the same chance


def _busy(name: str) -> GalleryBusy:
    return GalleryBusy(f"The gallery {name} was held by others for {BUSY_MS / 1000:g} s.", "Try again.")


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Say what a database's error means, where it means something that the person can act on."""
    try:
        yield
    except (PoolTimeout, DBAPIError) as error:
        told = _explain(name, error)
        if told is None:
            raise
        raise told from error
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise GalleryCode.GALLERY_UNREACHABLE(
            f"PostgreSQL was asked for, and a package for it is missing: {error}.",
            "Install it: pip install 'wayspeak[postgres]'.",
        ) from error


def _explain(name: str, error: SQLAlchemyError) -> GalleryError | FolderUnwritable | None:
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    words = str(cause).lower()
    if isinstance(error, PoolTimeout) or "locked" in words or "busy" in words:
        return _busy(name)
    if "malformed" in words or "not a database" in words:
        return GalleryDamaged(
            f"The gallery {name} is damaged.", "Restore it from a backup: wayspeak gallery restore FILE."
        )
    if "readonly" in words or "disk is full" in words or "unable to open" in words or "disk i/o" in words:
        return FolderUnwritable(
            f"The gallery {name} cannot be written: {cause}", "Make room, or choose another folder with WAYSPEAK_DATA."
        )
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return GalleryCode.GALLERY_UNREACHABLE(f"The database {name} went away.", "Start it, and try again.")
    if isinstance(error, OperationalError) and not name.startswith("sqlite") and cause.sqlstate is None:
        told = " ".join(str(cause).split())[:200]  # the server has not answered, or would not let anybody in
        return GalleryCode.GALLERY_UNREACHABLE(
            f"The database {name} cannot be reached: {told}", "Start it, or correct its URL."
        )
    return None
