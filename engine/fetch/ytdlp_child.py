"""Child process that runs yt-dlp for one job: request on standard input, messages as JSON lines on standard output.

It is confined before yt-dlp is imported. It reads hostile pages, so its messages are untrusted: no name in them becomes
a path, and the parent bounds the length of every text.
"""

import errno
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.fetch.formats import describe_formats, prefer_language
from engine.fetch.items import MAX_LISTED, describe_items

MEDIA, VIDEO, AUDIO, THUMBNAIL = "media.bin", "video.bin", "audio.bin", "thumbnail.bin"
# One file where its resolution suffices for faces; else separate video and audio, which are merged later.
FORMATS = "best[height>=720]/bestvideo*+bestaudio/best"
NOWHERE = "/nonexistent"
PROGRESS_S = 0.2
MAX_THUMBNAIL_BYTES = 2 * 1024 * 1024
MAX_TEXT_CHARS = 300

Send = Callable[..., None]  # send(kind, **fields)

STATUS_CODES = {"is_live": "LIVE_MEDIA", "is_upcoming": "UPCOMING_MEDIA", "post_live": "UNFINISHED_MEDIA"}
# Tried in this order; yt-dlp has its own exceptions for few of these.
ERROR_PATTERNS = (
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
    """The job of the child."""

    url: str
    folder: str  # the only folder it may write to
    control: int  # descriptor of the socket that requests connections from the proxy
    is_media_wanted: bool  # False: only the metadata and the thumbnail
    item: int  # number of the video, from 1; 0: there must be exactly one
    max_bytes: int
    max_duration_s: float
    socket_s: float
    cpu_s: int
    memory_bytes: int

    def write(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class Refusal(Exception):
    """The video is refused; `code` is an error code of `engine.errors`."""

    def __init__(self, code: str, text: str = "", items: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(code)
        self.code, self.text, self.items = code, text, items  # title and duration_s of each video of a playlist


def main() -> None:
    """Confine this process and do one job."""
    from engine.media.sandbox.confine import confine_fetch  # here: the parent imports this module on any system

    messages = os.dup(1)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    job = FetchRequest(**json.loads(sys.stdin.buffer.read()))
    layers = confine_fetch(Path(job.folder), job.memory_bytes, job.cpu_s, job.max_bytes)

    def send(kind: str, **fields: Any) -> None:
        os.write(messages, json.dumps({"kind": kind} | fields).encode() + b"\n")

    try:
        from yt_dlp.version import __version__  # after the confinement

        send("begun", layers=[str(layer) for layer in layers], version=__version__)
        _do(job, send)
    except Refusal as refusal:
        items = [item | {"title": _clean(item["title"])} for item in refusal.items]
        send("refused", code=refusal.code, text=_clean(refusal.text), items=items)
    except BaseException as error:
        code, text = _classify(error)
        send("refused", code=code, text=_clean(text), items=[])


def _do(job: FetchRequest, send: Send) -> None:
    from engine.fetch.proxy_client import TunnelConnection, TunnelledYoutubeDL

    TunnelConnection.control = socket.socket(fileno=job.control)
    log = _Log()
    with TunnelledYoutubeDL(_choose_options(job, log, send)) as downloader:
        downloader.format_selector = prefer_language(downloader.format_selector)
        info = _find_video(downloader, job)
        _check_video(info, job)
        send("found", **_describe(info))
        if job.is_media_wanted:
            _download(downloader, info, Path(job.folder), log)
        else:
            _save_thumbnail(downloader, info, Path(job.folder))
        send("finished")


def _download(downloader: Any, info: dict[str, Any], folder: Path, log: "_Log") -> None:
    """Download one file, or two files of video and audio."""
    parts = _list_parts(info)
    if parts:
        for part, name in zip(parts, (VIDEO, AUDIO), strict=True):
            whole = {key: value for key, value in info.items() if key != "requested_formats"}
            downloader.dl(str(folder / name), whole | part)
    else:
        downloader.process_info(info)
    for name in (VIDEO, AUDIO) if parts else (MEDIA,):
        if not (folder / name).is_file():  # yt-dlp abandons some downloads without an error
            raise Refusal("MEDIA_TOO_LARGE" if "max-filesize" in log.last else "FETCH_FAILED", log.last)


def _list_parts(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the formats of video and audio, empty for one file. Raises Refusal for any other number."""
    parts = [part for part in info.get("requested_formats") or () if isinstance(part, dict)]
    if not parts:
        return []
    parts.sort(key=lambda part: part.get("vcodec") == "none")  # None: unknown
    if len(parts) != 2 or parts[1].get("acodec") == "none":
        raise Refusal("NO_MEDIA")
    return parts


class _Log:
    """Log of yt-dlp; keeps the last line."""

    last = ""

    def debug(self, text: str) -> None:
        self.last = text

    info = warning = error = debug


def _choose_options(job: FetchRequest, log: _Log, send: Send) -> dict[str, Any]:
    """Return options that disable everything yt-dlp could read, write or start but the one file."""
    return {
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "logger": log,
        "color": "no_color",
        "progress_hooks": [_make_hook(send)],
        "cachedir": False,
        "format": FORMATS,
        "format_sort": ["lang", "res:1080"],
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


def _make_hook(send: Send) -> Callable[[dict[str, Any]], None]:
    sent_at = 0.0

    def hook(progress: dict[str, Any]) -> None:
        nonlocal sent_at
        if time.monotonic() - sent_at >= PROGRESS_S:
            sent_at = time.monotonic()
            total = progress.get("total_bytes") or progress.get("total_bytes_estimate") or 0
            send("progress", done=int(progress.get("downloaded_bytes") or 0), total=int(total))

    return hook


def _find_video(downloader: Any, job: FetchRequest) -> dict[str, Any]:
    """Return the metadata of the one video at a URL; of several videos the request must name one."""
    info = downloader.extract_info(job.url, download=False)
    if (info or {}).get("_type", "video") in ("playlist", "multi_video"):
        entries = [entry for entry in info.get("entries") or () if entry]
        if not entries:
            raise Refusal("NO_MEDIA")
        if len(entries) > 1:
            raise Refusal("PLAYLIST_GIVEN", items=describe_items(entries))
        (info,) = entries
    if (info or {}).get("_type", "video").startswith("url"):
        info = downloader.extract_info(info["url"], download=False, ie_key=info.get("ie_key"))
    if not info:
        raise Refusal("NO_MEDIA")
    if info.get("_type", "video") != "video":
        raise Refusal("PLAYLIST_GIVEN")
    return info


def _check_video(info: dict[str, Any], job: FetchRequest) -> None:
    """Check the metadata against the limits; the rest is limited during the download."""
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
        **describe_formats(info, _list_parts(info) or [info]),
    }


def _save_thumbnail(downloader: Any, info: dict[str, Any], folder: Path) -> None:
    url = info.get("thumbnail")
    if not isinstance(url, str) or not url:
        return
    try:
        image = downloader.urlopen(url).read(MAX_THUMBNAIL_BYTES + 1)
    except Exception:  # the thumbnail is optional
        return
    if len(image) <= MAX_THUMBNAIL_BYTES:
        (folder / THUMBNAIL).write_bytes(image)


def _classify(error: BaseException) -> tuple[str, str]:
    """Return the error code of an exception and a text for the message."""
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
    codes = (code for code, pattern in ERROR_PATTERNS if re.search(pattern, text, re.IGNORECASE))
    return next(codes, "FETCH_FAILED"), text


def _unfold(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes."""
    seen: set[int] = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        seen.add(id(error))
        yield error
        yield from getattr(error, "unexpected_errors", ())  # of yt-dlp request handlers
        behind = getattr(error, "exc_info", None) or (None, None)
        error = getattr(error, "cause", None) or behind[1] or error.__cause__


def _read_duration(info: dict[str, Any]) -> float | None:
    """Return the duration in seconds that the site states, else the total of the fragments of its manifest."""
    stated = _read_number(info, "duration")
    pieces = (_list_parts(info) or [info])[0].get("fragments")
    if stated is not None or not isinstance(pieces, list):
        return stated
    return sum(_read_number(piece, "duration") or 0.0 for piece in pieces if isinstance(piece, dict)) or None


def _read_number(info: dict[str, Any], name: str) -> float | None:
    value = info.get(name)
    return float(value) if isinstance(value, int | float) else None


def _clean(text: str) -> str:
    """Return one printable line of bounded length, without yt-dlp prefixes and without queries of URLs."""
    text = re.sub(r"^ERROR: (\[[^\]]+\] )?", "", " ".join(text.split()))
    text = re.sub(r"(https?://[^\s?#]+)[?#]\S*", r"\1", text)
    return "".join(letter for letter in text if letter.isprintable())[:MAX_TEXT_CHARS]
