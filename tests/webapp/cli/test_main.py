"""The command table: lazy imports, help, errors."""

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from engine.settings import Settings
from gallery_db.gallery import Gallery
from tests.engine.calibration.drawn import make_record
from webapp.cli.analyse import read_stored_calibrations
from webapp.cli.main import COMMANDS, main

Run = Callable[..., tuple[int, str, str]]
HEAVY = {"torch", "av", "gradio", "sqlalchemy", "faiss", "cv2"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command line; return exit code, standard output, standard error."""
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wayspeak", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return call


def test_the_command_is_this_one() -> None:
    (command,) = entry_points(group="console_scripts", name="wayspeak")
    assert command.load() is main


def test_help_imports_nothing_heavy_and_names_every_command() -> None:
    code = "import sys; from webapp.cli.main import main; sys.argv = ['wayspeak', '--help']\n"
    code += f"try: main()\nexcept SystemExit: print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert len(COMMANDS) == 22 and all(name in done.stdout for name in COMMANDS)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put two commands of another module into the table, alone and as a group."""
    (tmp_path / "two_commands.py").write_text(
        "import typer\nfrom engine.errors import EngineError\napp = typer.Typer()\n"
        "@app.command()\ndef enrol(person: str, basis: str = 'none'):\n    print(person, basis)\n"
        "@app.command()\ndef forget(person: str):\n    raise EngineError('Nobody.', 'Look.')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, attribute in (("enrol", "enrol"), ("forget", "forget"), ("gallery", "app")):
        monkeypatch.setitem(COMMANDS, name, (f"two_commands:{attribute}", "A line."))


@pytest.mark.usefixtures("elsewhere")
def test_arguments_come_as_they_are_and_help_names_the_whole_command(run: Run) -> None:
    assert run("enrol", "Ada", "--basis", "x")[:2] == (0, "Ada x\n")
    assert run("gallery", "enrol", "Ben")[:2] == (0, "Ben none\n")
    code, out, _ = run("enrol", "--help")
    assert code == 0 and "wayspeak enrol" in out and "--basis" in out
    code, out, _ = run("gallery", "--help")
    assert code == 0 and "wayspeak gallery" in out and "forget" in out


@pytest.mark.usefixtures("elsewhere")
def test_an_error_is_one_line_and_code_2(run: Run) -> None:
    assert run("forget", "Ada") == (2, "", "wayspeak: Nobody. Look.\n")


def test_unknown_command_suggests_similar_ones(run: Run) -> None:
    code, out, err = run("analyze")
    assert (code, out) == (2, "") and "No such command 'analyze'" in err and "'analyse'" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_of_its_own(run: Run, command: str) -> None:
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "") and f"wayspeak {command}" in out


def test_what_the_gallery_keeps_is_read_and_no_gallery_is_made_to_find_out(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "data")
    assert read_stored_calibrations(settings) == [] and not settings.data_dir.exists()
    record = make_record()
    with Gallery.open(settings) as gallery:
        gallery.keep_calibration(record)
    assert read_stored_calibrations(settings) == [record]
