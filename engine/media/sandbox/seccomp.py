"""Seccomp filters: compile rules to classic BPF and install them on this process.

Source: Linux, `Documentation/userspace-api/seccomp_filter.rst`. A filter needs no privilege, is inherited by all
children and cannot be removed. It sees the number of a call and its arguments, not the memory they point to.

Two filters. A worker has an allow-list (`list_rules`): memory, threads, and files already open; it cannot open, create
or connect anything, start programs, or affect other processes. A download has a deny-list (`RULES`): it cannot create
or connect sockets, start programs, or affect other processes; it may use the connected sockets it was handed, and
stream socket pairs of its own.
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
X32 = 0x40000000  # numbers of the x32 interface of x86-64 start here
ALL_BITS = 0xFFFFFFFF

ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
REFUSE = FAIL | errno.EPERM  # an error, not a kill: libraries try some of these calls needlessly
UNKNOWN = FAIL | errno.ENOSYS  # as on an older kernel: the C library then tries another call

Call = tuple[int | None, int | None]  # number on x86-64 and on 64-bit ARM; None: does not exist


@dataclass(frozen=True, slots=True)
class Check:
    """A condition on the lower half of one argument."""

    argument: int  # from 0
    compare: int  # EQUAL, AT_LEAST or ANY_BIT
    value: int
    bits: int = ALL_BITS  # of the argument that count


@dataclass(frozen=True, slots=True)
class Rule:
    """Return `answer` for a call where all checks hold, else refuse it."""

    call: Call
    answer: int
    checks: tuple[Check, ...] = ()


def install_filter(rules: Sequence[Rule], otherwise: int) -> bool:
    """Install a filter on this process; False where the system does not support it or refuses."""
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
    """Compile to instructions of 8 bytes; the first rule of a call applies. Jumps stay within a rule, hence short."""
    lines = [_write(LOAD, ARCH_AT), _write(EQUAL, AUDIT_ARCH[arch], 1, 0), _write(RETURN, KILL)]
    lines += [_write(LOAD, NUMBER_AT), _write(AT_LEAST, X32, 0, 1), _write(RETURN, REFUSE)]
    column = list(AUDIT_ARCH).index(arch)
    for rule in rules:
        if (number := rule.call[column]) is not None:
            body = _write_body(rule)
            lines += [_write(EQUAL, number, 0, len(body)), *body]
    return b"".join([*lines, _write(RETURN, otherwise)])


def _write_body(rule: Rule) -> list[bytes]:
    """Compile one rule: each failed check jumps to the refusal at its end."""
    if not rule.checks:
        return [_write(RETURN, rule.answer)]
    body = [_write(RETURN, rule.answer), _write(RETURN, REFUSE)]
    for check in reversed(rule.checks):
        test = [_write(LOAD, FIRST_ARGUMENT_AT + 8 * check.argument)]
        test += [_write(AND, check.bits)] if check.bits != ALL_BITS else []
        body = [*test, _write(check.compare, check.value, 0, len(body) - 1), *body]
    return body


def _write(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Encode one instruction; after a comparison `if_true` or `if_false` instructions are skipped."""
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
CLONE3: Call = (435, 435)  # its flags are in memory, which a filter cannot read; the C library falls back to `clone`
TGKILL: Call = (234, 131)
PRCTL: Call = (157, 167)
CLONE_THREAD = 0x10000
PR_SET_NAME = 15
THREADS_ALONE = (Rule(CLONE3, UNKNOWN), Rule(CLONE, ALLOW, (Check(0, ANY_BIT, CLONE_THREAD),)))


def filter_calls() -> bool:
    """Install the allow-list of a worker; False where the system does not support it."""
    return install_filter(list_rules(os.getpid()), REFUSE)


def list_rules(process: int) -> list[Rule]:
    """List the calls allowed to the worker with this process id."""
    return [
        *(Rule(numbers, ALLOW) for numbers in PLAIN_CALLS.values()),
        *THREADS_ALONE,
        Rule(TGKILL, ALLOW, (Check(0, EQUAL, process),)),  # its own abort()
        Rule(PRCTL, ALLOW, (Check(0, EQUAL, PR_SET_NAME),)),  # thread names
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
KIND_BITS = 0xF  # of a socket type; the other bits are flags
RULES = (
    *(Rule(call, REFUSE) for call in REFUSED),
    *THREADS_ALONE,
    # A datagram socket could send to any socket named in the file system; a stream socket cannot.
    Rule(SOCKETPAIR, ALLOW, (Check(0, EQUAL, socket.AF_UNIX), Check(1, EQUAL, socket.SOCK_STREAM, KIND_BITS))),
)


def refuse_connections() -> bool:
    """Install the deny-list of a download; False where the system does not support it."""
    return install_filter(RULES, ALLOW)
