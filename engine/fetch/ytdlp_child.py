"""The child that runs yt-dlp: one job from standard input, messages as lines of JSON on standard output, then the end.

It is confined before yt-dlp is imported, and whatever it says is taken for what it is: the word of a process that
reads hostile pages. Nothing it names becomes a path, and every text is cut to length by whoever reads it.
"""

import errno
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MEDIA, PICTURE, SOUND, THUMBNAIL = "media.bin", "picture.bin", "sound.bin", "thumbnail.bin"
# In one piece where that is as sharp as faces need; else picture and sound apart, which are put together later.
FORMATS = "best[height>=720]/bestvideo*+bestaudio/best"
NOWHERE = "/nonexistent"
PROGRESS_S = 0.2
MAX_THUMBNAIL_BYTES = 2 * 1024 * 1024
MAX_LISTED = 10  # entries of a playlist that are looked at
MAX_TEXT_CHARS = 300

Tell = Callable[..., None]  # tell(kind, **fields)

STATUS_CODES = {"is_live": "LIVE_MEDIA", "is_upcoming": "UPCOMING_MEDIA", "post_live": "UNFINISHED_MEDIA"}
# In the order they are tried; yt-dlp has exceptions of its own for few of these.
WORDS = (
    ("UPCOMING_MEDIA", r"will begin|premieres? (in|will)|not yet (started|begun|aired)|upcoming|scheduled"),
    (
        "LOGIN_NEEDED",
        r"log[ -]?in|sign[ -]?in|cookies|password|private|registered|members|subscri|account|credentials|not a bot",
    ),
    ("PLAYLIST_GIVEN", r"playlist"),
    ("NO_MEDIA", r"unsupported url|no video|no media|is not a video|requested format|unable to extract|not available"),
)


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What the child is to do."""

    url: str
    folder: str  # its own, and the only one it may write in
    control: int  # descriptor of the socket that asks the proxy for connections
    is_media_wanted: bool  # False: only describe, with the picture
    item: int  # which video of several, from 1; 0: there must be one alone
    max_bytes: int
    max_duration_s: float
    socket_s: float
    cpu_s: int
    memory_bytes: int

    def write(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class Refusal(Exception):
    """What the site has is not taken; `code` is an EngineError's."""

    def __init__(self, code: str, text: str = "", names: tuple[str, ...] = ()) -> None:
        super().__init__(code)
        self.code, self.text, self.names = code, text, names


def main() -> None:
    """Do one job."""
    from engine.media.sandbox.confine import confine_fetch  # here: the parent takes the names alone, on any system

    messages = os.dup(1)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    job = FetchRequest(**json.loads(sys.stdin.buffer.read()))
    layers = confine_fetch(Path(job.folder), job.memory_bytes, job.cpu_s, job.max_bytes)

    def tell(kind: str, **fields: Any) -> None:
        os.write(messages, json.dumps({"kind": kind} | fields).encode() + b"\n")

    try:
        from yt_dlp.version import __version__  # only now

        tell("begun", layers=[str(layer) for layer in layers], version=__version__)
        _do(job, tell)
    except Refusal as refusal:
        tell("refused", code=refusal.code, text=_clean(refusal.text), names=[_clean(name) for name in refusal.names])
    except BaseException as error:
        code, text = _classify(error)
        tell("refused", code=code, text=_clean(text), names=[])


def _do(job: FetchRequest, tell: Tell) -> None:
    from engine.fetch.proxy_client import TunnelConnection, TunnelledYoutubeDL

    TunnelConnection.control = socket.socket(fileno=job.control)
    log = _Log()
    with TunnelledYoutubeDL(_choose_options(job, log, tell)) as downloader:
        info = _find_video(downloader, job)
        _check_video(info, job)
        tell("found", **_describe(info))
        if job.is_media_wanted:
            _download(downloader, info, Path(job.folder), log)
        else:
            _save_thumbnail(downloader, info, Path(job.folder))
        tell("finished")


def _download(downloader: Any, info: dict[str, Any], folder: Path, log: "_Log") -> None:
    """Bring the one file, or the two that picture and sound are in."""
    parts = _list_parts(info)
    if parts:
        for part, name in zip(parts, (PICTURE, SOUND), strict=True):
            whole = {key: value for key, value in info.items() if key != "requested_formats"}
            downloader.dl(str(folder / name), whole | part)
    else:
        downloader.process_info(info)
    for name in (PICTURE, SOUND) if parts else (MEDIA,):
        if not (folder / name).is_file():  # it gives up on some without an error
            raise Refusal("MEDIA_TOO_LARGE" if "max-filesize" in log.last else "FETCH_FAILED", log.last)


def _list_parts(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Picture and sound, where the site has them apart; empty where they are one. Raises Refusal for anything else."""
    parts = [part for part in info.get("requested_formats") or () if isinstance(part, dict)]
    if not parts:
        return []
    parts.sort(key=lambda part: part.get("vcodec") == "none")  # None is not known
    if len(parts) != 2 or parts[1].get("acodec") == "none":
        raise Refusal("NO_MEDIA")
    return parts


class _Log:
    """Where yt-dlp writes; the last line is kept."""

    last = ""

    def debug(self, text: str) -> None:
        self.last = text

    info = warning = error = debug


def _choose_options(job: FetchRequest, log: _Log, tell: Tell) -> dict[str, Any]:
    """Everything that yt-dlp could read, write or start besides the one file is off."""
    return {
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "logger": log,
        "color": "no_color",
        "progress_hooks": [_make_hook(tell)],
        "cachedir": False,
        "format": FORMATS,
        "format_sort": ["res:1080"],
        "outtmpl": {"default": MEDIA},
        "paths": {"home": job.folder},
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "playlist_items": str(job.item) if job.item else f"1:{MAX_LISTED}",
        "max_filesize": job.max_bytes,
        "socket_timeout": job.socket_s,
        "retries": 2,
        "fragment_retries": 2,
        "extractor_retries": 1,
        "file_access_retries": 0,
        "skip_unavailable_fragments": False,
        "concurrent_fragment_downloads": 1,
        "external_downloader": {"default": "native"},
        "hls_prefer_native": True,
        "ffmpeg_location": NOWHERE,
        "js_runtimes": {},
        "remote_components": [],
        "fixup": "never",
        "updatetime": False,
        "enable_file_urls": False,
        "usenetrc": False,
        "cookiefile": None,
        "geo_bypass": False,
        "check_formats": False,
        "allow_unplayable_formats": False,
        "allow_playlist_files": False,
    }


def _make_hook(tell: Tell) -> Callable[[dict[str, Any]], None]:
    told_at = 0.0

    def hook(progress: dict[str, Any]) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= PROGRESS_S:
            told_at = time.monotonic()
            total = progress.get("total_bytes") or progress.get("total_bytes_estimate") or 0
            tell("progress", done=int(progress.get("downloaded_bytes") or 0), total=int(total))

    return hook


def _find_video(downloader: Any, job: FetchRequest) -> dict[str, Any]:
    """The one video at a URL, not downloaded; a list of one is that one, of more the wanted one must have been said."""
    info = downloader.extract_info(job.url, download=False)
    if (info or {}).get("_type", "video") in ("playlist", "multi_video"):
        entries = [entry for entry in info.get("entries") or () if entry]
        if not entries:
            raise Refusal("NO_MEDIA")
        if len(entries) > 1:
            names = (entry.get("title") or entry.get("id") or "without a name" for entry in entries)
            raise Refusal("PLAYLIST_GIVEN", names=tuple(str(name) for name in names))
        (info,) = entries
    if (info or {}).get("_type", "video").startswith("url"):
        info = downloader.extract_info(info["url"], download=False, ie_key=info.get("ie_key"))
    if not info:
        raise Refusal("NO_MEDIA")
    if info.get("_type", "video") != "video":
        raise Refusal("PLAYLIST_GIVEN")
    return info


def _check_video(info: dict[str, Any], job: FetchRequest) -> None:
    """Refuse by what the site itself says of its video; what it does not say is limited while it comes."""
    status = "is_live" if info.get("is_live") else str(info.get("live_status"))
    if status in STATUS_CODES:
        raise Refusal(STATUS_CODES[status])
    duration_s = _read_duration(info)
    if duration_s is not None and duration_s > job.max_duration_s:
        raise Refusal("MEDIA_TOO_LONG", f"{duration_s:.0f}")
    sizes = [_read_number(part, "filesize") or 0 for part in _list_parts(info) or [info]]
    if sum(sizes) > job.max_bytes:
        raise Refusal("MEDIA_TOO_LARGE")


def _describe(info: dict[str, Any]) -> dict[str, Any]:
    media = (_list_parts(info) or [info])[0]
    return {
        "title": _clean(str(info.get("title") or "")),
        "duration_s": _read_duration(info),
        "extractor": _clean(str(info.get("extractor_key") or info.get("extractor") or "")),
        "url": str(media.get("manifest_url") or media.get("url") or info.get("webpage_url") or "")[:4096],
    }


def _save_thumbnail(downloader: Any, info: dict[str, Any], folder: Path) -> None:
    url = info.get("thumbnail")
    if not isinstance(url, str) or not url:
        return
    try:
        picture = downloader.urlopen(url).read(MAX_THUMBNAIL_BYTES + 1)
    except Exception:  # a video without its picture is described all the same
        return
    if len(picture) <= MAX_THUMBNAIL_BYTES:
        (folder / THUMBNAIL).write_bytes(picture)


def _classify(error: BaseException) -> tuple[str, str]:
    """An EngineError's code and the words behind it."""
    from yt_dlp.networking.exceptions import HTTPError
    from yt_dlp.utils import UnsupportedError

    chain = tuple(_unfold(error))
    if any(isinstance(link, OSError) and link.errno == errno.EFBIG for link in chain):
        return "MEDIA_TOO_LARGE", ""
    if any(isinstance(link, MemoryError) for link in chain):
        return "FETCH_FAILED", "it needs too much memory"
    if any(isinstance(link, UnsupportedError) for link in chain):
        return "NO_MEDIA", ""
    text = str(error)
    for link in chain:
        if isinstance(link, HTTPError):
            code = {401: "LOGIN_NEEDED", 402: "LOGIN_NEEDED", 403: "LOGIN_NEEDED", 404: "NO_MEDIA", 410: "NO_MEDIA"}
            return code.get(link.status, "FETCH_FAILED"), f"HTTP {link.status}"
    words = (code for code, pattern in WORDS if re.search(pattern, text, re.IGNORECASE))
    return next(words, "FETCH_FAILED"), text


def _unfold(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those behind it."""
    seen: set[int] = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        seen.add(id(error))
        yield error
        yield from getattr(error, "unexpected_errors", ())  # of yt-dlp's request handlers
        behind = getattr(error, "exc_info", None) or (None, None)
        error = getattr(error, "cause", None) or behind[1] or error.__cause__


def _read_duration(info: dict[str, Any]) -> float | None:
    """Seconds that a site tells of, else those of all pieces of its manifest together."""
    told = _read_number(info, "duration")
    pieces = (_list_parts(info) or [info])[0].get("fragments")
    if told is not None or not isinstance(pieces, list):
        return told
    return sum(_read_number(piece, "duration") or 0.0 for piece in pieces if isinstance(piece, dict)) or None


def _read_number(info: dict[str, Any], name: str) -> float | None:
    value = info.get(name)
    return float(value) if isinstance(value, int | float) else None


def _clean(text: str) -> str:
    """One printable line of bounded length, without yt-dlp's marks and without what follows a URL's `?`."""
    text = re.sub(r"^ERROR: (\[[^\]]+\] )?", "", " ".join(text.split()))
    text = re.sub(r"(https?://[^\s?#]+)[?#]\S*", r"\1", text)
    return "".join(letter for letter in text if letter.isprintable())[:MAX_TEXT_CHARS]
