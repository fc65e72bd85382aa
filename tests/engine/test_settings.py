"""Where data stands when nobody says where."""

from pathlib import Path

import pytest

from engine.settings import Settings


@pytest.fixture(autouse=True)
def nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WAYSPEAK_DATA", "WAYSPEAK_DEVICE", "WAYSPEAK_THREADS", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")


def test_data_stands_in_the_users_folder(tmp_path: Path) -> None:
    assert Settings.from_env() == Settings(tmp_path / ".local" / "share" / "wayspeak", "auto", 0)


def test_the_desktops_folder_is_respected_and_ours_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert Settings.from_env().data_dir == tmp_path / "xdg" / "wayspeak"
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "own"))
    assert Settings.from_env().data_dir == tmp_path / "own"
    monkeypatch.setenv("WAYSPEAK_DATA", "")
    assert Settings.from_env().data_dir == tmp_path / "xdg" / "wayspeak"


def test_naming_the_folder_makes_none(tmp_path: Path) -> None:
    assert not Settings.from_env().data_dir.exists() and list(tmp_path.iterdir()) == []
