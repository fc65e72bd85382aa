"""The steps of the image as a script in a clean folder: the wheel alone, its programs, the server, its health check.

No container engine is needed. Where the system has Landlock, the server may write nowhere but where the image lets it:
in the volumes and in /tmp, here folders of the test.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images import ROOT, read_command, read_stages
from tests.ports import reserve_port
from tests.test_image import SERVICES

START_S = 150.0
LOCKED = """
import ctypes, os, sys
from engine.media.sandbox import landlock as lock
from engine.media.sandbox.seccomp import PR_SET_NO_NEW_PRIVS
folders, command = sys.argv[1].split(os.pathsep), sys.argv[2:]
handled = lock.WRITE_FILE | lock.REMOVE_DIR | lock.REMOVE_FILE | lock.MAKE_DIR | lock.MAKE_REG | lock.FORBIDDEN
try:
    lock._call(lock.CREATE_RULESET, None, 0, lock.CREATE_RULESET_VERSION)
except OSError:
    print("not locked", flush=True)
else:
    ruleset = lock._create_ruleset(handled, 1)
    for folder in folders:
        lock._add_rule(ruleset, folder, handled)
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    lock._call(lock.RESTRICT_SELF, ruleset, 0)
os.execv(command[0], command)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what the image copies, and nothing else."""
    folder = tmp_path_factory.mktemp("build")
    for words in read_stages()["wheel"].list_words("COPY"):
        *sources, target = words.split()
        for source in sources:
            place = folder / target / (source if target == "./" else "")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, place)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", "wheels", "."]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (built,) = (folder / "wheels").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def home(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an environment with the installed wheel and the path of its dependencies."""
    home = tmp_path_factory.mktemp("image")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    (places,) = (home / "venv" / "lib").glob("python*/site-packages")
    (places / "needed.pth").write_text(
        sysconfig.get_path("purelib")
    )  # .pth files in there, the project's, are not read
    command = [
        sys.executable,
        "-m",
        "pip",
        "-q",
        "--python",
        home / "venv",
        "install",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    subprocess.run(command, check=True, capture_output=True)
    for name in ("data", "uploads", "tmp"):
        (home / name).mkdir(mode=0o700)
    return home


def write_environment(home: Path, port: int = 0) -> dict[str, str]:
    """What the image sets, its folders moved into the test's."""
    (settings,) = read_stages()["runtime"].list_words("ENV")
    result = dict(pair.split("=") for pair in settings.split())
    moved = {"/tmp": home / "tmp", "/data": home / "data", "/uploads": home / "uploads"}
    environment = {name: str(moved.get(value, value)) for name, value in result.items()}
    environment |= {"PATH": f"{home / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}", "TMPDIR": str(home / "tmp")}
    return environment | {"WAYSPEAK_HOST": "127.0.0.1", "WAYSPEAK_PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1"}


def run(home: Path, *command: str, port: int = 0) -> subprocess.CompletedProcess[str]:
    program = str(home / "venv" / "bin" / command[0])
    environment = write_environment(home, port)
    return subprocess.run([program, *command[1:]], cwd=home / "data", env=environment, capture_output=True, text=True)


def test_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    copy = wheel.parents[1]
    packages = ("engine", "gallery_db", "webapp")
    files = [path.relative_to(copy) for name in packages for path in (copy / name).rglob("*") if path.is_file()]
    wanted = {path.as_posix() for path in files if path.suffix not in (".pyc", ".task", ".tflite", ".pt")}
    assert {
        "engine/weights/shipped/compact.safetensors",
        "webapp/pages/page.css",
        "webapp/templates/login.html",
    } <= wanted
    with zipfile.ZipFile(wheel) as archive:
        assert not wanted - set(archive.namelist())


def test_programs_are_those_of_the_wheel(home: Path) -> None:
    done = run(home, "python", "-c", "import engine, webapp; print(engine.__file__, webapp.__file__)")
    assert all(place.startswith(str(home / "venv")) for place in done.stdout.split()) and done.returncode == 0
    done = run(home, *read_command("ENTRYPOINT"), "--help")
    assert done.returncode == 0
    for name in ("analyse", "doctor", "fetch", *read_command("CMD"), "work"):
        assert name in done.stdout


def test_doctor_finds_all_that_is_needed(home: Path) -> None:
    done = run(home, *read_command("ENTRYPOINT"), "doctor")
    assert done.returncode == 0, done.stdout
    assert f"data folder             {home / 'data'}" in done.stdout or str(home / "data") in done.stdout


def lock(home: Path) -> list[str]:
    """The beginning of a command that may write only where the image lets it."""
    allowed = os.pathsep.join([*(str(home / name) for name in ("data", "uploads", "tmp")), "/dev"])
    return [str(home / "venv" / "bin" / "python"), "-c", LOCKED, allowed]


def test_worker_starts_and_ends_without_a_job(home: Path) -> None:
    (command,) = [service["command"] for name, service in SERVICES.items() if name == "worker"]
    program = str(home / "venv" / "bin" / read_command("ENTRYPOINT")[0])
    done = subprocess.run(
        [*lock(home), program, *command, "--once"], cwd=home / "data", env=write_environment(home), capture_output=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def served(home: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The server as the image and compose.yaml start it, and its port."""
    program = home / "venv" / "bin" / read_command("ENTRYPOINT")[0]
    command = [*lock(home), program, *read_command("CMD"), "--workers", "0"]
    with (home / "said.txt").open("w") as said, reserve_port() as port:
        process = subprocess.Popen(
            command, cwd=home / "data", env=write_environment(home, port), stdout=said, stderr=said, text=True
        )
        yield process, port
        if process.poll() is None:
            process.kill()
        process.wait()


def test_server_answers_the_health_check_of_the_image(home: Path, served: tuple[subprocess.Popen[str], int]) -> None:
    process, port = served
    check = read_command("HEALTHCHECK")
    assert run(home, *check, port=port).returncode != 0  # no server runs yet
    end = time.monotonic() + START_S
    while (done := run(home, *check, port=port)).returncode != 0 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.3)
    said = (home / "said.txt").read_text()
    assert done.returncode == 0, f"{done.stderr}\n{said}"
    assert sys.platform != "linux" or "not locked" not in said or "landlock" not in read_modules()
    assert {path.name for path in (home / "data").iterdir()} >= {"app.sqlite"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 0
    assert "Traceback" not in (home / "said.txt").read_text()


def read_modules() -> str:
    """The security modules of this kernel."""
    try:
        return Path("/sys/kernel/security/lsm").read_text()
    except OSError:
        return ""
