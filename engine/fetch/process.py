"""Run the yt-dlp child: start it, read its messages, enforce the limits, and end it.

The child reports a refusal by its code; `REFUSALS` has the texts.
"""

import contextlib
import importlib.util
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import engine
from engine.errors import Code, EngineError
from engine.fetch.formats import OfferedAudio, read_offered, read_track_language
from engine.fetch.items import SeveralVideos, read_items
from engine.fetch.proxy import Proxy
from engine.fetch.ytdlp_child import FetchRequest
from engine.settings import FetchLimits
from engine.types import OnStep

UPLOAD = "Download it yourself, where you may, and upload the file."


@dataclass(frozen=True, slots=True)
class ErrorText:
    """Message and hint of an error."""

    message: str  # {text}: one line from the site or yt-dlp; {names}: titles of a playlist
    hint: str


REFUSALS: dict[str, ErrorText] = {
    Code.ADDRESS_FORBIDDEN: ErrorText("The link leads to where nothing is fetched from. {text}", "Use a public link."),
    Code.SITE_UNREACHABLE: ErrorText("{text} does not answer.", "Check the link, or try again later."),
    Code.LIVE_MEDIA: ErrorText(
        "This is a live stream, and only finished videos are taken.", "Come back when it has ended."
    ),
    Code.UPCOMING_MEDIA: ErrorText("This video is announced and not yet there.", "Come back when it has been shown."),
    Code.UNFINISHED_MEDIA: ErrorText(
        "This live stream has just ended and is not yet a video.", "Try again in some hours."
    ),
    Code.PLAYLIST_GIVEN: ErrorText(
        "The link leads to several videos, and one is wanted. {names}",
        "Give the link of one video, or say which of them.",
    ),
    Code.MEDIA_TOO_LONG: ErrorText("The video is {text} s long, longer than is taken.", "Cut the part that matters."),
    Code.MEDIA_TOO_LARGE: ErrorText(
        "The video's file is larger than is taken.", "Cut the part that matters, and upload that."
    ),
    Code.LOGIN_NEEDED: ErrorText(
        "The site shows this to those who are logged in, or turns programs away. {text}",
        f"Nothing is ever fetched with anybody's login. {UPLOAD}",
    ),
    Code.NO_MEDIA: ErrorText("There is no video at this link that can be fetched. {text}", UPLOAD),
    Code.FETCH_FAILED: ErrorText("The video could not be fetched. {text}", f"Try again later. {UPLOAD}"),
}


def make_error(code: str, text: str = "", names: tuple[str, ...] = ()) -> EngineError:
    """Make the error of a code; FETCH_FAILED for an unknown code."""
    known = code if code in REFUSALS else Code.FETCH_FAILED
    error = REFUSALS[known]
    listed = " ".join(f"{number}: {name}." for number, name in enumerate(names, 1))
    return EngineError(error.message.format(text=text, names=listed).strip(), error.hint, known)


BOOT = "import sys; sys.path += sys.argv[1:]; from engine.fetch.ytdlp_child import main; main()"
CHECK_INTERVAL_S = 0.1
MAX_LINE_BYTES = 32 * 1024
MAX_OUTPUT_BYTES = 1024 * 1024


@dataclass(slots=True)
class ChildResult:
    """What the child has reported so far: untrusted, so each field is converted and bounded as it is read."""

    layers: tuple[str, ...] = ()
    version: str = ""
    title: str = ""
    duration_s: float | None = None
    extractor: str = ""
    url: str = ""
    format_id: str = ""
    language: str = ""
    track_language: str = ""  # ISO 639-2; empty where unknown
    offered: tuple[OfferedAudio, ...] = ()
    is_found: bool = False
    is_finished: bool = False
    refusal: EngineError | None = None
    progress: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Rate:
    """Bytes received over time, to distinguish a slow sender from a short pause."""

    window_s: float
    points: deque[tuple[float, int]] = field(default_factory=deque)

    def measure(self, now_s: float, n_bytes: int) -> float | None:
        """Return the mean rate over the last window in bytes per second; None before the first window ends."""
        self.points.append((now_s, n_bytes))
        while len(self.points) > 2 and now_s - self.points[1][0] >= self.window_s:
            self.points.popleft()
        passed = now_s - self.points[0][0]
        return (n_bytes - self.points[0][1]) / passed if passed >= self.window_s else None


def run_job(job: FetchRequest, proxy: Proxy, limits: FetchLimits, on_step: OnStep) -> ChildResult:
    """Run one child to its end and return its result. Raises EngineError unless it succeeds."""
    process = _start(job, proxy)
    result = ChildResult()
    try:
        _watch(process, result, proxy, limits, Path(job.folder), on_step)
    finally:
        _end(process)
    if result.is_finished and result.refusal is None and proxy.is_serving and not proxy.is_over and not proxy.cut:
        return result
    raise _find_cause(result, proxy, process.returncode, limits)


def _start(job: FetchRequest, proxy: Proxy) -> subprocess.Popen[bytes]:
    """Start the child with an empty environment and no open file but the socket to the proxy."""
    home = Path(job.folder) / "home"
    home.mkdir(mode=0o700)
    environment = {name: str(home) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR")}
    environment |= {"PATH": "", "LANG": "C.UTF-8", "YTDLP_NO_PLUGINS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own lines
        [sys.executable, "-I", "-B", "-X", "utf8", "-c", BOOT, *_list_roots()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=job.folder,
        env=environment,
        pass_fds=(job.control,),
        start_new_session=True,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(job.write())
    proxy.child_end.close()  # only the child has it now, so the proxy notices when the child ends
    return process


def _list_roots() -> list[str]:
    """List the import paths of our code and yt-dlp, for an isolated interpreter."""
    spec = importlib.util.find_spec("yt_dlp")
    if spec is None or spec.origin is None:
        raise Code.FETCH_UNAVAILABLE("yt-dlp is not installed.", "Install it with `pip install -e '.[cpu,app]'`.")
    assert engine.__file__ is not None
    return [str(Path(place).parents[1]) for place in (engine.__file__, spec.origin)]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group of the child and wait until it has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _watch(
    process: subprocess.Popen[bytes],
    result: ChildResult,
    proxy: Proxy,
    limits: FetchLimits,
    folder: Path,
    on_step: OnStep,
) -> None:
    """Read the messages of the child and enforce the limits of time, size and rate. Raises their errors."""
    begun_s, rate = time.monotonic(), Rate(limits.rate_window_s)
    for message in _read_messages(process):
        if message is not None:
            _record(message, result)
            continue
        passed_s = time.monotonic() - begun_s
        if passed_s > limits.wall_s or (not result.is_found and passed_s > limits.describe_s):
            raise Code.FETCH_TIMEOUT(
                f"The site took longer than {passed_s:.0f} s.", "Try again later, or upload the file."
            )
        if proxy.is_over or measure_folder(folder) > limits.max_bytes:
            raise _make_too_large_error(limits)
        if result.is_found:
            if result.progress[0]:
                on_step("fetch", *result.progress)
            mean = rate.measure(passed_s, proxy.received_bytes)
            if mean is not None and mean < limits.min_bytes_per_s:
                raise Code.FETCH_TOO_SLOW(
                    f"The site sends {mean:.0f} bytes a second.", "Try again later, or upload the file."
                )


def measure_folder(folder: Path) -> int:
    """Return the total size in bytes of all files in a folder and below."""
    total = 0
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):  # removed meanwhile
            is_folder = entry.is_dir(follow_symlinks=False)
            total += measure_folder(Path(entry.path)) if is_folder else entry.stat(follow_symlinks=False).st_size
    return total


def _read_messages(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any] | None]:
    """Yield each message of the child, and None before each read, at least ten times a second."""
    assert process.stdout is not None
    n_bytes, rest = 0, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            yield None
            if not selector.select(CHECK_INTERVAL_S):
                continue
            data = os.read(process.stdout.fileno(), MAX_LINE_BYTES)
            n_bytes += len(data)
            if not data:
                return
            if n_bytes > MAX_OUTPUT_BYTES or len(rest) > MAX_LINE_BYTES:
                raise Code.FETCH_FAILED("The download sent too many messages.", "Download it yourself and upload it.")
            *lines, rest = (rest + data).split(b"\n")
            yield from (message for line in lines if isinstance(message := _parse(line), dict))


def _parse(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _record(message: dict[str, Any], result: ChildResult) -> None:
    kind = message.get("kind")
    if kind == "begun":
        result.version = _read_text(message, "version")
        layers = message.get("layers")
        result.layers = tuple(str(layer)[:40] for layer in layers[:8]) if isinstance(layers, list) else ()
    elif kind == "found":
        result.is_found = True
        result.title, result.extractor = _read_text(message, "title"), _read_text(message, "extractor")
        result.url, duration_s = str(message.get("url", ""))[:4096], message.get("duration_s")
        result.duration_s = float(duration_s) if isinstance(duration_s, int | float) and 0 < duration_s < 1e9 else None
        result.format_id, result.language = _read_text(message, "format_id"), _read_text(message, "language")
        result.track_language = read_track_language(message.get("track_language"))
        result.offered = read_offered(message.get("offered"))
    elif kind == "progress":
        done, total = message.get("done"), message.get("total")
        result.progress = (done, total) if isinstance(done, int) and isinstance(total, int) else result.progress
    elif kind == "refused":
        items = read_items(message.get("items"))
        error = make_error(_read_text(message, "code"), _read_text(message, "text"), tuple(one.name for one in items))
        is_choice = items and error.code == Code.PLAYLIST_GIVEN
        result.refusal = SeveralVideos(error.message, error.hint, items) if is_choice else error
    elif kind == "finished":
        result.is_finished = True


def _read_text(message: dict[str, Any], name: str) -> str:
    return _read_line(message.get(name, ""))


def _read_line(value: object) -> str:
    return "".join(letter for letter in str(value) if letter.isprintable())[:300]


def _find_cause(result: ChildResult, proxy: Proxy, returncode: int, limits: FetchLimits) -> EngineError:
    """Return the error for a missing file; refusals by the proxy take precedence over those of the child."""
    if proxy.is_over:
        return _make_too_large_error(limits)
    if proxy.refusals:
        return make_error("ADDRESS_FORBIDDEN", proxy.refusals[0])
    if proxy.unanswered and result.refusal is not None and result.refusal.code == "FETCH_FAILED":
        return make_error("SITE_UNREACHABLE", proxy.unanswered[0])
    if result.refusal is not None:
        return result.refusal
    if proxy.cut or not proxy.is_serving:
        return make_error("FETCH_FAILED", "The connection broke off before the end.")
    if returncode == -signal.SIGXCPU:
        return Code.FETCH_TIMEOUT("Reading the site took too much computing.", "Download it yourself and upload it.")
    return Code.FETCH_FAILED(
        "The download broke off without an error message.", "Try again, or download it yourself and upload it."
    )


def _make_too_large_error(limits: FetchLimits) -> EngineError:
    return Code.MEDIA_TOO_LARGE(
        f"The site sends more than {limits.max_bytes / 1e6:.0f} MB.", "Cut the part that matters, and upload that."
    )
