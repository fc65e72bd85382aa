"""What a confined process can no longer do; each attempt is made in a process of its own."""

import json
import platform
import subprocess
import sys

import pytest

from engine.media.sandbox.confine import Guard

# Each is tried before, where it works, and after. `engine` has opened what `after` needs.
ATTEMPTS = {
    "read a file": "os.close(os.open('/etc/hostname', os.O_RDONLY))",
    "write a file": "os.close(os.open(PLACE, os.O_WRONLY | os.O_CREAT))",
    "delete a file": "os.unlink(VICTIM)",
    "make a socket": "socket.socket().close()",
    "make a socket pair": "[end.close() for end in socket.socketpair()]",
    "fork": "os.fork() or os._exit(0)",
    "run a program": "run_program()",
    "signal a process": "os.kill(os.getppid(), 0)",
    "trace a process": "trace()",
    "read another's memory": "read_memory()",
    "leave the namespace": "leave()",
    "change another's limits": "resource.prlimit(os.getppid(), resource.RLIMIT_CORE)",
}
PRELUDE = """
import ctypes, json, mmap, os, resource, socket, sys, threading, time
from engine.media.sandbox.confine import confine_worker, leave_network
from engine.settings import MediaLimits
PLACE, VICTIM = sys.argv[1] + "/made", sys.argv[1] + "/victim"
open(VICTIM, "w").close()
libc = ctypes.CDLL(None, use_errno=True)
def refuse(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
def run_program():
    libc.execve.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p]
    refuse(libc.execve(b"/bin/true", None, None))
def trace():
    refuse(libc.ptrace(16, os.getppid(), 0, 0))
def read_memory():
    refuse(libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0))
def leave():
    refuse(libc.unshare(0x20000))
"""
PROBE = """
guards = confine_worker(MediaLimits())
threads = [threading.Thread(target=time.sleep, args=(0,)) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
escaped = []
for name, attempt in json.loads(sys.argv[2]).items():
    try:
        exec(attempt)
        escaped.append(name)
    except (OSError, RuntimeError):
        pass
print(json.dumps([list(guards), escaped]), flush=True)
"""
HUNGRY = """
confine_worker(MediaLimits(max_memory_bytes=600 * 2**20))
try:
    bytearray(700 * 2**20)
    print("fed", flush=True)
except MemoryError:
    print("starved", flush=True)
"""
BUSY = """
confine_worker(MediaLimits(max_cpu_s=1))
while True:
    pass
"""
ALONE = """
print(json.dumps([leave_network(), sorted(name for _, name in socket.if_nameindex())]), flush=True)
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PRELUDE + code, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    done = run(PROBE, str(tmp_path_factory.mktemp("probe")), json.dumps(ATTEMPTS))
    assert done.stdout, done.stderr
    guards, escaped = json.loads(done.stdout)
    return guards, escaped


def test_the_system_calls_are_filtered_where_linux_runs(probed: tuple[list[str], list[str]]) -> None:
    is_filtered = platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64")
    assert (Guard.FEW_CALLS in probed[0]) == is_filtered and Guard.LIMITS in probed[0]


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_nothing_outside_can_be_reached(probed: tuple[list[str], list[str]], attempt: str) -> None:
    assert attempt not in probed[1]


@pytest.mark.parametrize("attempt", ["read a file", "write a file", "delete a file", "make a socket", "fork"])
def test_before_it_could_be(tmp_path: object, attempt: str) -> None:
    """An attempt that fails anyway would prove nothing."""
    done = run(f"{ATTEMPTS[attempt]}\nprint('done')", str(tmp_path))
    assert done.stdout.startswith("done"), done.stderr


def test_memory_is_limited(tmp_path: object) -> None:
    assert run(HUNGRY, str(tmp_path)).stdout.strip() == "starved"


def test_processor_time_is_limited(tmp_path: object) -> None:
    assert run(BUSY, str(tmp_path)).returncode < 0


def test_without_a_network_there_is_no_interface_but_a_dead_loopback(tmp_path: object) -> None:
    has_left, interfaces = json.loads(run(ALONE, str(tmp_path)).stdout)
    assert not has_left or interfaces == ["lo"]
