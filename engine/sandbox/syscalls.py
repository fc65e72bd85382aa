"""The system calls that are left to a process which decodes: memory, threads, and what is already open.

What is not named here is refused; of these refusals most matter: opening, creating and connecting anything, starting
programs, and touching other processes.
"""

import os

from engine.sandbox.filters import ALLOW, ANY_BIT, EQUAL, REFUSE, UNKNOWN, Call, Check, Rule, install_filter

PLAIN_CALLS: dict[str, Call] = {  # name: (x86-64, arm64)
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "newfstatat": (262, 79),  # what newer C libraries call for fstat
    "lseek": (8, 62),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "recvfrom": (45, 207),
    "sendto": (44, 206),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "membarrier": (324, 283),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
CLONE: Call = (56, 220)
CLONE3: Call = (435, 435)  # its flags lie in memory, where a filter cannot look; the C library goes back to `clone`
TGKILL: Call = (234, 131)
PRCTL: Call = (157, 167)
CLONE_THREAD = 0x10000
PR_SET_NAME = 15
THREADS_ALONE = (Rule(CLONE3, UNKNOWN), Rule(CLONE, ALLOW, (Check(0, ANY_BIT, CLONE_THREAD),)))


def filter_calls() -> bool:
    """Leave this process, for good, no other call; False where the system has no such filter."""
    return install_filter(list_rules(os.getpid()), REFUSE)


def list_rules(process: int) -> list[Rule]:
    """What is left to a process of this number."""
    return [
        *(Rule(numbers, ALLOW) for numbers in PLAIN_CALLS.values()),
        *THREADS_ALONE,
        Rule(TGKILL, ALLOW, (Check(0, EQUAL, process),)),  # abort() of its own
        Rule(PRCTL, ALLOW, (Check(0, EQUAL, PR_SET_NAME),)),  # of a thread
    ]
