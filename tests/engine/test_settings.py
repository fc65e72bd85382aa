"""Settings: the default data folder and the environment variables."""

from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.settings import Settings, count_cores, share_cores

LIMITS = ("WAYSPEAK_MAX_MINUTES", "WAYSPEAK_MAX_MB")
WORKERS = "WAYSPEAK_WORKERS"


@pytest.fixture(autouse=True)
def clear_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variables = ("WAYSPEAK_DATA", "WAYSPEAK_DEVICE", "WAYSPEAK_THREADS", "WAYSPEAK_COMPILE", WORKERS)
    for name in (*variables, "XDG_DATA_HOME", *LIMITS):
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


def test_compiling_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Settings.from_env().compile_nets
    monkeypatch.setenv("WAYSPEAK_COMPILE", "1")
    assert Settings.from_env().compile_nets


def test_settings_create_no_folder(tmp_path: Path) -> None:
    assert not Settings.from_env().data_dir.exists() and list(tmp_path.iterdir()) == []


def test_length_and_size_are_raised_together_for_files_links_and_kept_files(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Settings.from_env()
    monkeypatch.setenv("WAYSPEAK_MAX_MINUTES", "240")
    monkeypatch.setenv("WAYSPEAK_MAX_MB", "4096")
    after = Settings.from_env()
    assert after.limits.max_duration_s == after.fetch_limits.max_duration_s == 4 * 3600
    assert after.limits.max_bytes == after.fetch_limits.max_bytes == 4 * 2**30
    assert after.queue.max_bytes == 10 * 4 * 2**30
    assert after.limits.max_source_frames == 16 * before.limits.max_source_frames
    assert after.limits.max_cpu_s == 16 * before.limits.max_cpu_s
    assert after.fetch_limits.wall_s > 8 * before.fetch_limits.wall_s
    assert after.limits.max_memory_bytes == before.limits.max_memory_bytes


def test_lower_limits_leave_times_and_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Settings.from_env()
    monkeypatch.setenv("WAYSPEAK_MAX_MINUTES", "1")
    monkeypatch.setenv("WAYSPEAK_MAX_MB", "10")
    after = Settings.from_env()
    assert (after.limits.max_duration_s, after.limits.max_bytes) == (60.0, 10 * 2**20)
    assert (after.limits.max_cpu_s, after.queue) == (before.limits.max_cpu_s, before.queue)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", ["0", "-1", "100000", "4h", "1.5", "٣"])
def test_a_limit_that_is_no_number_in_its_range_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(EngineError, match=name) as refused:
        Settings.from_env()
    assert "whole number from 1 to" in refused.value.hint


def test_all_cores_that_the_process_may_use_are_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 3, 5, 6, 7}, raising=False)
    assert count_cores() == Settings.from_env().count_workers() == 5
    assert [share_cores(n_processes) for n_processes in (1, 2, 3, 5, 9)] == [5, 2, 1, 1, 1]
    monkeypatch.setenv(WORKERS, "0")
    assert Settings.from_env().count_workers() == 5
    monkeypatch.setenv(WORKERS, "3")
    assert Settings.from_env().count_workers() == 3


@pytest.mark.parametrize("value", ["-1", "65", "many", "1.5"])
def test_a_bad_number_of_workers_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(WORKERS, value)
    with pytest.raises(EngineError, match="WAYSPEAK_WORKERS") as raised:
        Settings.from_env()
    assert "from 0 to 64" in raised.value.hint
