"""What a child gives up before it runs yt-dlp: network, programs, memory, time, and every folder but its own.

Each layer is put on where the system has it, and the child tells which are in force. The kernel's are the strong ones;
the guard inside Python is there for systems that have none of them.
"""

import os
import resource
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from engine.fetch.landlock import allow_writing_in
from engine.fetch.syscalls import refuse_connections
from engine.sandbox.confinement import die_with_parent, leave_network

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
