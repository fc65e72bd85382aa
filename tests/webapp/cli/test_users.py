"""`wayspeak users`: accounts from the command line, with passwords that no list of processes shows."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.settings import Settings
from webapp.accounts.records import Role, User
from webapp.accounts.store import AccountStore
from webapp.cli.main import main

Run = Callable[..., tuple[int, str, str]]
PASSWORD = "a sentence of mine"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command line with standard input; return exit code, standard output, standard error."""
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path))

    def call(*arguments: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wayspeak", "users", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


def test_an_account_is_made_listed_changed_and_shut(run: Run, tmp_path: Path) -> None:
    assert "one local user" in run("list")[1]
    assert run("add", "Ada", "--role", "enroller", typed=f"{PASSWORD}\n")[0] == 0
    result = json.loads(run("list", "--json")[1])
    assert result["found"] == [{"name": "ada", "role": "enroller", "disabled": False, "keys": 0}]
    store = AccountStore.open(Settings(tmp_path))
    assert store.log_in("ada", PASSWORD, "a")
    run("passwd", "ada", typed="another sentence\n")
    assert store.log_in("ada", "another sentence", "a")
    run("role", "ada", "viewer")
    key = run("key", "add", "ada")[1].strip()
    assert store.find_key_owner(key) == User("ada", Role.VIEWER)
    assert run("key", "revoke", "ada")[1].startswith("1 keys") and store.find_key_owner(key) is None
    run("disable", "ada")
    assert "disabled" in run("list")[1]
    run("disable", "ada", "--undo")
    assert "0 keys" in run("list")[1]
    store.close()


def test_a_password_can_be_made_and_is_shown_once(run: Run, tmp_path: Path) -> None:
    said = run("add", "ada", "--generate")[1]
    store = AccountStore.open(Settings(tmp_path))
    assert store.log_in("ada", said.split("Password: ")[1].strip(), "a")
    store.close()


@pytest.mark.parametrize(
    ("arguments", "typed", "words"),
    [
        (("add", "ada"), "", "No password was entered"),
        (("add", "ada"), "short\n", "5 characters"),
        (("add", "two words"), f"{PASSWORD}\n", "is not a valid account name"),
        (("passwd", "nobody"), f"{PASSWORD}\n", "no account"),
        (("key", "add", "nobody"), "", "no account"),
    ],
)
def test_what_cannot_be_is_said_with_what_to_do(run: Run, arguments: tuple[str, ...], typed: str, words: str) -> None:
    code, _, result = run(*arguments, typed=typed)
    assert code == 2 and words in result
