"""The engine's end of decoding: a confined process per pass over a file, and the words for how it may end."""

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict
from functools import cache as remember
from pathlib import Path
from types import TracebackType
from typing import Any

import engine
from engine.errors import Code, EngineError
from engine.media.sandbox.ipc import STATUS, Garbled, Link, Message
from engine.settings import MediaLimits

END_S = 5.0  # for the server to tell how a decoder ended
START_S = 60.0  # for the server to load its libraries, on a busy machine
MAX_WORDS = 400  # of an error's text
ANOTHER = "Export the video again, as H.264 in MP4 at 1080p or smaller, and try that."
_STARTING = threading.Lock()


class Decoder:
    """A process that does one job on one file; leaving the `with` block ends it, whatever it is doing."""

    def __init__(self, path: Path, kind: str, note: dict[str, Any], data: bytes, limits: MediaLimits, other: int = -1):
        """Start it; `other` is what its job wants besides. Raises OSError for a file that cannot be opened."""
        channel, its_channel = socket.socketpair()
        self._leash, its_leash = socket.socketpair()
        self._link, self._limits = Link(channel), limits
        channel.settimeout(limits.max_stall_s)
        self._leash.settimeout(END_S)
        with path.open("rb") as media, its_channel, its_leash:
            more = [other] if other >= 0 else []
            _launch([its_channel.fileno(), its_leash.fileno(), media.fileno(), *more])
        self.send(kind, {**note, "limits": asdict(limits)}, data)

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.close()
        self._leash.close()

    def send(self, kind: str, note: dict[str, Any] | None = None, data: bytes = b"") -> None:
        """Tell it something; that it has ended is told by the next `receive`."""
        with contextlib.suppress(OSError):
            self._link.send(kind, note, data)

    def receive(self) -> Message:
        """Wait for what it says next; raises what it refuses the file for, and DECODER_FAILED where it fails itself."""
        while True:
            try:
                message = self._link.receive()
            except TimeoutError as cause:
                raise Code.DECODER_FAILED(
                    f"Decoding made no progress for {self._limits.max_stall_s:.0f} seconds and was stopped.", ANOTHER
                ) from cause
            except Garbled as cause:
                raise garbled(str(cause)) from cause
            except OSError:
                message = None
            if message is None:
                raise self._tell_end()
            if message.kind == "error":
                raise _read_error(message.note, self._limits)
            if message.kind != "pulse":
                return message

    def _tell_end(self) -> EngineError:
        try:
            status = self._leash.recv(STATUS.size)
        except OSError:
            status = b""
        code = STATUS.unpack(status)[0] if len(status) == STATUS.size else 0
        if code == -signal.SIGXCPU:
            return Code.DECODING_TOO_LARGE(
                f"Decoding took more than the {self._limits.max_cpu_s} seconds of processor time allowed.",
                "Cut the video into shorter parts, or export it at 720p.",
            )
        end = f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended early (exit status {code})"
        return Code.DECODER_FAILED(f"The decoder {end} on this file; nothing else was harmed.", ANOTHER)


class ForkServerProcess:
    """The process that decoders are forked from."""

    def __init__(self) -> None:
        """Start it and wait until it serves. Raises EngineError."""
        if not hasattr(os, "fork"):
            raise EngineError(
                "Files are decoded in confined processes, which this system cannot make.",
                "Use Linux or macOS; on Windows, the Linux subsystem (WSL).",
            )
        self._control, its_control = socket.socketpair()
        self._sending = threading.Lock()
        with its_control:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", "engine.media.sandbox.fork_server", str(its_control.fileno())],
                env=_write_environment(),
                pass_fds=[its_control.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt from the keyboard is the engine's to answer
            )
        self._control.settimeout(START_S)
        try:
            hello = Link(self._control).receive()
        except OSError:
            hello = None
        if hello is None:
            raise EngineError("The process that decodes files cannot be started.", "See what it said on the console.")
        self.has_network = bool(hello.note["network"])  # False: its network namespace is empty
        atexit.register(self.close)

    def launch(self, descriptors: list[int]) -> None:
        """Have a decoder forked that keeps these. Raises OSError when the server is gone."""
        with self._sending:
            socket.send_fds(self._control, [b"+"], descriptors)

    def close(self) -> None:
        """End it, and with it every decoder."""
        self._control.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()


@remember
def start_server(process: int) -> ForkServerProcess:
    """The server of this process, by its own number: one that was inherited over a fork serves somebody else."""
    return ForkServerProcess()


def garbled(what: str) -> EngineError:
    """The error for words that make no sense."""
    return Code.DECODER_FAILED(f"The decoder said what makes no sense: {what}.", ANOTHER)


def _launch(descriptors: list[int]) -> None:
    with _STARTING:
        server = start_server(os.getpid())
    try:
        server.launch(descriptors)
    except OSError:  # it was killed: once more, with a new one
        with _STARTING:
            if start_server(os.getpid()) is server:
                server.close()
                start_server.cache_clear()
            server = start_server(os.getpid())
        server.launch(descriptors)


def _write_environment() -> dict[str, str]:
    """Nothing of the engine's own, which may hold secrets, but where the libraries are."""
    kept = {
        name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ
    }
    root = str(Path(str(engine.__file__)).parents[1])
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # who forks has one thread
    return {**kept, **single, "PYTHONPATH": root, "MALLOC_ARENA_MAX": "2", "PYTHONDONTWRITEBYTECODE": "1"}


def _read_error(note: dict[str, Any], limits: MediaLimits) -> EngineError:
    """The error that the decoder names, if it is one of ours, in words of bounded length."""
    code, message, hint = (str(note.get(key, ""))[:MAX_WORDS] for key in ("code", "message", "hint"))
    if code == "MemoryError":
        return Code.DECODING_TOO_LARGE(
            f"Decoding needs more than the {limits.max_memory_bytes / 2**20:.0f} MB of memory allowed.",
            "Export the video at 1080p or smaller.",
        )
    if code in {*Code, EngineError.code}:
        return EngineError(message, hint, code)
    return Code.DECODER_FAILED(f"The decoder failed on this file ({message}).", ANOTHER)
