import json
import sys

import pytest

from engine.fetch import process
from tests.engine.fetch.conftest import film, site
from tests.engine.fetch.sites import say
from tests.engine.fetch.test_fetch import QUICK
from webapp.cli.main import main

__all__ = ["film", "site"]  # fixtures


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Run `wayspeak fetch ...` in an empty folder; what it exits with, prints and complains of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, "BOOT", QUICK)
    monkeypatch.setenv("WAYSPEAK_ALLOW_LOOPBACK_FETCH", "1")

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wayspeak", "fetch", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capfd.readouterr()

    return call


@pytest.fixture
def link(site, film):
    site.pages = {"/a.mp4": say(film, "video/mp4")}
    return f"http://127.0.0.1:{site.port}/a.mp4"


def test_file_is_written_where_it_is_wanted_and_its_origin_printed(run, link, film, tmp_path, caplog):
    code, out, err = run(link, "--out", tmp_path / "b.mp4", "--json")
    facts = json.loads(out)

    assert code == 0 and (tmp_path / "b.mp4").read_bytes() == film and "ALLOW_LOOPBACK" in caplog.text
    assert facts["path"] == str(tmp_path / "b.mp4") and facts["final_url"] == link and len(facts["sha256"]) == 64
    code, out, err = run(link, "--out", tmp_path / "b.mp4")
    assert (code, out) == (2, "") and "already exists" in err
    assert [path.name for path in tmp_path.iterdir()] == ["b.mp4"]


def test_information_alone_leaves_nothing(run, link, tmp_path):
    code, out, _ = run(link, "--info")

    assert code == 0 and "title          a\n" in out and "duration_s     unknown\n" in out
    assert list(tmp_path.iterdir()) == []


def test_without_the_flag_loopback_is_one_line_and_code_2(run, link, site, monkeypatch, tmp_path):
    monkeypatch.setenv("WAYSPEAK_ALLOW_LOOPBACK_FETCH", "yes")  # anything but 1 is no
    code, out, err = run(link)

    assert (code, out, err.count("\n")) == (2, "", 1) and "Port" in err
    assert site.requests == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("payload", ["--version", "--exec=touch x", "-o/tmp/x", "--config-locations=x", "-U"])
def test_options_of_ytdlp_are_none_here(run, payload, tmp_path):
    for arguments in ((payload,), ("--", payload)):
        code, out, err = run(*arguments)
        assert code == 2 and out == "" and err
    assert list(tmp_path.iterdir()) == []
