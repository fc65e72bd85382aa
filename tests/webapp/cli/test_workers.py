"""The number of workers: the option goes before the environment, and commands that read clips have it."""

import pytest
from typer.testing import CliRunner

from engine.errors import EngineError
from webapp.cli.main import app
from webapp.cli.workers import read_settings


def test_the_option_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYSPEAK_WORKERS", "3")
    assert read_settings(None).workers == 3
    assert read_settings(2).workers == 2
    assert read_settings(0).workers == 0
    monkeypatch.setenv("WAYSPEAK_WORKERS", "x")
    with pytest.raises(EngineError):
        read_settings(2)


@pytest.mark.parametrize("command", ["analyse", "phonemes", "batch", "enrol", "identify", "verify", "work"])
def test_commands_that_read_clips_have_the_option(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert shown.exit_code == 0 and "Segments of a recording processed at a time" in shown.output


def test_a_number_out_of_range_is_refused() -> None:
    done = CliRunner().invoke(app, ["analyse", "clip.mp4", "--workers", "65"])
    assert done.exit_code == 2 and "less than or equal to 64" in " ".join(done.output.split())
