"""The process that decoders are forked from: one thread, no file open, what a decoder needs already loaded.

A fork of it costs milliseconds where a fresh interpreter costs a third of a second, so that every file, and every
pass over one, gets a process that no other file has touched. `python -m engine.media.sandbox.fork_server FD` with a
Unix socket as FD. Each request is one byte with three or four descriptors: the decoder's link, its leash, the media
file, and shared memory or a second file. The leash stays here: its other end closing kills the decoder, and the
decoder's end is told through it.
"""

import contextlib
import importlib
import os
import pkgutil
import selectors
import signal
import socket
import sys
from types import FrameType

import av

from engine.media.sandbox.confine import die_with_parent, leave_network
from engine.media.sandbox.ipc import STATUS, Link
from engine.media.worker import work

MAX_DESCRIPTORS = 4
LOOK_S = 5.0  # between looks whether the engine is still there, should its socket have been inherited by another


class ForkServer:
    """Forks decoders on request, and ends them."""

    def __init__(self, control: socket.socket):
        self._control, self._engine = control, os.getppid()
        self._leashes: dict[int, socket.socket] = {}  # process number: its leash
        self._wake, woken = socket.socketpair()
        self._wake.setblocking(False)
        woken.setblocking(False)
        self._woken = woken
        self._selector = selectors.DefaultSelector()
        for channel in (control, self._wake):
            self._selector.register(channel, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until the engine closes its end, or is gone."""
        signal.signal(signal.SIGCHLD, _be_woken)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        while os.getppid() == self._engine:
            for key, _ in self._selector.select(LOOK_S):
                if key.fileobj is self._control:
                    if not self._fork():
                        signal.set_wakeup_fd(-1)
                        return
                elif key.fileobj is self._wake:
                    self._bury()
                elif key.data in self._leashes:
                    os.kill(key.data, signal.SIGKILL)  # not buried yet, so the number is still its own
                    self._selector.unregister(key.fileobj)

    def _fork(self) -> bool:
        """Start one decoder; False when the engine has closed its end."""
        request, descriptors, _, _ = socket.recv_fds(self._control, 1, MAX_DESCRIPTORS)
        if not request:
            return False
        link, leash, *others = descriptors
        parent, process = os.getpid(), os.fork()
        if process == 0:
            _become_decoder(parent, link, others)
        for descriptor in (link, *others):
            os.close(descriptor)
        self._leashes[process] = socket.socket(fileno=leash)
        self._selector.register(self._leashes[process], selectors.EVENT_READ, process)
        return True

    def _bury(self) -> None:
        """Tell of every decoder that has ended, how it did."""
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096)
        while self._leashes:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            leash = self._leashes.pop(process)
            with contextlib.suppress(KeyError):  # let go of before
                self._selector.unregister(leash)
            with leash, contextlib.suppress(OSError):
                leash.send(STATUS.pack(os.waitstatus_to_exitcode(status)))


def _be_woken(signal_number: int, frame: FrameType | None) -> None:
    """Let the interpreter write to the wake-up socket; a signal without a handler of Python's does not."""


def _become_decoder(parent: int, link: int, others: list[int]) -> None:
    """Keep what the request brought, close the rest, work, and end without a word to anybody else."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent(parent)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nowhere, standard)
        _close_all_but({0, 1, 2, link, *others})
        work(socket.socket(fileno=link), *others)
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


def _load_libraries() -> None:
    """Import what PyAV and numpy import when it is first needed: a decoder can open no file to do so."""
    names = [module.name for module in pkgutil.walk_packages(av.__path__, "av.")]
    for name in [*names, "numpy.ma"]:
        importlib.import_module(name)


def main() -> None:
    """Serve on the descriptor that the command line names."""
    control = socket.socket(fileno=int(sys.argv[1]))
    _load_libraries()
    Link(control).send("ready", {"network": not leave_network()})
    ForkServer(control).serve()


if __name__ == "__main__":
    main()
