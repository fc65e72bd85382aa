"""Confine this process irrevocably before it reads untrusted bytes.

A worker (`confine_worker`) keeps memory, threads and its open files. Each of three layers suffices alone against the
network: RLIMIT_NOFILE 0 (no further file or socket), a seccomp filter that allows few system calls, and, where an
unprivileged user may create one, a network namespace without interfaces. Rlimits bound memory, processor time and
written files.

A download (`confine_fetch`) keeps its folder and the sockets it was handed. The layers that the system supports are
applied and reported: network namespace, Landlock, seccomp, and an audit hook in Python for systems without the others.
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
GRACE_S = 5  # between SIGXCPU, sent when the processor time is used up, and SIGKILL


class Guard(StrEnum):
    """One layer of the confinement of a worker."""

    LIMITS = "limits"  # memory, processor time, no file written, none opened
    NO_NETWORK = "network namespace"
    FEW_CALLS = "system calls"


def leave_network() -> bool:
    """Move this process into namespaces without network; False where refused. The process must have one thread."""
    if platform.system() != "Linux":
        return False
    spaces = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS
    return bool(ctypes.CDLL(None, use_errno=True).unshare(spaces) == 0)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; on other systems than Linux the closed link ends it."""
    if platform.system() == "Linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call above
        os._exit(1)


def confine_worker(limits: MediaLimits) -> tuple[Guard, ...]:
    """Keep only memory, threads and the open files; return the layers in force."""
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CPU, limits.max_cpu_s, GRACE_S)
    if platform.system() == "Linux":  # other systems ignore or refuse it
        _limit(resource.RLIMIT_AS, limits.max_memory_bytes)
    _limit(resource.RLIMIT_NOFILE, 0)  # bounds new descriptors: open files stay open
    return (Guard.LIMITS, Guard.FEW_CALLS) if filter_calls() else (Guard.LIMITS,)


def _limit(resource_kind: int, amount: int, grace: int = 0) -> None:
    """Lower a limit; keep it where it is lower already."""
    _, allowed = resource.getrlimit(resource_kind)
    if allowed == resource.RLIM_INFINITY:
        allowed = amount + grace
    resource.setrlimit(resource_kind, (min(amount, allowed), min(amount + grace, allowed)))


REFUSED_EVENTS = frozenset(
    "socket.connect socket.bind socket.getaddrinfo socket.gethostbyname socket.gethostbyaddr socket.getnameinfo "
    "subprocess.Popen os.exec os.posix_spawn os.spawn os.fork os.forkpty os.system os.startfile pty.spawn".split()
)
SENDING_EVENTS = ("socket.sendto", "socket.sendmsg")  # harmless on a connected socket, which needs no address


class Layer(StrEnum):
    """One layer of the confinement of a download."""

    NAMESPACE = "network namespace"  # without interfaces
    SECCOMP = "seccomp"  # no new socket, no program
    LANDLOCK = "landlock"  # writes only in its own folder
    GUARD = "guard"  # Python audit hook: no connections, no programs


def confine_fetch(folder: Path, memory_bytes: int, cpu_s: int, file_bytes: int) -> tuple[Layer, ...]:
    """Confine this process to `folder` and its open files; return the layers in force.

    Call it before third-party imports, and with one thread: the kernel refuses a namespace to more.
    """
    die_with_parent(os.getppid())
    _limit_resources(memory_bytes, cpu_s, file_bytes)
    layers = [(Layer.NAMESPACE, leave_network()), (Layer.LANDLOCK, allow_writing_in(folder))]
    layers += [(Layer.SECCOMP, refuse_connections())]
    sys.addaudithook(_guard)
    return (*(layer for layer, is_on in layers if is_on), Layer.GUARD)


def _limit_resources(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    limits = ((resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_FSIZE, file_bytes), (resource.RLIMIT_CORE, 0))
    for kind, limit in limits:
        resource.setrlimit(kind, (limit, limit))
    with suppress(ValueError, OSError):  # macOS defines it but does not support it
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event in REFUSED_EVENTS or (event in SENDING_EVENTS and arguments[1] is not None):
        raise PermissionError(f"{event} is refused in process {os.getpid()}: everything goes through the proxy")
