"""Crashes, stalls and abandoned processes stay without effect; messages are validated."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from engine.errors import Code, EngineError
from engine.media.clip import open_clip
from engine.media.sandbox import process as module
from engine.media.sandbox.ipc import HEAD, Link
from engine.media.sandbox.process import WorkerProcess, start_server
from engine.media.scan import WORKER_MODULE
from engine.settings import MediaLimits
from tests.clips import Film, write_clip
from tests.raising import raises

ORPHANS = """
import os, sys, time
from pathlib import Path
import psutil
from engine.media.clip import open_clip
frames = open_clip(Path(sys.argv[1])).read_frames()
next(frames)
print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "film.mp4", Film(duration_s=4.0))


@pytest.fixture
def replace_messages(film: Path) -> Callable[[bytes], WorkerProcess]:
    """Start a process and replace its messages by bytes of the test."""

    def speak(data: bytes) -> WorkerProcess:
        one = WorkerProcess(WORKER_MODULE, film, "probe", {}, b"", MediaLimits())
        ours, theirs = socket.socketpair()
        theirs.sendall(data)
        theirs.close()
        one._link = Link(ours)
        return one

    return speak


def find_decoders() -> list[psutil.Process]:
    return psutil.Process(start_server(WORKER_MODULE)._process.pid).children()


def wait_until(is_so: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not is_so() and time.monotonic() < end:
        time.sleep(0.02)
    return is_so()


def find_decoder() -> psutil.Process:
    """The one decoder of a pass that goes on; those of passes before may take a moment to go."""
    assert wait_until(lambda: len(find_decoders()) == 1)
    return find_decoders()[0]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_crash_is_an_error_of_the_files(film: Path, number: signal.Signals) -> None:
    frames = open_clip(film).read_frames()
    next(frames)
    process = find_decoder()
    process.send_signal(number)
    with raises(Code.DECODER_FAILED, match=f"crashed \\({number.name}\\)"):
        list(frames)
    assert open_clip(film).n_frames == 100  # the next one is served


def test_used_up_processor_time_is_reported(film: Path) -> None:
    frames = open_clip(film).read_frames()
    next(frames)
    find_decoder().send_signal(signal.SIGXCPU)
    with raises(Code.DECODING_TOO_LARGE, match="1800 seconds of processor time"):
        list(frames)


def test_hanging_decoder_ends_at_timeout(film: Path) -> None:
    frames = open_clip(film, MediaLimits(max_stall_s=5.0)).read_frames()  # a decoder that works answers sooner
    next(frames)
    process = find_decoder()
    process.suspend()
    with raises(Code.DECODER_FAILED, match="no progress"):
        list(frames)
    assert wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def test_frames_left_unread_end_the_process(film: Path) -> None:
    frames = open_clip(film).read_frames()
    next(frames)
    assert find_decoder().is_running()
    frames.close()
    assert wait_until(lambda: not find_decoders())


def test_each_pass_has_a_process_of_its_own(film: Path) -> None:
    one, other = open_clip(film).read_frames(), open_clip(film).read_frames()
    next(one), next(other)
    assert wait_until(lambda: len(find_decoders()) == 2)
    one.close(), other.close()
    assert wait_until(lambda: not find_decoders())


def test_a_killed_server_is_replaced(film: Path) -> None:
    server = start_server(WORKER_MODULE)
    server._process.kill()
    server._process.wait()
    assert open_clip(film).n_frames == 100
    assert start_server(WORKER_MODULE) is not server


def test_killed_engine_leaves_no_process_behind(film: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ORPHANS, str(film)], capture_output=True, text=True)
    numbers = [int(word) for word in done.stdout.split()]
    assert done.returncode == -signal.SIGKILL and len(numbers) == 2
    assert wait_until(lambda: not any(psutil.pid_exists(number) for number in numbers))


def test_a_decoder_sees_no_environment_of_the_engines(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYSPEAK_SECRET", "hidden")
    assert not any("SECRET" in name or "WAYSPEAK" in name for name in module._make_environment())


def write(kind: str, **note: object) -> bytes:
    ours, theirs = socket.socketpair()
    Link(ours).send(kind, dict(note))
    return theirs.recv(2**16)


@pytest.mark.parametrize(
    "data",
    [
        HEAD.pack(2**31, 0),
        HEAD.pack(3, 2**31),
        HEAD.pack(3, 0) + b"abc",
        HEAD.pack(2, 0) + b"[]",
        HEAD.pack(4, 0) + b"[1,2",
        HEAD.pack(6, 0) + b"[1,{}]",
        HEAD.pack(4000, 0) + b"[" * 4000,
    ],
)
def test_garbage_is_no_message(replace_messages: Callable[[bytes], WorkerProcess], data: bytes) -> None:
    with replace_messages(data) as one, raises(Code.DECODER_FAILED, match="invalid message"):
        one.receive()


def test_engine_errors_are_raised_unchanged(replace_messages: Callable[[bytes], WorkerProcess]) -> None:
    with replace_messages(write("error", code="CODEC_REFUSED", message="found", hint="do")) as one:
        with raises(Code.CODEC_REFUSED) as caught:
            one.receive()
        assert (caught.value.message, caught.value.hint) == ("found", "do")


@pytest.mark.parametrize("code", ["SystemExit", "MemoryFault", "__builtins__", "", "annotations", "__class__"])
def test_unknown_error_names_are_not_resolved(replace_messages: Callable[[bytes], WorkerProcess], code: str) -> None:
    with replace_messages(write("error", code=code, message="x" * 5000)) as one, pytest.raises(EngineError) as caught:
        one.receive()
    assert caught.value.code == Code.DECODER_FAILED and len(caught.value.message) < 500


def test_lack_of_memory_is_reported(replace_messages: Callable[[bytes], WorkerProcess]) -> None:
    with replace_messages(write("error", code="MemoryError")) as one, raises(Code.DECODING_TOO_LARGE, match="1536 MB"):
        one.receive()


@pytest.mark.parametrize("kind", ["sound", "scan", "frame", "end", "other"])
def test_nonsense_instead_of_a_scan_is_an_error(
    film: Path, replace_messages: Callable[[bytes], WorkerProcess], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("engine.media.clip.WorkerProcess", lambda *_: replace_messages(write(kind, unit_s="x")))
    with raises(Code.DECODER_FAILED, match="invalid message"):
        open_clip(film)


@pytest.mark.parametrize(
    "data",
    [write("sound"), write("frame", is_new=False), write("end", reasons=[]), write("frame", is_new=True) * 101],
)
def test_nonsense_instead_of_pictures_is_an_error(
    film: Path, replace_messages: Callable[[bytes], WorkerProcess], monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    clip = open_clip(film)
    monkeypatch.setattr("engine.media.frames.WorkerProcess", lambda *_: replace_messages(data))
    with raises(Code.DECODER_FAILED, match="invalid message"):
        list(clip.read_frames())
