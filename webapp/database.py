"""SQLite database of the app, separate from the gallery's but opened and migrated in the same way."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from sqlalchemy import Connection, MetaData
from sqlalchemy.orm import DeclarativeBase

from engine.errors import FolderUnwritable
from engine.settings import Settings
from gallery_db.database import Database, connect, migrate
from gallery_db.errors import GalleryBusy, GalleryDamaged, GalleryError, GalleryNewer
from gallery_db.migrations import bring_up_to_date
from gallery_db.schema import Base as GalleryBase
from webapp.errors import WebCode
from webapp.migrations import HERE

FILE = "app.sqlite"
VERSION = "0005"
"""The latest migration, which this code reads and writes."""


class Base(DeclarativeBase):
    """Metadata of the app's tables; each package declares its own."""

    metadata = MetaData(naming_convention=GalleryBase.metadata.naming_convention)
    type_annotation_map = GalleryBase.type_annotation_map


class AppDatabase:
    """Open database at the latest schema; threads and processes may share it."""

    def __init__(self, database: Database):
        self.database = database

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open or create the database; raise APP_DATABASE_ERROR or FolderUnwritable on failure."""
        path = settings.data_dir / FILE
        with _translate(str(path)):
            return cls(migrate(connect(path), VERSION, lambda held: bring_up_to_date(held, VERSION, HERE)))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection with one consistent snapshot."""
        with _translate(self.name), self.database.read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield the only writing connection: commit, or roll back if an exception leaves the block."""
        with _translate(self.name), self.database.write() as connection:
            yield connection

    @property
    def name(self) -> str:
        """Path of the database."""
        return str(self.database.path)

    def close(self) -> None:
        """Close all connections."""
        self.database.close()


@contextmanager
def _translate(name: str) -> Iterator[None]:
    """Raise the gallery's database errors as errors of the app's database."""
    try:
        yield
    except GalleryBusy as error:
        raise WebCode.APP_DATABASE_BUSY(
            f"The app's database {name} was locked by other processes for too long.", "Try again."
        ) from error
    except GalleryNewer as error:
        raise WebCode.APP_DATABASE_NEWER(
            f"A newer Wayspeak wrote the app's database {name}.", "Update Wayspeak."
        ) from error
    except GalleryDamaged as error:
        raise WebCode.APP_DATABASE_DAMAGED(
            f"The app's database {name} is damaged, or not a database of Wayspeak.",
            "Move it away, with the files of the same name next to it: a new one is created, and its jobs are lost.",
        ) from error
    except GalleryError as error:
        raise WebCode.APP_DATABASE_ERROR(
            f"The app's database {name} cannot be opened: {error.message}", error.hint
        ) from error
    except FolderUnwritable as error:
        raise FolderUnwritable(
            f"The app's database {name} cannot be written.", "Make room, or choose another folder with WAYSPEAK_DATA."
        ) from error
