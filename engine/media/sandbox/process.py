"""Engine side of a confined process: start one per pass over a file, exchange messages, and report how it ended."""

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import engine
from engine.errors import Code, EngineError
from engine.media.sandbox.ipc import STATUS, InvalidMessage, Link, Message
from engine.settings import MediaLimits

END_S = 5.0  # for the fork server to report how a process ended
START_S = 60.0  # for the fork server to load its libraries, on a busy machine
MAX_TEXT = 400  # characters of an error text
EXPORT_AGAIN = "Export the video again, as H.264 in MP4 at 1080p or smaller, and try that."
_STARTING = threading.Lock()


class WorkerProcess:
    """A confined process that does one job on one file; leaving the `with` block kills it."""

    def __init__(
        self,
        worker: str,
        path: Path,
        kind: str,
        note: dict[str, Any],
        data: bytes,
        limits: MediaLimits,
        extra: int = -1,
    ):
        """Start a job of the worker module `worker`; `extra` is a second descriptor for it.

        Raises OSError where the file cannot be opened, and EngineError where no process can be started.
        """
        channel, its_channel = socket.socketpair()
        self._leash, its_leash = socket.socketpair()
        self._link, self._limits = Link(channel), limits
        channel.settimeout(limits.max_stall_s)
        self._leash.settimeout(END_S)
        with path.open("rb") as file, its_channel, its_leash:
            extras = [extra] if extra >= 0 else []
            _launch(worker, [its_channel.fileno(), its_leash.fileno(), file.fileno(), *extras])
        self.send(kind, {**note, "limits": asdict(limits)}, data)

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.close()
        self._leash.close()

    def send(self, kind: str, note: dict[str, Any] | None = None, data: bytes = b"") -> None:
        """Send a message; if the process has ended, the next `receive` raises the error."""
        with contextlib.suppress(OSError):
            self._link.send(kind, note, data)

    def receive(self) -> Message:
        """Wait for the next message.

        Raises the error that the job sent, DECODER_FAILED where the process crashed, stalled or sent an invalid
        message, and DECODING_TOO_LARGE where it exceeded its memory or processor time.
        """
        while True:
            try:
                message = self._link.receive()
            except TimeoutError as cause:
                raise Code.DECODER_FAILED(
                    f"Decoding made no progress for {self._limits.max_stall_s:.0f} seconds and was stopped.",
                    EXPORT_AGAIN,
                ) from cause
            except InvalidMessage as cause:
                raise invalid_message(str(cause)) from cause
            except OSError:
                message = None
            if message is None:
                raise self._make_end_error()
            if message.kind == "error":
                raise _read_error(message.note, self._limits)
            if message.kind != "pulse":
                return message

    def _make_end_error(self) -> EngineError:
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
        return Code.DECODER_FAILED(f"The decoder {end} on this file; nothing else was harmed.", EXPORT_AGAIN)


class ForkServerProcess:
    """The fork server of one worker module."""

    def __init__(self, worker: str) -> None:
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
                [sys.executable, "-P", "-m", "engine.media.sandbox.fork_server", str(its_control.fileno()), worker],
                env=_make_environment(),
                pass_fds=[its_control.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # the engine handles an interrupt from the keyboard
            )
        self._control.settimeout(START_S)
        try:
            ready = Link(self._control).receive()
        except OSError:
            ready = None
        if ready is None:
            raise EngineError("The process that decodes files cannot be started.", "See its messages on the console.")
        self.has_network = bool(ready.note["network"])  # False: its network namespace is empty
        atexit.register(self.close)

    def launch(self, descriptors: list[int]) -> None:
        """Fork a process that keeps these descriptors. Raises OSError when the server has ended."""
        with self._sending:
            socket.send_fds(self._control, [b"+"], descriptors)

    def close(self) -> None:
        """End the server and all processes forked from it."""
        self._control.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()


_SERVERS: dict[tuple[int, str], ForkServerProcess] = {}  # by process id and worker: a fork must not use its parent's


def start_server(worker: str) -> ForkServerProcess:
    """Return the fork server of this process for a worker module, started at the first call. Raises EngineError."""
    key = (os.getpid(), worker)
    with _STARTING:
        if key not in _SERVERS:
            _SERVERS[key] = ForkServerProcess(worker)
        return _SERVERS[key]


def invalid_message(reason: str) -> EngineError:
    """Make the error for an invalid message."""
    return Code.DECODER_FAILED(f"The decoder sent an invalid message: {reason}.", EXPORT_AGAIN)


def _launch(worker: str, descriptors: list[int]) -> None:
    server = start_server(worker)
    try:
        server.launch(descriptors)
    except OSError:  # it was killed: try once more with a new one
        with _STARTING:
            if _SERVERS.get((os.getpid(), worker)) is server:
                server.close()
                del _SERVERS[os.getpid(), worker]
        start_server(worker).launch(descriptors)


def _make_environment() -> dict[str, str]:
    """Pass on nothing but the library paths: other variables may hold secrets."""
    kept = {
        name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ
    }
    root = str(Path(str(engine.__file__)).parents[1])
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # only a process of one thread may fork
    return {**kept, **single, "PYTHONPATH": root, "MALLOC_ARENA_MAX": "2", "PYTHONDONTWRITEBYTECODE": "1"}


def _read_error(note: dict[str, Any], limits: MediaLimits) -> EngineError:
    """Make the error that the job names if its code is known, with texts of bounded length."""
    code, message, hint = (str(note.get(key, ""))[:MAX_TEXT] for key in ("code", "message", "hint"))
    if code == "MemoryError":
        return Code.DECODING_TOO_LARGE(
            f"Decoding needs more than the {limits.max_memory_bytes / 2**20:.0f} MB of memory allowed.",
            "Export the video at 1080p or smaller.",
        )
    if code in {*Code, EngineError.code}:
        return EngineError(message, hint, code)
    return Code.DECODER_FAILED(f"The decoder failed on this file ({message}).", EXPORT_AGAIN)
