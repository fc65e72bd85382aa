"""What a process that downloads may not do: make or connect a socket, start a program, touch another process.

What is left to it for the network are the connected sockets it is handed, and pairs of them it makes itself.
"""

import socket

from engine.sandbox.filters import ALLOW, EQUAL, REFUSE, Call, Check, Rule, install_filter
from engine.sandbox.syscalls import THREADS_ALONE

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
