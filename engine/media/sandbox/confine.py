"""What a process gives up, for good, before it looks at the bytes of a stranger.

The layers, each of which would do alone against the network: no further file or socket can be opened (RLIMIT_NOFILE 0),
no system call is left that could (`syscalls`), and where the system lets an ordinary user make one, a network namespace
without any interface. Memory, processor time and written files are limited by rlimits.

What a child gives up before it runs yt-dlp: network, programs, memory, time, and every folder but its own.

Each layer is put on where the system has it, and the child tells which are in force. The kernel's are the strong ones;
the guard inside Python is there for systems that have none of them.
"""

import ctypes
import os
import platform
import resource
import signal
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from engine.media.sandbox.landlock import allow_writing_in
from engine.media.sandbox.seccomp import filter_calls, refuse_connections
from engine.settings import MediaLimits

PR_SET_PDEATHSIG = 1
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x8000000, 0x10000000, 0x40000000
GRACE_S = 5  # after the signal that says that the processor time is used up


class Guard(StrEnum):
    """What holds a decoding process."""

    LIMITS = "limits"  # memory, processor time, no written file, no newly opened one
    NO_NETWORK = "network namespace"
    FEW_CALLS = "system calls"


def leave_network() -> bool:
    """Move this process, which must have one thread, into namespaces without a network; False where that is refused."""
    if platform.system() != "Linux":
        return False
    spaces = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS
    return bool(ctypes.CDLL(None, use_errno=True).unshare(spaces) == 0)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends, however it does; elsewhere than on Linux the closed link has to do."""
    if platform.system() == "Linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it had ended before
        os._exit(1)


def confine_worker(limits: MediaLimits) -> tuple[Guard, ...]:
    """Give up everything but memory, threads and the files that are open; returns what holds."""
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CPU, limits.max_cpu_s, GRACE_S)
    if platform.system() == "Linux":  # elsewhere it is not honoured, or refused
        _limit(resource.RLIMIT_AS, limits.max_memory_bytes)
    _limit(resource.RLIMIT_NOFILE, 0)  # counts numbers, not files: what is open stays open
    return (Guard.LIMITS, Guard.FEW_CALLS) if filter_calls() else (Guard.LIMITS,)


def _limit(what: int, amount: int, grace: int = 0) -> None:
    """Lower a limit; one that is lower already stays."""
    _, allowed = resource.getrlimit(what)
    if allowed == resource.RLIM_INFINITY:
        allowed = amount + grace
    resource.setrlimit(what, (min(amount, allowed), min(amount + grace, allowed)))


REFUSED_EVENTS = frozenset(
    "socket.connect socket.bind socket.getaddrinfo socket.gethostbyname socket.gethostbyaddr socket.getnameinfo "
    "subprocess.Popen os.exec os.posix_spawn os.spawn os.fork os.forkpty os.system os.startfile pty.spawn".split()
)
SENDING_EVENTS = ("socket.sendto", "socket.sendmsg")  # harmless where they name no address


class Layer(StrEnum):
    """One thing that holds the child."""

    NAMESPACE = "network namespace"  # it has no interface to send by
    SECCOMP = "seccomp"  # it can make no socket and start no program
    LANDLOCK = "landlock"  # it can write in its own folder alone
    GUARD = "guard"  # Python refuses to connect and to start programs


def confine_fetch(folder: Path, memory_bytes: int, cpu_s: int, file_bytes: int) -> tuple[Layer, ...]:
    """Confine this process for good; what it gives are the layers in force.

    It keeps its open files, so what it may talk to is what it was handed. Call it before anything foreign is imported,
    and while there is one thread: a namespace is not given to more.
    """
    die_with_parent(os.getppid())
    _limit_resources(memory_bytes, cpu_s, file_bytes)
    layers = [(Layer.NAMESPACE, leave_network()), (Layer.LANDLOCK, allow_writing_in(folder))]
    layers += [(Layer.SECCOMP, refuse_connections())]
    sys.addaudithook(_guard)
    return (*(layer for layer, is_on in layers if is_on), Layer.GUARD)


def _limit_resources(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    wanted = ((resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_FSIZE, file_bytes), (resource.RLIMIT_CORE, 0))
    for kind, limit in wanted:
        resource.setrlimit(kind, (limit, limit))
    with suppress(ValueError, OSError):  # macOS has the name alone
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event in REFUSED_EVENTS or (event in SENDING_EVENTS and arguments[1] is not None):
        raise PermissionError(f"{event} is refused in process {os.getpid()}: everything goes through the proxy")
