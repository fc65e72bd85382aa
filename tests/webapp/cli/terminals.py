"""Command lines run as people and scripts run them: with a terminal that answers, or with none."""

import io
import sys
from collections.abc import Callable

import pytest

from webapp.cli.main import main

Run = Callable[..., tuple[int, str, str]]
"""`run("enrol", "Ada", ..., answers=["yes"])` returns exit code, standard output and standard error."""


class Terminal(io.StringIO):
    """Fake terminal with prepared input."""

    def isatty(self) -> bool:
        return True


def make_run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line; without answers there is no terminal."""

    def run(*arguments: object, answers: list[str] | None = None) -> tuple[int, str, str]:
        typed = "".join(f"{answer}\n" for answer in answers or [])
        monkeypatch.setattr(sys, "stdin", io.StringIO() if answers is None else Terminal(typed))
        monkeypatch.setattr(sys, "argv", ["wayspeak", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return run
