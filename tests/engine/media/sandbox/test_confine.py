"""Confined processes cannot do what they are refused; each attempt runs in a process of its own."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from engine.media.sandbox import landlock, seccomp
from engine.media.sandbox.confine import Guard, Layer
from tests.canary import Canary

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
def test_confined_process_reaches_nothing_outside(probed: tuple[list[str], list[str]], attempt: str) -> None:
    assert attempt not in probed[1]


@pytest.mark.parametrize("attempt", ["read a file", "write a file", "delete a file", "make a socket", "fork"])
def test_unconfined_process_reaches_outside(tmp_path: object, attempt: str) -> None:
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


ROOT = Path(__file__).parents[4]
LINUX = sys.platform == "linux"
PROBES = """
import ctypes, errno, json, os, socket, subprocess, sys, threading
from pathlib import Path
sys.path.append(sys.argv[1])
from engine.media.sandbox import confine

folder, outside, port, alone = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
if alone != "all":  # one layer after the other, each without the rest
    steps = {"namespace": "leave_network", "landlock": "allow_writing_in", "seccomp": "refuse_connections"}
    for layer, name in steps.items():
        if layer != alone:
            setattr(confine, name, lambda *_: False)
    if alone != "guard":
        confine._guard = lambda event, arguments: None
pair = socket.socketpair()
layers = confine.confine_fetch(folder, 2 * 1024**3, 20, 1_000_000)
library = ctypes.CDLL(None, use_errno=True)
found = {"layers": layers}

def probe(name, action):
    try:
        action()
        found[name] = "done"
    except BaseException as error:
        found[name] = type(error).__name__

def start_thread():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()

def call_kernel(name, *arguments):
    if getattr(library, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

probe("connect", lambda: socket.create_connection(("127.0.0.1", port), 2))
probe("resolve", lambda: socket.getaddrinfo("localhost", 80))
probe("program", lambda: subprocess.run(["true"], check=True))
probe("raw socket", lambda: call_kernel("socket", socket.AF_INET, socket.SOCK_STREAM, 0))
if "seccomp" in layers:
    probe("raw fork", lambda: call_kernel("fork"))
probe("datagram pair", lambda: call_kernel("socketpair", socket.AF_UNIX, socket.SOCK_DGRAM, 0, (ctypes.c_int * 2)()))
probe("write outside", lambda: outside.write_text("x"))
probe("write inside", lambda: (folder / "a").write_text("x"))
probe("rename inside", lambda: (folder / "a").rename(folder / "b"))
probe("link", lambda: (folder / "c").symlink_to("/etc"))
probe("large file", lambda: (folder / "d").write_bytes(bytes(2_000_000)))
probe("memory", lambda: bytearray(3 * 1024**3))
probe("use what it was handed", lambda: (pair[0].sendall(b"x"), pair[1].recv(1)))
probe("thread", start_thread)
print(json.dumps(found))
"""


def confine_and_probe(tmp_path: Path, alone: str) -> dict[str, object]:
    """What a process can still do after it was confined; a server on loopback is there to be reached."""
    folder = tmp_path / "own"
    folder.mkdir()
    with Canary() as canary:
        arguments = [ROOT, folder, tmp_path / "outside", canary.port, alone]
        done = subprocess.run(
            [sys.executable, "-I", "-c", PROBES, *map(str, arguments)],
            env={"OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            check=True,
            timeout=60,
        )
        is_reached = bool(canary.hits())
    return json.loads(done.stdout) | {"reached": is_reached, "escaped": (tmp_path / "outside").exists()}


ALWAYS = {"write inside": "done", "rename inside": "done", "use what it was handed": "done", "thread": "done"}


def test_full_confinement_leaves_only_passed_descriptors(tmp_path):
    found = confine_and_probe(tmp_path, "all")

    assert not found["reached"] and found["layers"][-1] == Layer.GUARD
    assert found["connect"] == found["resolve"] == found["program"] == "PermissionError"
    assert found["large file"] == "OSError" and (found["memory"] == "MemoryError" or not LINUX)
    assert {name: found[name] for name in ALWAYS} == ALWAYS
    if Layer.SECCOMP in found["layers"]:
        kernel = [found[name] for name in ("raw socket", "raw fork", "datagram pair", "link")]
        assert kernel == ["PermissionError"] * 4
    if Layer.LANDLOCK in found["layers"]:
        assert found["write outside"] == "PermissionError" and not found["escaped"]


def test_guard_alone_stops_python(tmp_path):
    found = confine_and_probe(tmp_path, "guard")

    assert found["layers"] == [Layer.GUARD] and not found["reached"]
    assert found["connect"] == found["resolve"] == found["program"] == "PermissionError"
    assert {name: found[name] for name in ALWAYS} == ALWAYS


def test_each_layer_of_the_kernel_holds_by_itself(tmp_path):
    held = 0
    for layer in (Layer.NAMESPACE, Layer.SECCOMP, Layer.LANDLOCK):
        place = tmp_path / layer.name
        place.mkdir()
        found = confine_and_probe(place, layer.name.lower())
        if layer not in found["layers"]:
            continue
        held += 1
        assert found["connect"] != "done" and not found["reached"], layer
        assert {name: found[name] for name in ALWAYS} == ALWAYS, layer
    assert held or not LINUX, "no layer of the kernel is in force here"


def test_missing_confinement_layers_are_reported(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert not seccomp.refuse_connections() and not landlock.allow_writing_in(Path(os.devnull))
