"""The writer of seccomp filters: a list of rules becomes classic BPF, which this process then puts on itself for good.

Linux, `Documentation/userspace-api/seccomp_filter.rst`. Needs no privilege, stays for the life of the process and all
it starts, and cannot be taken off. A filter sees the number of a call and its arguments, not what they point at.
"""

import ctypes
import errno
import platform
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
