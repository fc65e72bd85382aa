"""A seccomp filter: no socket can be made or connected, no program started, no other process touched.

Needs no privilege, stays for the life of the process and cannot be taken off (Linux, `man 2 seccomp`). What is left to
a confined process for the network are the connected sockets it is handed, and pairs of them it makes itself.
"""

import ctypes
import errno
import os
import platform
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
KILL, REFUSE, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
LOAD, AND, EQUALS, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06  # of classic BPF, 32 bits
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in `struct seccomp_data`
X32 = 0x40000000  # the numbers of x86_64's other interface begin here
CLONE_THREAD = 0x00010000
UNIX, STREAM, KIND = 1, 1, 0xF

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # AUDIT_ARCH, column below
REFUSED: tuple[tuple[int | None, int | None], ...] = (
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
CLONE, CLONE3, SOCKETPAIR = (56, 220), (435, 435), (53, 199)


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("skip_if", ctypes.c_ubyte),
        ("skip_else", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def forbid_new_privileges() -> None:
    """Programs started from here gain no privilege; a filter by an ordinary user needs it. Raises OSError."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1, 0)


def refuse_connections() -> bool:
    """Put the filter on this process; False where there is none for this system or machine. Raises OSError."""
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES or sys.maxsize < 2**32:
        return False
    forbid_new_privileges()
    lines = _write_filter(*ARCHITECTURES[platform.machine()])
    array = (_Instruction * len(lines))(*(_Instruction(*line) for line in lines))
    program = _Program(len(lines), array)
    _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))
    return True


def _write_filter(architecture: int, column: int) -> list[tuple[int, int, int, int]]:
    """Instructions (code, skip if true, skip if false, value); every rule stands alone, so no jump is far."""
    refuse = (RETURN, 0, 0, REFUSE | errno.EPERM)
    lines = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUALS, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, X32),
        refuse,
    ]
    for row in REFUSED:
        if (number := row[column]) is not None:
            lines += [(EQUALS, 0, 1, number), refuse]
    # The C library falls back to `clone`, whose flags a filter can see.
    lines += [(EQUALS, 0, 1, CLONE3[column]), (RETURN, 0, 0, REFUSE | errno.ENOSYS)]
    lines += [(EQUALS, 0, 4, CLONE[column]), (LOAD, 0, 0, ARGUMENTS), (ANY_BIT, 1, 0, CLONE_THREAD), refuse]
    lines += [(RETURN, 0, 0, ALLOW)]
    # A datagram of a pair could be sent to any socket that has a name in the file system; a stream cannot.
    lines += [(EQUALS, 0, 6, SOCKETPAIR[column]), (LOAD, 0, 0, ARGUMENTS), (EQUALS, 0, 3, UNIX)]
    lines += [(LOAD, 0, 0, ARGUMENTS + 8), (AND, 0, 0, KIND), (EQUALS, 1, 0, STREAM), refuse]
    return [*lines, (RETURN, 0, 0, ALLOW)]


def _prctl(option: int, first: int, second: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, ctypes.c_ulong(first), ctypes.c_ulong(second), ctypes.c_ulong(0), ctypes.c_ulong(0)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
