"""Fork server of confined processes: one thread, no file open, the libraries of a worker module already loaded.

A fork takes milliseconds, a fresh interpreter a third of a second, so every pass over a file runs in a new process that
has read no other file. Usage: `python -m engine.media.sandbox.fork_server FD MODULE`, where FD is a Unix socket and
MODULE has a `WORKER` (`engine.media.sandbox.job.Worker`). Each request is one byte with three or four descriptors: the
link of the confined process, its leash, the file to read, and optionally shared memory or a second file. The server
keeps the leash: when the engine closes its end, the process is killed; when the process ends, its status is sent over
the leash.
"""

import contextlib
import importlib
import os
import selectors
import signal
import socket
import sys
from types import FrameType

from engine.media.sandbox.confine import die_with_parent, leave_network
from engine.media.sandbox.ipc import STATUS, Link
from engine.media.sandbox.job import Worker, run_job

MAX_DESCRIPTORS = 4
CHECK_INTERVAL_S = 5.0  # between checks that the engine lives, in case another process has inherited its socket


class ForkServer:
    """Forks a confined process per request, kills it on demand, and reports its exit status."""

    def __init__(self, control: socket.socket, worker: Worker):
        self._control, self._worker, self._engine = control, worker, os.getppid()
        self._leashes: dict[int, socket.socket] = {}  # by process id
        self._wakeup, self._wakeup_sender = socket.socketpair()
        self._wakeup.setblocking(False)
        self._wakeup_sender.setblocking(False)
        self._selector = selectors.DefaultSelector()
        for channel in (control, self._wakeup):
            self._selector.register(channel, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until the engine closes its end or has ended."""
        signal.signal(signal.SIGCHLD, _ignore_signal)
        signal.set_wakeup_fd(self._wakeup_sender.fileno(), warn_on_full_buffer=False)
        while os.getppid() == self._engine:
            for key, _ in self._selector.select(CHECK_INTERVAL_S):
                if key.fileobj is self._control:
                    if not self._fork():
                        signal.set_wakeup_fd(-1)
                        return
                elif key.fileobj is self._wakeup:
                    self._reap()
                elif key.data in self._leashes:
                    os.kill(key.data, signal.SIGKILL)  # not reaped yet, so the process id is not reused
                    self._selector.unregister(key.fileobj)

    def _fork(self) -> bool:
        """Start one confined process; return False when the engine has closed its end."""
        request, descriptors, _, _ = socket.recv_fds(self._control, 1, MAX_DESCRIPTORS)
        if not request:
            return False
        link, leash, *files = descriptors
        parent, process = os.getpid(), os.fork()
        if process == 0:
            _run_child(parent, self._worker, link, files)
        for descriptor in (link, *files):
            os.close(descriptor)
        self._leashes[process] = socket.socket(fileno=leash)
        self._selector.register(self._leashes[process], selectors.EVENT_READ, process)
        return True

    def _reap(self) -> None:
        """Reap every ended process and send its exit status over its leash."""
        with contextlib.suppress(BlockingIOError):
            self._wakeup.recv(4096)
        while self._leashes:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            leash = self._leashes.pop(process)
            with contextlib.suppress(KeyError):  # unregistered when it was killed
                self._selector.unregister(leash)
            with leash, contextlib.suppress(OSError):
                leash.send(STATUS.pack(os.waitstatus_to_exitcode(status)))


def _ignore_signal(signal_number: int, frame: FrameType | None) -> None:
    """Do nothing: only a signal with a Python handler makes the interpreter write to the wakeup descriptor."""


def _run_child(parent: int, worker: Worker, link: int, files: list[int]) -> None:
    """Close all descriptors but those of the request, run the job, and exit without output."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent(parent)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        _close_all_but({0, 1, 2, link, *files})
        run_job(worker, socket.socket(fileno=link), *files)
        code = 0
    finally:
        os._exit(code)


def _close_all_but(kept: set[int]) -> None:
    last = max(kept)
    for number in range(last):
        if number not in kept:
            with contextlib.suppress(OSError):
                os.close(number)
    os.closerange(last + 1, os.sysconf("SC_OPEN_MAX"))


def main() -> None:
    """Serve the jobs of the module on the descriptor, both named on the command line."""
    control = socket.socket(fileno=int(sys.argv[1]))
    worker: Worker = importlib.import_module(sys.argv[2]).WORKER
    worker.load_libraries()
    Link(control).send("ready", {"network": not leave_network()})
    ForkServer(control, worker).serve()


if __name__ == "__main__":
    main()
