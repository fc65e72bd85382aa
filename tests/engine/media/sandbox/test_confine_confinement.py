import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from engine.media.sandbox import landlock, seccomp
from engine.media.sandbox.confine import Layer
from tests.canary import Canary

ROOT = Path(__file__).parents[4]
LINUX = sys.platform == "linux"
PROBES = """
import ctypes, errno, json, os, socket, subprocess, sys, threading
from pathlib import Path
sys.path.append(sys.argv[1])
from engine.media.sandbox import confine as confinement

folder, outside, port, alone = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
if alone != "all":  # one layer after the other, each without the rest
    steps = {"namespace": "leave_network", "landlock": "allow_writing_in", "seccomp": "refuse_connections"}
    for layer, name in steps.items():
        if layer != alone:
            setattr(confinement, name, lambda *_: False)
    if alone != "guard":
        confinement._guard = lambda event, arguments: None
pair = socket.socketpair()
layers = confinement.confine_fetch(folder, 2 * 1024**3, 20, 1_000_000)
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


def test_everything_together_leaves_only_what_was_handed(tmp_path):
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


def test_machine_without_these_layers_is_told_so(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert not seccomp.refuse_connections() and not landlock.allow_writing_in(Path(os.devnull))
