"""What a process gives up, for good, before it looks at the bytes of a stranger.

The layers, each of which would do alone against the network: no further file or socket can be opened (RLIMIT_NOFILE 0),
no system call is left that could (`syscalls`), and where the system lets an ordinary user make one, a network namespace
without any interface. Memory, processor time and written files are limited by rlimits.
"""

import ctypes
import os
import platform
import resource
import signal
from enum import StrEnum

from engine.sandbox.syscalls import filter_calls
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
