"""`fetch` and `describe`: a URL becomes a file with its provenance, or an error that says what to do.

What fetching gives. Importing it imports nothing of the network.
"""

import hashlib
import logging
import os
import shutil
import socket
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit, urlunsplit

from engine.errors import Code, EngineError, FolderUnwritable
from engine.fetch.process import ChildMessage, run_job
from engine.fetch.proxy import Network, Proxy
from engine.fetch.url_policy import check_url
from engine.fetch.ytdlp_child import MAX_THUMBNAIL_BYTES, MEDIA, PICTURE, SOUND, THUMBNAIL, FetchRequest
from engine.media.containers import identify_container
from engine.media.remux import merge
from engine.settings import FetchLimits, MediaLimits
from engine.types import OnStep


@dataclass(frozen=True, slots=True)
class MediaDescription:
    """What a site says of its video; nothing of it has been checked."""

    title: str  # one printable line, to be escaped where it is shown
    duration_s: float | None  # None where the site does not tell
    extractor: str  # which of yt-dlp's extractors read the page
    thumbnail: bytes  # JPEG, PNG, WebP or GIF as it came, told by its first bytes; empty where there is none
    thumbnail_type: str  # "image/jpeg" and so on


@dataclass(frozen=True, slots=True)
class FetchedMedia:
    """A file that was fetched, and where it is from."""

    path: Path  # of a name made here; nothing of it is the site's
    sha256: str  # of the bytes as they were written
    n_bytes: int
    title: str  # one printable line, to be escaped where it is shown
    duration_s: float | None  # as the site tells it; None where it does not
    extractor: str
    final_url: str  # where the media came from after all redirects, without query
    fetched_at: datetime  # UTC, when it was complete
    ytdlp_version: str
    layers: tuple[str, ...]  # what confined the child, see `confinement.Layer`
    parts_sha256: tuple[str, ...] = ()  # of picture and sound, where the site has them apart and this file holds both


MIN_YTDLP = (2026, 7, 4)  # the releases before have known holes, the last one closed in this one
SUFFIXES = {"mov": ".mp4", "matroska": ".mkv", "avi": ".avi", "mpegts": ".ts", "mpeg": ".mpg"}
PICTURES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"GIF8", "image/gif"))
CHUNK = 1024 * 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A file as it lies in the folder."""

    path: Path
    sha256: str
    n_bytes: int
    parts_sha256: tuple[str, ...]  # of the files it was made of; empty where it is as it came


def ignore_step(name: str, completed: int, total: int) -> None:
    """Nothing: the default of `on_step`."""


def fetch(
    url: str,
    folder: Path,
    limits: FetchLimits | None = None,
    on_step: OnStep = ignore_step,
    item: int = 0,
    network: Network | None = None,
) -> FetchedMedia:
    """Fetch the one video at a URL into `folder`, under a name of our own; where there are several, `item` of them.

    `on_step("fetch", bytes, total)` follows it. Raises BAD_URL and ADDRESS_FORBIDDEN before anything is opened, and
    every code that `engine/fetch/process.py` lists; whatever is raised, nothing is left in the folder.
    """
    limits = limits or FetchLimits()
    with _run(url, folder, limits, on_step, item, network, is_media_wanted=True) as (told, place):
        parts = (place / PICTURE, place / SOUND) if (place / PICTURE).exists() else ()
        kept = _keep(parts or (place / MEDIA,), folder, limits.max_bytes)
    return FetchedMedia(
        path=kept.path,
        sha256=kept.sha256,
        n_bytes=kept.n_bytes,
        title=told.title,
        duration_s=told.duration_s,
        extractor=told.extractor,
        final_url=strip_url(told.url),
        fetched_at=datetime.now(UTC),
        ytdlp_version=told.version,
        layers=told.layers,
        parts_sha256=kept.parts_sha256,
    )


def describe(
    url: str, limits: FetchLimits | None = None, item: int = 0, network: Network | None = None
) -> MediaDescription:
    """Say what is at a URL, with its picture, and fetch nothing more. Raises what `fetch` raises."""
    with (
        tempfile.TemporaryDirectory(prefix="wayspeak-") as folder,
        _run(url, Path(folder), limits or FetchLimits(), ignore_step, item, network, False) as (told, place),
    ):
        thumbnail = _read_regular(place / THUMBNAIL)
    kind = name_picture(thumbnail)
    return MediaDescription(told.title, told.duration_s, told.extractor, thumbnail if kind else b"", kind)


def strip_url(url: str) -> str:
    """A URL without user, query and fragment, for these carry tokens; empty where it is no web URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https"):
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def name_picture(data: bytes) -> str:
    """Media type of a picture by its first bytes; empty for all that no page should show, SVG among it."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in PICTURES if data.startswith(start)), "")


def check_system() -> None:
    """Raise FETCH_UNAVAILABLE where yt-dlp is missing or older than the last release that closed a known hole."""
    if not hasattr(socket, "send_fds"):
        raise Code.FETCH_UNAVAILABLE("This system cannot confine a download.", "Download it yourself and upload it.")
    try:
        found = metadata.version("yt-dlp")
    except metadata.PackageNotFoundError as cause:
        raise Code.FETCH_UNAVAILABLE(
            "yt-dlp is not installed.", "Install it with `pip install -e '.[cpu,app]'`."
        ) from cause
    numbers = tuple(int(part) for part in found.split(".")[:3] if part.isdigit())
    if numbers < MIN_YTDLP:
        wanted = ".".join(map(str, MIN_YTDLP))
        raise Code.FETCH_UNAVAILABLE(f"yt-dlp is {found}, wanted {wanted} or newer.", "Run `pip install -U yt-dlp`.")


@contextmanager
def _run(
    url: str,
    folder: Path,
    limits: FetchLimits,
    on_step: OnStep,
    item: int,
    network: Network | None,
    is_media_wanted: bool,
) -> Iterator[tuple[ChildMessage, Path]]:
    """Run a job in a folder of its own inside `folder`, and clear it away in the end."""
    if limits.allow_loopback:
        _log.warning("WAYSPEAK_ALLOW_LOOPBACK_FETCH is on: this machine's own services can be fetched from.")
    plain = check_url(url, limits.allow_loopback)
    check_system()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder.resolve()))  # mode 0700
    except OSError as cause:
        raise FolderUnwritable(f"{folder} cannot be written: {cause.strerror}.", "Choose another folder.") from cause
    try:
        with Proxy(limits, network) as proxy:
            job = FetchRequest(
                url=plain,
                folder=str(place),
                control=proxy.child_end.fileno(),
                is_media_wanted=is_media_wanted,
                item=item,
                max_bytes=limits.max_bytes,
                max_duration_s=limits.max_duration_s,
                socket_s=limits.socket_s,
                cpu_s=limits.cpu_s,
                memory_bytes=limits.memory_bytes,
            )
            told = run_job(job, proxy, limits, on_step)
        yield told, place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _keep(sources: tuple[Path, ...], folder: Path, max_bytes: int) -> "Kept":
    """Copy what came to a name of our own; picture and sound of two files are put into one on the way.

    The child is gone, so that nobody changes them now.
    """
    written = folder / f".{uuid.uuid4().hex}.part"
    try:
        with written.open("x+b") as writer:
            parts = tuple(_copy(source, None if len(sources) > 1 else writer, max_bytes) for source in sources)
            if len(sources) > 1:
                picture, sound = sources
                merge(picture, sound, writer, MediaLimits(max_bytes=max_bytes))
            writer.seek(0)
            sha256 = hashlib.file_digest(writer, "sha256").hexdigest()
        demuxer = identify_container(written)
        path = folder / f"{uuid.uuid4().hex}{SUFFIXES.get(demuxer.partition(',')[0], '.bin')}"
        written.rename(path)
    except OSError as cause:
        raise FolderUnwritable(f"{folder} cannot be written: {cause.strerror}.", "Make room there.") from cause
    finally:
        written.unlink(missing_ok=True)
    return Kept(path, sha256, path.stat().st_size, parts if len(sources) > 1 else ())


def _copy(source: Path, writer: BinaryIO | None, max_bytes: int) -> str:
    """Copy a file that the child has left, if it is one; its SHA-256. Raises FETCH_FAILED and MEDIA_TOO_LARGE."""
    sha256, n_bytes = hashlib.sha256(), 0
    with _open_regular(source) as reader:
        while chunk := reader.read(CHUNK):
            n_bytes += len(chunk)
            if n_bytes > max_bytes:
                raise Code.MEDIA_TOO_LARGE("The video's file is larger than is taken.", "Cut the part that matters.")
            sha256.update(chunk)
            if writer is not None:
                writer.write(chunk)
    return sha256.hexdigest()


def _open_regular(path: Path) -> BinaryIO:
    """Open a file that the child has left, if it is one: a link could lead anywhere. Raises FETCH_FAILED."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as cause:
        raise Code.FETCH_FAILED("The download left no file.", "Download it yourself and upload it.") from cause
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Code.FETCH_FAILED("The download left no plain file.", "Download it yourself and upload it.")
    return os.fdopen(descriptor, "rb")


def _read_regular(path: Path) -> bytes:
    try:
        with _open_regular(path) as file:
            return file.read(MAX_THUMBNAIL_BYTES)
    except EngineError:
        return b""
