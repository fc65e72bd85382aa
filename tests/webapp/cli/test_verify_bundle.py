"""`wayspeak verify-bundle`: valid and invalid bundles, and their signing key."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.webapp.bundle.sample_contents import make_contents
from webapp.bundle.bundle import make_bundle
from webapp.bundle.signing_key import FILE, open_key
from webapp.cli.main import main

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Check a bundle; return exit code and standard output."""
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["wayspeak", "verify-bundle", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    return call


def test_a_bundle_of_this_installation_is_known_as_such(run: Run, tmp_path: Path) -> None:
    key, bundle = open_key(tmp_path / "data"), tmp_path / "bundle.zip"
    bundle.write_bytes(make_bundle(make_contents(tmp_path), key))
    code, result = run(bundle)
    assert code == 0 and "signed by this installation" in result and key.fingerprint in result
    assert run(bundle, "--fingerprint", key.fingerprint)[0] == 0
    assert run(bundle, "--fingerprint", "0" * 64)[0] == 1


def test_bundle_of_another_installation_is_recognised_without_creating_a_key(run: Run, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(make_bundle(make_contents(tmp_path), open_key(tmp_path / "other")))
    assert run(bundle)[0] == 0 and not (tmp_path / "data" / FILE).exists()
    open_key(tmp_path / "data")
    assert "another installation" in run(bundle)[1]


def test_a_changed_bundle_does_not_hold(run: Run, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(make_bundle(make_contents(tmp_path), open_key(tmp_path / "other")))
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 4
    bundle.write_bytes(data)
    code, result = run(bundle)
    assert code == 1 and "is NOT valid" in result
