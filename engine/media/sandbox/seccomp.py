"""The writer of seccomp filters: a list of rules becomes classic BPF, which this process then puts on itself for good.

Linux, `Documentation/userspace-api/seccomp_filter.rst`. Needs no privilege, stays for the life of the process and all
it starts, and cannot be taken off. A filter sees the number of a call and its arguments, not what they point at.

The system calls that are left to a process which decodes: memory, threads, and what is already open.

What is not named here is refused; of these refusals most matter: opening, creating and connecting anything, starting
programs, and touching other processes.

What a process that downloads may not do: make or connect a socket, start a program, touch another process.

What is left to it for the network are the connected sockets it is handed, and pairs of them it makes itself.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, AND, RETURN = 0x20, 0x54, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K
EQUAL, AT_LEAST, ANY_BIT = 0x15, 0x35, 0x45  # BPF_JMP|JEQ|K, JGE, JSET
NUMBER_AT, ARCH_AT, FIRST_ARGUMENT_AT = 0, 4, 16  # of struct seccomp_data, little-endian
X32 = 0x40000000  # the numbers of x86-64's other interface begin here
ALL_BITS = 0xFFFFFFFF

ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
REFUSE = FAIL | errno.EPERM  # so that a library's idle attempt is no crash
UNKNOWN = FAIL | errno.ENOSYS  # as on an older system: the C library then tries another call

Call = tuple[int | None, int | None]  # its numbers on x86-64 and on 64-bit ARM; None: there is none


@dataclass(frozen=True, slots=True)
class Check:
    """A condition on the lower half of one argument."""

    argument: int  # from 0
    compare: int  # EQUAL, AT_LEAST or ANY_BIT
    value: int
    bits: int = ALL_BITS  # of the argument that count


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of a call: `answer` where all checks hold, else it is refused."""

    call: Call
    answer: int
    checks: tuple[Check, ...] = ()


def install_filter(rules: Sequence[Rule], otherwise: int) -> bool:
    """Put a filter on this process for good; False where there is none for this system, or it is refused."""
    arch = platform.machine()
    if platform.system() != "Linux" or arch not in AUDIT_ARCH:
        return False
    program = write_filter(arch, rules, otherwise)
    code = ctypes.create_string_buffer(program)
    head = struct.pack("HP", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
    libc = ctypes.CDLL(None, use_errno=True)
    return (
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        and libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(head), 0, 0) == 0
    )


def write_filter(arch: str, rules: Sequence[Rule], otherwise: int) -> bytes:
    """Instructions of 8 bytes each; the first rule of a call counts, and every rule stands alone, so no jump is far."""
    lines = [_write(LOAD, ARCH_AT), _write(EQUAL, AUDIT_ARCH[arch], 1, 0), _write(RETURN, KILL)]
    lines += [_write(LOAD, NUMBER_AT), _write(AT_LEAST, X32, 0, 1), _write(RETURN, REFUSE)]
    column = list(AUDIT_ARCH).index(arch)
    for rule in rules:
        if (number := rule.call[column]) is not None:
            body = _write_body(rule)
            lines += [_write(EQUAL, number, 0, len(body)), *body]
    return b"".join([*lines, _write(RETURN, otherwise)])


def _write_body(rule: Rule) -> list[bytes]:
    """Every check that fails leads to the refusal at the end."""
    if not rule.checks:
        return [_write(RETURN, rule.answer)]
    body = [_write(RETURN, rule.answer), _write(RETURN, REFUSE)]
    for check in reversed(rule.checks):
        test = [_write(LOAD, FIRST_ARGUMENT_AT + 8 * check.argument)]
        test += [_write(AND, check.bits)] if check.bits != ALL_BITS else []
        body = [*test, _write(check.compare, check.value, 0, len(body) - 1), *body]
    return body


def _write(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction: after a comparison, how many of the next ones are left out."""
    return struct.pack("HBBI", code, if_true, if_false, value)  # struct sock_filter


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


REFUSED: tuple[Call, ...] = (
    (41, 198),  # socket
    (42, 203),  # connect
    (49, 200),  # bind
    (50, 201),  # listen
    (43, 202),  # accept
    (288, 242),  # accept4
    (59, 221),  # execve
    (322, 281),  # execveat
    (57, None),  # fork
    (58, None),  # vfork
    (101, 117),  # ptrace
    (310, 270),  # process_vm_readv
    (311, 271),  # process_vm_writev
    (425, 425),  # io_uring_setup: makes and connects sockets past this filter
    (426, 426),  # io_uring_enter
    (427, 427),  # io_uring_register
    (272, 97),  # unshare
    (308, 268),  # setns
    (165, 40),  # mount
    (166, 39),  # umount2
    (155, 41),  # pivot_root
    (161, 51),  # chroot
    (434, 434),  # pidfd_open
    (438, 438),  # pidfd_getfd
    (424, 424),  # pidfd_send_signal
    (62, 129),  # kill
    (200, 130),  # tkill
    (321, 280),  # bpf
    (250, 219),  # keyctl
    (248, 217),  # add_key
    (249, 218),  # request_key
    (323, 282),  # userfaultfd
    (298, 241),  # perf_event_open
    (304, 265),  # open_by_handle_at
    (428, 428),  # open_tree
    (429, 429),  # move_mount
    (430, 430),  # fsopen
    (133, None),  # mknod
    (259, 33),  # mknodat
    (88, None),  # symlink
    (266, 36),  # symlinkat
    (86, None),  # link
    (265, 37),  # linkat
)
SOCKETPAIR: Call = (53, 199)
KIND_BITS = 0xF  # of a socket's type; the others say how it is opened
RULES = (
    *(Rule(call, REFUSE) for call in REFUSED),
    *THREADS_ALONE,
    # A datagram of a pair could be sent to any socket that has a name in the file system; a stream cannot.
    Rule(SOCKETPAIR, ALLOW, (Check(0, EQUAL, socket.AF_UNIX), Check(1, EQUAL, socket.SOCK_STREAM, KIND_BITS))),
)


def refuse_connections() -> bool:
    """Put the filter on this process; False where there is none for this system or machine."""
    return install_filter(RULES, ALLOW)
