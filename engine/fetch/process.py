"""One child at work: started, heard, watched and ended, with everything that it leaves behind.

What a person is told where a site's media is not taken: the child sends a code, the words are here.
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
from engine.fetch.proxy import Proxy
from engine.fetch.ytdlp_child import FetchRequest
from engine.settings import FetchLimits
from engine.types import OnStep

UPLOAD = "Download it yourself, where you may, and upload the file."


@dataclass(frozen=True, slots=True)
class Words:
    """Message and hint of an error."""

    message: str  # {text} is what the site or yt-dlp said, cut to one line; {names} titles of a playlist
    hint: str


REFUSALS: dict[str, Words] = {
    Code.ADDRESS_FORBIDDEN: Words("The link leads to where nothing is fetched from. {text}", "Use a public link."),
    Code.SITE_UNREACHABLE: Words("{text} does not answer.", "Check the link, or try again later."),
    Code.LIVE_MEDIA: Words(
        "This is a live stream, and only finished videos are taken.", "Come back when it has ended."
    ),
    Code.UPCOMING_MEDIA: Words("This video is announced and not yet there.", "Come back when it has been shown."),
    Code.UNFINISHED_MEDIA: Words("This live stream has just ended and is not yet a video.", "Try again in some hours."),
    Code.PLAYLIST_GIVEN: Words(
        "The link leads to several videos, and one is wanted. {names}",
        "Give the link of one video, or say which of them.",
    ),
    Code.MEDIA_TOO_LONG: Words("The video is {text} s long, longer than is taken.", "Cut the part that matters."),
    Code.MEDIA_TOO_LARGE: Words(
        "The video's file is larger than is taken.", "Cut the part that matters, and upload that."
    ),
    Code.LOGIN_NEEDED: Words(
        "The site shows this to those who are logged in, or turns programs away. {text}",
        f"Nothing is ever fetched with anybody's login. {UPLOAD}",
    ),
    Code.NO_MEDIA: Words("There is no video at this link that can be fetched. {text}", UPLOAD),
    Code.FETCH_FAILED: Words("The video could not be fetched. {text}", f"Try again later. {UPLOAD}"),
}


def explain(code: str, text: str = "", names: tuple[str, ...] = ()) -> EngineError:
    """The error of a code; one that is not known is FETCH_FAILED."""
    known = code if code in REFUSALS else Code.FETCH_FAILED
    words = REFUSALS[known]
    listed = " ".join(f"{number}: {name}." for number, name in enumerate(names, 1))
    return EngineError(words.message.format(text=text, names=listed).strip(), words.hint, known)


BOOT = "import sys; sys.path += sys.argv[1:]; from engine.fetch.ytdlp_child import main; main()"
WATCH_S = 0.1
MAX_LINE_BYTES = 32 * 1024
MAX_HEARD_BYTES = 1024 * 1024


@dataclass(slots=True)
class ChildMessage:
    """What the child has said so far; its word, so every field is made what it should be as it is read."""

    layers: tuple[str, ...] = ()
    version: str = ""
    title: str = ""
    duration_s: float | None = None
    extractor: str = ""
    url: str = ""
    is_found: bool = False
    is_finished: bool = False
    refusal: EngineError | None = None
    progress: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Rate:
    """Bytes over time, to tell a slow sender from one that has only paused."""

    window_s: float
    points: deque[tuple[float, int]] = field(default_factory=deque)

    def measure(self, now_s: float, n_bytes: int) -> float | None:
        """Mean rate over the last window; None until one has passed."""
        self.points.append((now_s, n_bytes))
        while len(self.points) > 2 and now_s - self.points[1][0] >= self.window_s:
            self.points.popleft()
        passed = now_s - self.points[0][0]
        return (n_bytes - self.points[0][1]) / passed if passed >= self.window_s else None


def run_job(job: FetchRequest, proxy: Proxy, limits: FetchLimits, on_step: OnStep) -> ChildMessage:
    """Run one child to its end and give what it said. Raises an EngineError for everything but success."""
    process = _start(job, proxy)
    told = ChildMessage()
    try:
        _watch(process, told, proxy, limits, Path(job.folder), on_step)
    finally:
        _end(process)
    if told.is_finished and told.refusal is None and proxy.is_serving and not proxy.is_over and not proxy.cut:
        return told
    raise _find_cause(told, proxy, process.returncode, limits)


def _start(job: FetchRequest, proxy: Proxy) -> subprocess.Popen[bytes]:
    """Start the child: our Python, nothing of our environment, of our files only the socket to the proxy."""
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
    proxy.child_end.close()  # only the child's copy is left: when it goes, the proxy knows
    return process


def _list_roots() -> list[str]:
    """Where our code and yt-dlp are, for an interpreter that looks nowhere else."""
    spec = importlib.util.find_spec("yt_dlp")
    if spec is None or spec.origin is None:
        raise Code.FETCH_UNAVAILABLE("yt-dlp is not installed.", "Install it with `pip install -e '.[cpu,app]'`.")
    assert engine.__file__ is not None
    return [str(Path(place).parents[1]) for place in (engine.__file__, spec.origin)]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the child with its whole group, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _watch(
    process: subprocess.Popen[bytes],
    told: ChildMessage,
    proxy: Proxy,
    limits: FetchLimits,
    folder: Path,
    on_step: OnStep,
) -> None:
    """Hear the child out, and look after time, size and rate meanwhile. Raises what they forbid."""
    begun_s, rate = time.monotonic(), Rate(limits.rate_window_s)
    for message in _hear(process):
        if message is not None:
            _take_down(message, told)
            continue
        passed_s = time.monotonic() - begun_s
        if passed_s > limits.wall_s or (not told.is_found and passed_s > limits.describe_s):
            raise Code.FETCH_TIMEOUT(
                f"The site took longer than {passed_s:.0f} s.", "Try again later, or upload the file."
            )
        if proxy.is_over or measure_folder(folder) > limits.max_bytes:
            raise _name_too_large(limits)
        if told.is_found:
            if told.progress[0]:
                on_step("fetch", *told.progress)
            mean = rate.measure(passed_s, proxy.received_bytes)
            if mean is not None and mean < limits.min_bytes_per_s:
                raise Code.FETCH_TOO_SLOW(
                    f"The site sends {mean:.0f} bytes a second.", "Try again later, or upload the file."
                )


def measure_folder(folder: Path) -> int:
    """Bytes of all files in a folder and below."""
    total = 0
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):  # gone meanwhile
            is_folder = entry.is_dir(follow_symlinks=False)
            total += measure_folder(Path(entry.path)) if is_folder else entry.stat(follow_symlinks=False).st_size
    return total


def _hear(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any] | None]:
    """Messages of the child as they come, and None before each look for more, ten times a second at least."""
    assert process.stdout is not None
    heard, rest = 0, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            yield None
            if not selector.select(WATCH_S):
                continue
            data = os.read(process.stdout.fileno(), MAX_LINE_BYTES)
            heard += len(data)
            if not data:
                return
            if heard > MAX_HEARD_BYTES or len(rest) > MAX_LINE_BYTES:
                raise Code.FETCH_FAILED(
                    "The download said more than it has to say.", "Download it yourself and upload it."
                )
            *lines, rest = (rest + data).split(b"\n")
            yield from (message for line in lines if isinstance(message := _parse(line), dict))


def _parse(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _take_down(message: dict[str, Any], told: ChildMessage) -> None:
    kind = message.get("kind")
    if kind == "begun":
        told.version = _read_text(message, "version")
        layers = message.get("layers")
        told.layers = tuple(str(layer)[:40] for layer in layers[:8]) if isinstance(layers, list) else ()
    elif kind == "found":
        told.is_found = True
        told.title, told.extractor = _read_text(message, "title"), _read_text(message, "extractor")
        told.url, duration_s = str(message.get("url", ""))[:4096], message.get("duration_s")
        told.duration_s = float(duration_s) if isinstance(duration_s, int | float) and 0 < duration_s < 1e9 else None
    elif kind == "progress":
        done, total = message.get("done"), message.get("total")
        told.progress = (done, total) if isinstance(done, int) and isinstance(total, int) else told.progress
    elif kind == "refused":
        names = message.get("names")
        listed = tuple(_read_line(name) for name in names[:10]) if isinstance(names, list) else ()
        told.refusal = explain(_read_text(message, "code"), _read_text(message, "text"), listed)
    elif kind == "finished":
        told.is_finished = True


def _read_text(message: dict[str, Any], name: str) -> str:
    return _read_line(message.get(name, ""))


def _read_line(value: object) -> str:
    return "".join(letter for letter in str(value) if letter.isprintable())[:300]


def _find_cause(told: ChildMessage, proxy: Proxy, returncode: int, limits: FetchLimits) -> EngineError:
    """Why there is no file: what the proxy refused goes before what the child made of it."""
    if proxy.is_over:
        return _name_too_large(limits)
    if proxy.refusals:
        return explain("ADDRESS_FORBIDDEN", proxy.refusals[0])
    if proxy.unanswered and told.refusal is not None and told.refusal.code == "FETCH_FAILED":
        return explain("SITE_UNREACHABLE", proxy.unanswered[0])
    if told.refusal is not None:
        return told.refusal
    if proxy.cut or not proxy.is_serving:
        return explain("FETCH_FAILED", "The connection broke off before the end.")
    if returncode == -signal.SIGXCPU:
        return Code.FETCH_TIMEOUT("Reading the site took too much computing.", "Download it yourself and upload it.")
    return Code.FETCH_FAILED(
        "The download broke off without a word.", "Try again, or download it yourself and upload it."
    )


def _name_too_large(limits: FetchLimits) -> EngineError:
    return Code.MEDIA_TOO_LARGE(
        f"The site sends more than {limits.max_bytes / 1e6:.0f} MB.", "Cut the part that matters, and upload that."
    )
