"""The system calls that are left to a process which decodes: memory, threads, and what is already open.

A seccomp filter (Linux, `Documentation/userspace-api/seccomp_filter.rst`): classic BPF over the number of the call and
its arguments. What is not named here fails with EPERM, so that a library's idle attempt is no crash; of these failures
most matter: opening, creating and connecting anything, starting programs, and touching other processes.
"""

import ctypes
import errno
import os
import platform
import struct

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PLAIN_CALLS = {  # name: (x86-64, arm64)
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
CLONE, TGKILL, PRCTL = (56, 220), (234, 131), (157, 167)
CLONE3 = 435  # its flags lie in memory, where a filter cannot look: ENOSYS sends the C library back to `clone`
CLONE_THREAD = 0x10000
PR_SET_NO_NEW_PRIVS, PR_SET_NAME, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 15, 22, 2
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JSET|K, BPF_RET|K
NUMBER_AT, ARCH_AT, FIRST_ARGUMENT_AT = 0, 4, 16  # of struct seccomp_data, little-endian
ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000


def filter_calls() -> bool:
    """Leave this process, for good, no other call; False where the system has no such filter."""
    arch = platform.machine()
    if platform.system() != "Linux" or arch not in AUDIT_ARCH:
        return False
    return install_filter(write_filter(arch, os.getpid()))


def install_filter(program: bytes) -> bool:
    """Put a filter on this process for good; False where the system refuses it."""
    code = ctypes.create_string_buffer(program)
    head = struct.pack("HP", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
    libc = ctypes.CDLL(None, use_errno=True)
    return (
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        and libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(head), 0, 0) == 0
    )


def write_filter(arch: str, process: int) -> bytes:
    """Instructions of 8 bytes each for a process of this number."""
    column = list(AUDIT_ARCH).index(arch)
    lines = [
        write_line(LOAD, ARCH_AT),
        write_line(EQUAL, AUDIT_ARCH[arch], 1, 0),
        write_line(RETURN, KILL),
        write_line(LOAD, NUMBER_AT),
    ]
    for numbers in PLAIN_CALLS.values():
        lines += [write_line(EQUAL, numbers[column], 0, 1), write_line(RETURN, ALLOW)]
    lines += [write_line(EQUAL, CLONE3, 0, 1), write_line(RETURN, FAIL | errno.ENOSYS)]
    lines += _allow_if(CLONE[column], ANY_BIT, CLONE_THREAD)  # a thread, no process
    lines += _allow_if(TGKILL[column], EQUAL, process)  # abort() of its own
    lines += _allow_if(PRCTL[column], EQUAL, PR_SET_NAME)  # of a thread
    return b"".join([*lines, write_line(RETURN, FAIL | errno.EPERM)])


def _allow_if(number: int, compare: int, value: int) -> list[bytes]:
    """Allow a call by its first argument's lower half."""
    return [
        write_line(EQUAL, number, 0, 4),
        write_line(LOAD, FIRST_ARGUMENT_AT),
        write_line(compare, value, 0, 1),
        write_line(RETURN, ALLOW),
        write_line(RETURN, FAIL | errno.EPERM),
    ]


def write_line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction: after a comparison, how many of the next ones are left out."""
    return struct.pack("HBBI", code, if_true, if_false, value)  # struct sock_filter
