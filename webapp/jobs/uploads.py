"""Upload limits, and copying a file into a job's folder: hashed while copied, never decoded."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection, func, select

from engine.errors import Code, FolderUnwritable
from engine.media.limits import check_file
from engine.settings import Settings
from webapp.errors import WebCode
from webapp.jobs import files as folders
from webapp.jobs.records import JobState
from webapp.jobs.schema import JobRow

CHUNK = 1024 * 1024
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
HOUR = timedelta(hours=1)
ROOM = "Delete jobs that are not needed any more, or make room on the disk."


class UploadStore:
    """Check and store uploads within the limits."""

    def __init__(self, settings: Settings):
        self._settings, self._limits = settings, settings.queue

    def measure(self, path: Path | None) -> int:
        """Return the bytes of a file, 0 for a link; raise UNREADABLE_VIDEO or FILE_TOO_LARGE."""
        if path is None:
            return 0
        check_file(path, self._settings.limits)
        return path.stat().st_size

    def admit(self, connection: Connection, owner: str, batch: str | None, size: int, now: datetime) -> None:
        """Raise QUEUE_FULL or QUOTA_USED if another job of the owner with a file of this size exceeds the limits."""
        own, limits = JobRow.owner == owner, self._limits
        waits = (own, JobRow.state == str(JobState.QUEUED))
        allowed = limits.max_queued if batch is None else limits.max_batch
        query = select(func.count()).where(
            *waits, JobRow.batch.is_(None) if batch is None else JobRow.batch.is_not(None)
        )
        if connection.execute(query).scalar_one() >= allowed:
            raise WebCode.QUEUE_FULL(
                f"{allowed} of your jobs are waiting already.", "Wait until some are done, or cancel some."
            )
        if limits.max_hourly is not None:
            query = select(func.count()).where(own, JobRow.created_at > now - HOUR)
            if connection.execute(query).scalar_one() >= limits.max_hourly:
                raise WebCode.QUOTA_USED(
                    f"You have submitted {limits.max_hourly} jobs within an hour.", "Try again later."
                )
        used = connection.execute(select(func.coalesce(func.sum(JobRow.size_bytes), 0)).where(own)).scalar_one()
        if size and used + size > limits.max_bytes:
            raise WebCode.QUOTA_USED(
                f"Your files take {used / 2**20:.0f} MB, and this one has {size / 2**20:.0f}; "
                f"{limits.max_bytes / 2**20:.0f} are allowed.",
                "Delete jobs that you no longer need.",
            )

    def check_room(self, size: int = 0) -> None:
        """Raise DISK_FULL if too little space would be left after writing this many bytes."""
        disk = shutil.disk_usage(_find_folder(self._settings.data_dir))
        wanted = min(disk.total * self._limits.min_free_share, self._limits.min_free_bytes)
        if disk.free - size < wanted:
            raise WebCode.DISK_FULL(
                f"The disk has {disk.free / 2**30:.1f} GB free, and {wanted / 2**30:.1f} GB are to stay free.", ROOM
            )

    def make_folder(self, folder: Path) -> Path:
        """Create a job's folder, readable by this user only."""
        with _translate(folder):
            folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(mode=0o700)
        return folder

    def copy(self, source: Path, folder: Path) -> tuple[str, int]:
        """Copy a file into the folder and return SHA-256 and size of the written bytes.

        Raise FILE_TOO_LARGE or DISK_FULL, also if the file grows meanwhile.
        """
        sha256, size, limit = hashlib.sha256(), 0, self._settings.limits.max_bytes
        check_file(source, self._settings.limits)
        with _open(source) as reader, _translate(folder), _create(folder / folders.INPUT) as writer:
            while size <= limit and (chunk := reader.read(CHUNK)):
                _write(writer, chunk)
                sha256.update(chunk)
                size += len(chunk)
            os.fsync(writer)
        check_file(folder / folders.INPUT, self._settings.limits)
        return sha256.hexdigest(), size

    def link(self, source: Path, target: Path) -> None:
        """Create a hard link, or a copy if the file system has no hard links."""
        with _translate(target.parent):
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as cause:
        raise Code.UNREADABLE_VIDEO(
            f"{path.name} cannot be read: {cause.strerror}.", "Check who may read it."
        ) from cause


def _write(descriptor: int, data: bytes) -> None:
    """Write all bytes: a full disk may accept a part and refuse the rest."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def _create(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _translate(folder: Path) -> Iterator[None]:
    """Raise disk errors as EngineErrors."""
    try:
        yield
    except OSError as cause:
        if cause.errno in FULL:
            raise WebCode.DISK_FULL(f"The disk is full: {cause.strerror}.", ROOM) from cause
        raise FolderUnwritable(
            f"{folder} cannot be written: {cause.strerror}.", "Choose another data folder with WAYSPEAK_DATA."
        ) from cause


def _find_folder(path: Path) -> Path:
    """Return the nearest existing parent folder."""
    return next(one for one in (path, *path.absolute().parents) if one.is_dir())
