"""Landlock: restrict writing to one folder and forbid TCP connections (Linux 5.13, 6.7; `man 7 landlock`)."""

import ctypes
import os
import platform
import struct
from pathlib import Path

from engine.media.sandbox.seccomp import PR_SET_NO_NEW_PRIVS

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
CREATE_RULESET_VERSION, RULE_PATH_BENEATH = 1, 1
WRITE_FILE, REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1 << 1, 1 << 4, 1 << 5, 1 << 7, 1 << 8
MAKE_CHAR, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = 1 << 6, 1 << 9, 1 << 10, 1 << 11, 1 << 12
REFER, TRUNCATE = 1 << 13, 1 << 14  # since versions 2 and 3
FORBIDDEN = MAKE_CHAR | MAKE_SOCK | MAKE_FIFO | MAKE_BLOCK | MAKE_SYM
TCP = 0b11  # bind and connect, since version 4
SCOPES = 0b11  # abstract sockets and signals, since version 6


def allow_writing_in(folder: Path) -> bool:
    """Restrict writing to `folder` and below; False where the kernel has no Landlock. Raises OSError."""
    if platform.system() != "Linux":
        return False
    try:
        version = _call(CREATE_RULESET, None, 0, CREATE_RULESET_VERSION)
    except OSError:  # not built in, or disabled
        return False
    here = WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG
    here |= (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # required of an unprivileged process
    ruleset = _create_ruleset(here | FORBIDDEN, version)
    try:
        _add_rule(ruleset, folder, here)
        _call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _create_ruleset(handled: int, version: int) -> int:
    fields = [handled] + [TCP] * (version >= 4) + [SCOPES] * (version >= 6)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    return _call(CREATE_RULESET, ctypes.c_char_p(attributes), len(attributes), 0)


def _add_rule(ruleset: int, folder: Path, allowed: int) -> None:
    place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        _call(ADD_RULE, ruleset, RULE_PATH_BENEATH, ctypes.c_char_p(struct.pack("=Qi", allowed, place)), 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: ctypes.c_char_p | int | None) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    wide = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    result: int = library.syscall(ctypes.c_long(number), *wide)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
