"""Settings: the default data folder and the environment variables."""

from pathlib import Path

import pytest

from engine.settings import Settings


@pytest.fixture(autouse=True)
def clear_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WAYSPEAK_DATA", "WAYSPEAK_DEVICE", "WAYSPEAK_THREADS", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")


def test_the_default_is_the_users_data_folder(tmp_path: Path) -> None:
    assert Settings.from_env() == Settings(tmp_path / ".local" / "share" / "wayspeak", "auto", 0)


def test_the_desktops_folder_is_respected_and_ours_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert Settings.from_env().data_dir == tmp_path / "xdg" / "wayspeak"
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "own"))
    assert Settings.from_env().data_dir == tmp_path / "own"
    monkeypatch.setenv("WAYSPEAK_DATA", "")
    assert Settings.from_env().data_dir == tmp_path / "xdg" / "wayspeak"


def test_settings_create_no_folder(tmp_path: Path) -> None:
    assert not Settings.from_env().data_dir.exists() and list(tmp_path.iterdir()) == []
