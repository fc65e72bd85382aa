"""Fetch the video at a URL with its provenance, or describe it; errors state what to do.

Importing this module imports no network library.
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
from engine.fetch.formats import OfferedAudio
from engine.fetch.process import ChildResult, run_job
from engine.fetch.proxy import Network, Proxy
from engine.fetch.url_policy import check_url
from engine.fetch.ytdlp_child import AUDIO, MAX_THUMBNAIL_BYTES, MEDIA, THUMBNAIL, VIDEO, FetchRequest
from engine.media.containers import identify_container
from engine.media.remux import merge
from engine.settings import FetchLimits, MediaLimits
from engine.types import OnStep


@dataclass(frozen=True, slots=True)
class MediaDescription:
    """Metadata of a video as stated by the site; nothing of it is checked."""

    title: str  # one printable line, not escaped
    duration_s: float | None  # None where the site does not state it
    extractor: str  # name of the yt-dlp extractor
    thumbnail: bytes  # JPEG, PNG, WebP or GIF, by its first bytes; empty where there is none
    thumbnail_type: str  # "image/jpeg" and so on
    format_id: str = ""  # that would be fetched; of video and audio in two files "137+140"
    language: str = ""  # of its audio; empty where the site states none
    offered: tuple[OfferedAudio, ...] = ()  # audio of each language and codec, also the chosen one; the best first


@dataclass(frozen=True, slots=True)
class FetchedMedia:
    """A fetched file and its provenance."""

    path: Path  # its name is generated here, never taken from the site
    sha256: str  # of the file as written
    n_bytes: int
    title: str  # one printable line, not escaped
    duration_s: float | None  # as the site states it; None where it does not
    extractor: str
    final_url: str  # URL of the media after all redirects, without query
    fetched_at: datetime  # UTC, time of completion
    ytdlp_version: str
    layers: tuple[str, ...]  # confinement of the download, see `confine.Layer`
    parts_sha256: tuple[
        str, ...
    ] = ()  # of video and audio, where the site has them as two files and this file is their merge
    format_id: str = ""  # as in `MediaDescription`
    language: str = ""
    offered: tuple[OfferedAudio, ...] = ()


MIN_YTDLP = (2026, 7, 4)  # earlier releases have known vulnerabilities, the last one fixed in this release
SUFFIXES = {"mov": ".mp4", "matroska": ".mkv", "avi": ".avi", "mpegts": ".ts", "mpeg": ".mpg"}
IMAGE_TYPES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"GIF8", "image/gif"))
CHUNK = 1024 * 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A file written to the folder."""

    path: Path
    sha256: str
    n_bytes: int
    parts_sha256: tuple[str, ...]  # of the two files it was merged from; empty for one file


def ignore_step(name: str, completed: int, total: int) -> None:
    """Do nothing; the default of `on_step`."""


def fetch(
    url: str,
    folder: Path,
    limits: FetchLimits | None = None,
    on_step: OnStep = ignore_step,
    item: int = 0,
    network: Network | None = None,
) -> FetchedMedia:
    """Fetch the video at a URL into `folder`, under a generated name; of several, number `item`, from 1.

    `on_step("fetch", bytes, total)` reports progress. Raises BAD_URL and ADDRESS_FORBIDDEN before anything is opened,
    SeveralVideos where one has to be chosen, and the codes of `engine/fetch/process.py`; after an error nothing is left
    in the folder.
    """
    limits = limits or FetchLimits()
    with _run(url, folder, limits, on_step, item, network, is_media_wanted=True) as (result, place):
        parts = (place / VIDEO, place / AUDIO) if (place / VIDEO).exists() else ()
        kept = _keep(parts or (place / MEDIA,), folder, limits, result.track_language)
    return FetchedMedia(
        path=kept.path,
        sha256=kept.sha256,
        n_bytes=kept.n_bytes,
        title=result.title,
        duration_s=result.duration_s,
        extractor=result.extractor,
        final_url=strip_url(result.url),
        fetched_at=datetime.now(UTC),
        ytdlp_version=result.version,
        layers=result.layers,
        parts_sha256=kept.parts_sha256,
        format_id=result.format_id,
        language=result.language,
        offered=result.offered,
    )


def describe(
    url: str, limits: FetchLimits | None = None, item: int = 0, network: Network | None = None
) -> MediaDescription:
    """Fetch only the metadata and the thumbnail of the video at a URL. Raises what `fetch` raises."""
    with (
        tempfile.TemporaryDirectory(prefix="wayspeak-") as folder,
        _run(url, Path(folder), limits or FetchLimits(), ignore_step, item, network, False) as (result, place),
    ):
        thumbnail = _read_regular(place / THUMBNAIL)
    kind = find_image_type(thumbnail)
    return MediaDescription(
        title=result.title,
        duration_s=result.duration_s,
        extractor=result.extractor,
        thumbnail=thumbnail if kind else b"",
        thumbnail_type=kind,
        format_id=result.format_id,
        language=result.language,
        offered=result.offered,
    )


def strip_url(url: str) -> str:
    """Remove user, query and fragment, which may hold tokens; return "" for a URL that is not http or https."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https"):
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def find_image_type(data: bytes) -> str:
    """Return the media type of an image from its first bytes; empty for any other type, such as SVG."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in IMAGE_TYPES if data.startswith(start)), "")


def check_system() -> None:
    """Raise FETCH_UNAVAILABLE where yt-dlp is missing or has known vulnerabilities."""
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
) -> Iterator[tuple[ChildResult, Path]]:
    """Run a job in a temporary folder inside `folder`, which is removed at exit."""
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
            result = run_job(job, proxy, limits, on_step)
        yield result, place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _keep(sources: tuple[Path, ...], folder: Path, limits: FetchLimits, language: str = "") -> "Kept":
    """Copy the download to a generated name, merging two files of video and audio in this language (ISO 639-2).

    The child has ended, so the files cannot change meanwhile.
    """
    written = folder / f".{uuid.uuid4().hex}.part"
    try:
        with written.open("x+b") as writer:
            parts = tuple(_copy(source, None if len(sources) > 1 else writer, limits.max_bytes) for source in sources)
            if len(sources) > 1:
                video, audio = sources
                own = MediaLimits(limits.max_duration_s, max_bytes=limits.max_bytes)
                merge(video, audio, writer, own, language)
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
    """Copy a regular file of the download; return its SHA-256. Raises FETCH_FAILED and MEDIA_TOO_LARGE."""
    sha256, n_bytes = hashlib.sha256(), 0
    with _open_regular(source) as reader:
        while chunk := reader.read(CHUNK):
            n_bytes += len(chunk)
            if n_bytes > max_bytes:
                raise Code.MEDIA_TOO_LARGE("The file is larger than allowed.", "Cut the part that matters.")
            sha256.update(chunk)
            if writer is not None:
                writer.write(chunk)
    return sha256.hexdigest()


def _open_regular(path: Path) -> BinaryIO:
    """Open a regular file of the download, never a link. Raises FETCH_FAILED."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as cause:
        raise Code.FETCH_FAILED("The download left no file.", "Download it yourself and upload it.") from cause
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Code.FETCH_FAILED("The download left no regular file.", "Download it yourself and upload it.")
    return os.fdopen(descriptor, "rb")


def _read_regular(path: Path) -> bytes:
    try:
        with _open_regular(path) as file:
            return file.read(MAX_THUMBNAIL_BYTES)
    except EngineError:
        return b""
