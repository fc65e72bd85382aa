"""A seccomp filter: no socket can be made or connected, no program started, no other process touched.

Needs no privilege, stays for the life of the process and cannot be taken off (Linux, `man 2 seccomp`). What is left to
a confined process for the network are the connected sockets it is handed, and pairs of them it makes itself.
"""

import errno
import platform

from engine.sandbox.syscalls import (
    ALLOW,
    ANY_BIT,
    ARCH_AT,
    AUDIT_ARCH,
    CLONE,
    CLONE3,
    CLONE_THREAD,
    EQUAL,
    FAIL,
    FIRST_ARGUMENT_AT,
    KILL,
    LOAD,
    NUMBER_AT,
    RETURN,
    install_filter,
    write_line,
)

AND, AT_LEAST = 0x54, 0x35  # BPF_ALU|AND|K, BPF_JMP|JGE|K
X32 = 0x40000000  # the numbers of x86-64's other interface begin here
UNIX, STREAM, KIND = 1, 1, 0xF

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
SOCKETPAIR = (53, 199)


def refuse_connections() -> bool:
    """Put the filter on this process; False where there is none for this system or machine."""
    arch = platform.machine()
    if platform.system() != "Linux" or arch not in AUDIT_ARCH:
        return False
    return install_filter(write_filter(arch))


def write_filter(arch: str) -> bytes:
    """Instructions of 8 bytes each; every rule stands alone, so no jump is far."""
    column = list(AUDIT_ARCH).index(arch)
    refuse, allow = write_line(RETURN, FAIL | errno.EPERM), write_line(RETURN, ALLOW)
    lines = [write_line(LOAD, ARCH_AT), write_line(EQUAL, AUDIT_ARCH[arch], 1, 0), write_line(RETURN, KILL)]
    lines += [write_line(LOAD, NUMBER_AT), write_line(AT_LEAST, X32, 0, 1), refuse]
    for row in REFUSED:
        if (number := row[column]) is not None:
            lines += [write_line(EQUAL, number, 0, 1), refuse]
    lines += [write_line(EQUAL, CLONE3, 0, 1), write_line(RETURN, FAIL | errno.ENOSYS)]
    # A thread may be started, a process may not.
    lines += [write_line(EQUAL, CLONE[column], 0, 4), write_line(LOAD, FIRST_ARGUMENT_AT)]
    lines += [write_line(ANY_BIT, CLONE_THREAD, 1, 0), refuse, allow]
    # A datagram of a pair could be sent to any socket that has a name in the file system; a stream cannot.
    lines += [write_line(EQUAL, SOCKETPAIR[column], 0, 6), write_line(LOAD, FIRST_ARGUMENT_AT)]
    lines += [write_line(EQUAL, UNIX, 0, 3), write_line(LOAD, FIRST_ARGUMENT_AT + 8)]
    lines += [write_line(AND, KIND), write_line(EQUAL, STREAM, 1, 0), refuse]
    return b"".join([*lines, allow])
