"""Both seccomp filters on both architectures, executed by an interpreter of classic BPF."""

import platform
import signal
import socket
import struct
from collections.abc import Callable, Sequence

import pytest

from engine.media.sandbox import seccomp
from engine.media.sandbox.seccomp import ALLOW, ANY_BIT, EQUAL, KILL, REFUSE, UNKNOWN, Check, Rule

MACHINES = (("x86_64", 0), ("aarch64", 1))
PROCESS = 4242
A_THREAD, A_PROCESS = 0x3D0F00, 0x1200011  # flags of `clone` as the C library sets them
OPENAT, CONNECT, EXECVE = (257, 56), (42, 203), (59, 221)


def run_filter(program: bytes, number: int, arguments: Sequence[int] = (), architecture: int = 0) -> int:
    """Execute a filter for one system call and return its answer."""
    words = {seccomp.NUMBER_AT: number, seccomp.ARCH_AT: architecture}
    words |= {seccomp.FIRST_ARGUMENT_AT + 8 * place: value for place, value in enumerate(arguments)}
    lines = list(struct.iter_unpack("HBBI", program))
    register, place = 0, 0
    while True:
        code, if_true, if_false, value = lines[place]
        place += 1
        if code == seccomp.RETURN:
            return int(value)
        if code == seccomp.LOAD:
            register = words.get(value, 0)
        elif code == seccomp.AND:
            register &= value
        else:
            holds = {seccomp.EQUAL: register == value, seccomp.AT_LEAST: register >= value}
            place += if_true if {**holds, seccomp.ANY_BIT: bool(register & value)}[code] else if_false


def answer_by(rules: Sequence[Rule], otherwise: int, machine: str) -> Callable[..., int]:
    program, own = seccomp.write_filter(machine, rules, otherwise), seccomp.AUDIT_ARCH[machine]

    def answer(number: int | None, *arguments: int, architecture: int = own) -> int:
        assert number is not None
        return run_filter(program, number, arguments, architecture)

    return answer


@pytest.mark.parametrize(("machine", "column"), MACHINES)
def test_a_download_can_make_no_socket_and_start_no_program(machine: str, column: int) -> None:
    answer = answer_by(seccomp.RULES, ALLOW, machine)
    assert {CONNECT, EXECVE} <= set(seccomp.REFUSED)
    for call in seccomp.REFUSED:
        if call[column] is not None:
            assert answer(call[column]) == REFUSE
            assert answer(call[column], architecture=1) == KILL
    for harmless in ((0, 63), (1, 64), (44, 206), (46, 211), (47, 212), (231, 94), OPENAT):  # read, write, send, exit
        assert answer(harmless[column]) == ALLOW
        assert answer(harmless[column] | seccomp.X32) == REFUSE
    pair = seccomp.SOCKETPAIR[column]
    assert answer(pair, socket.AF_UNIX, socket.SOCK_STREAM | 0o2000000) == ALLOW
    assert answer(pair, socket.AF_UNIX, socket.SOCK_DGRAM) == REFUSE
    assert answer(pair, socket.AF_INET, socket.SOCK_STREAM) == REFUSE


@pytest.mark.parametrize(("machine", "column"), MACHINES)
def test_a_decoder_has_the_calls_of_the_list_alone(machine: str, column: int) -> None:
    answer = answer_by(seccomp.list_rules(PROCESS), REFUSE, machine)
    for call in seccomp.PLAIN_CALLS.values():
        assert answer(call[column]) == ALLOW
        assert answer(call[column], architecture=1) == KILL
    named = {call[column] for call in seccomp.PLAIN_CALLS.values()}
    named |= {call[column] for call in (seccomp.CLONE, seccomp.CLONE3, seccomp.TGKILL, seccomp.PRCTL)}
    assert not named & {OPENAT[column], CONNECT[column], EXECVE[column]}
    assert {answer(number) for number in range(600) if number not in named} == {REFUSE}
    assert answer(seccomp.TGKILL[column], PROCESS, 1, signal.SIGABRT) == ALLOW
    assert answer(seccomp.TGKILL[column], PROCESS + 1, 1, signal.SIGKILL) == REFUSE
    assert answer(seccomp.PRCTL[column], seccomp.PR_SET_NAME) == ALLOW
    assert answer(seccomp.PRCTL[column], seccomp.PR_SET_SECCOMP) == REFUSE


@pytest.mark.parametrize(("machine", "column"), MACHINES)
@pytest.mark.parametrize("rules", [seccomp.RULES, seccomp.list_rules(PROCESS)], ids=["download", "decoder"])
def test_a_thread_may_be_started_and_a_process_may_not(machine: str, column: int, rules: Sequence[Rule]) -> None:
    answer = answer_by(rules, REFUSE, machine)
    assert answer(seccomp.CLONE[column], A_THREAD) == ALLOW
    assert answer(seccomp.CLONE[column], A_PROCESS) == REFUSE
    assert answer(seccomp.CLONE3[column]) == UNKNOWN


def test_every_check_of_a_rule_has_to_hold() -> None:
    rule = Rule((7, None), ALLOW, (Check(0, EQUAL, 3), Check(2, ANY_BIT, 0b100), Check(1, EQUAL, 1, bits=0xF)))
    answer = answer_by([rule], KILL, "x86_64")
    assert answer(7, 3, 0x21, 0b110) == ALLOW
    for arguments in ((4, 0x21, 0b110), (3, 0x22, 0b110), (3, 0x21, 0b010)):
        assert answer(7, *arguments) == REFUSE
    assert answer(8, 3, 0x21, 0b110) == KILL
    assert answer_by([rule], KILL, "aarch64")(7) == KILL  # no such call there


def test_unsupported_system_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert not seccomp.install_filter(seccomp.RULES, ALLOW)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert not seccomp.filter_calls() and not seccomp.refuse_connections()
