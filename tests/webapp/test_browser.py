"""The page as a person meets it: the real app, the real engine, Chromium."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page, expect, sync_playwright
from safetensors.torch import save_file

from engine.licences import AV_HUBERT, accept_licence
from engine.models.avhubert import AVHubert, AVHubertConfig
from engine.pipeline import Engine
from engine.report import to_json
from engine.settings import Settings
from engine.weights import hash_file
from webapp.examples import make_examples

ROOT = Path(__file__).parents[2]
FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync""".split()
SLOW_MS = 180_000  # an analysis on a busy machine
expect.set_options(timeout=30_000)
SIZES = [(1440, 900, "light"), (390, 844, "dark")]


@dataclass(frozen=True, slots=True)
class Served:
    """The app under test."""

    address: str
    data_dir: Path
    examples: tuple[Path, ...]
    tripwire: Path  # appears if anything runs ffmpeg


@dataclass(slots=True)
class Watch:
    """What a page did that it should not."""

    console: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    examples = make_examples(folder / "data")
    tripwire = folder / "ffmpeg-was-run"
    port = _find_port()
    environment = os.environ | {
        "WAYSPEAK_DATA": str(folder / "data"),
        "WAYSPEAK_PORT": str(port),
        "TMPDIR": str(folder),
        "PATH": f"{_lay_tripwire(folder / 'bin', tripwire)}{os.pathsep}{os.environ['PATH']}",
    }
    for name in ("WAYSPEAK_HOST", "GRADIO_TEMP_DIR"):
        environment.pop(name, None)
    log = (folder / "app.log").open("wb")
    process = subprocess.Popen([sys.executable, "-m", "webapp"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}/"
        _await_page(address, process, folder / "app.log")
        yield Served(address, folder / "data", examples, tripwire)
    finally:
        process.terminate()
        process.wait(60)
        log.close()
    assert not list(folder.glob("wayspeak-uploads-*")), "uploads outlived the app"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    assert program, "no Chromium on PATH; `make test` installs it on Debian as root"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


def open_page(browser: Browser, served: Served, size: tuple[int, int, str] = SIZES[0]) -> tuple[Page, Watch]:
    """A fresh page that notes what it should not do."""
    width, height, scheme = size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page, watch = context.new_page(), Watch()
    page.set_default_timeout(30_000)
    page.on("console", lambda message: watch.console.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: watch.console.append(str(error)))
    page.on("request", lambda request: watch.outside.append(request.url) if _is_outside(request.url) else None)
    page.goto(served.address)
    page.wait_for_selector("#ws-analyse")
    return page, watch


def analyse_example(page: Page, name: str = "Example: own sound") -> None:
    page.get_by_role("button", name=name).click()
    page.wait_for_selector("video#ws-player")
    page.click("#ws-analyse")
    page.wait_for_selector(".ws-timeline .js-plotly-plot .point", timeout=SLOW_MS)


@pytest.mark.parametrize("size", SIZES, ids=["desktop-light", "phone-dark"])
def test_an_example_is_analysed_and_a_point_moves_the_player(
    browser: Browser, served: Served, size: tuple[int, int, str]
) -> None:
    page, watch = open_page(browser, served, size)
    analyse_example(page)
    expect(page.locator(".ws-face")).to_contain_text("Evaluated")
    expect(page.locator(".ws-face")).to_contain_text("more probable if this face produced this speech")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "the page scrolls sideways"
    point = page.locator(".ws-timeline .js-plotly-plot .point").nth(4)
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_timeout(300)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expected = _json_of(page)["tracks"][0]["consistency"]["windows"][4]["start_s"]
    assert expected > 2.0
    page.wait_for_function(
        f"Math.abs(document.getElementById('ws-player').currentTime - {expected}) < 1.5", timeout=10_000
    )
    assert page.evaluate("JSON.stringify(localStorage)") == "{}", "the browser kept something"
    assert (watch.console, watch.outside) == ([], [])
    assert not served.tripwire.exists(), "something ran ffmpeg"
    page.context.close()


def test_the_downloaded_report_is_the_engines_own(browser: Browser, served: Served) -> None:
    page, _ = open_page(browser, served)
    analyse_example(page)
    shown = _json_of(page)
    names = ("windows", "report", "bundle")
    with ExitStack() as open_files:
        left = {name: open_files.enter_context(_fetch(page, name)) for name in names}
        assert left["windows"].read(11) == b"file,sha256"
        assert b"Content-Security-Policy" in left["report"].read()
        assert left["bundle"].read(2) == b"PK"
    page.context.close()
    own = to_json(Engine.load(Settings(served.data_dir)).analyse(served.examples[0]))
    assert own["tracks"]
    for report in (shown, own):
        report.pop("timings_s")
    assert shown == own


def test_own_sound_scores_higher_than_another_sentences(browser: Browser, served: Served) -> None:
    page, _ = open_page(browser, served)
    scores = []
    for name in ("Example: own sound", "Example: other sound"):
        page.reload()
        page.wait_for_selector("#ws-analyse")
        analyse_example(page, name)
        scores.append(_json_of(page)["tracks"][0]["consistency"]["score"])
    page.context.close()
    assert scores[0] > scores[1] + 0.1


def test_a_button_of_the_table_moves_the_player_by_keyboard(browser: Browser, served: Served) -> None:
    page, _ = open_page(browser, served)
    analyse_example(page)
    page.locator(".ws-table summary").first.click()
    page.locator(".ws-table button").nth(3).focus()
    page.keyboard.press("Enter")
    seconds = float(page.locator(".ws-table button").nth(3).get_attribute("data-seek") or -1)
    assert seconds > 1.0
    page.wait_for_function(f"document.getElementById('ws-player').currentTime >= {seconds} - 0.1", timeout=10_000)
    page.context.close()


def test_a_second_opinion_stands_beside_the_first(browser: Browser, served: Served) -> None:
    """Weights appear while the app runs: the next page offers them. These are random, small, and nobody's."""
    page, _ = open_page(browser, served)
    expect(page.locator("#ws-lacking")).to_contain_text("AV-HuBERT LARGE and AV-HuBERT BASE: not here")
    page.context.close()
    with bring_avhubert(served.data_dir):
        page, watch = open_page(browser, served, SIZES[1])
        expect(page.locator("#ws-lacking")).to_contain_text("AV-HuBERT LARGE: not here")
        page.click("#ws-method input")
        page.get_by_role("option", name="Compact, by time; second: AV-HuBERT BASE", exact=True).click()
        analyse_example(page)
        expect(page.locator("#ws-summary")).to_contain_text("non-commercial research alone")
        expect(page.locator(".ws-second")).to_contain_text("Second opinion, AV-HuBERT BASE")
        expect(page.locator(".ws-curve .js-plotly-plot")).to_contain_text("AV-HuBERT BASE")
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[1][0], "the page scrolls sideways"
        report = _json_of(page)
        assert (report["model"], report["mode"]) == ("compact", "strict")
        assert report["tracks"][0]["consistency"]["second"]["model"] == "avhubert-base"
        assert (watch.console, watch.outside) == ([], [])
        page.context.close()


def test_paper_mode_shows_one_score_without_a_timeline(browser: Browser, served: Served) -> None:
    with bring_avhubert(served.data_dir):
        page, watch = open_page(browser, served)
        page.click("#ws-method input")
        page.get_by_role("option", name="AV-HuBERT BASE, as in the paper", exact=True).click()
        page.get_by_role("button", name="Example: own sound").click()
        page.wait_for_selector("video#ws-player")
        page.click("#ws-analyse")
        page.wait_for_selector(".ws-curve .js-plotly-plot", timeout=SLOW_MS)
        expect(page.locator("#ws-summary")).to_contain_text("over the first 50 s as a whole")
        expect(page.locator(".ws-timeline")).to_have_count(0)
        assert (watch.console, watch.outside) == ([], [])
        page.context.close()


@contextmanager
def bring_avhubert(data_dir: Path) -> Iterator[None]:
    """Put a small AV-HuBERT with random weights in the place of an imported one, licence accepted; take it away."""
    torch.manual_seed(0)
    config = AVHubertConfig(layers=1, width=64, ffn=32, heads=1, trunk=(2, 2, 2, 2))
    path = data_dir / "weights" / "avhubert_base.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file(AVHubert(config).state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps({"sha256": hash_file(path)}))
    accept_licence(AV_HUBERT, data_dir)
    try:
        yield
    finally:
        path.unlink()


def test_a_broken_file_is_told_clearly_and_the_page_goes_on(browser: Browser, served: Served, tmp_path: Path) -> None:
    broken = tmp_path / "not <b>really a video.mp4"
    broken.write_text("just a text\n" * 100)
    page, watch = open_page(browser, served)
    page.set_input_files("input[type=file]", broken)
    page.wait_for_selector("video#ws-player")
    page.click("#ws-analyse")
    expect(page.locator(".ws-error")).to_contain_text("What to do", timeout=60_000)
    expect(page.locator(".ws-error")).to_contain_text("UNREADABLE_VIDEO")
    expect(page.locator("#ws-get-result")).to_have_count(0)
    expect(page.locator(".ws-unplayable")).to_be_visible()
    page.get_by_label("Remove").or_(page.get_by_label("Clear")).first.click()
    analyse_example(page)
    expect(page.locator(".ws-error")).to_have_count(0)
    assert watch.outside == []
    page.context.close()


def test_no_file_is_told_in_words(browser: Browser, served: Served) -> None:
    page, watch = open_page(browser, served)
    page.click("#ws-analyse")
    expect(page.get_by_text("No video was chosen. Upload a file")).to_be_visible()
    assert (watch.console, watch.outside) == ([], [])
    page.context.close()


def test_a_job_outlives_its_page_and_is_found_by_its_address(browser: Browser, served: Served) -> None:
    page, _ = open_page(browser, served)
    page.get_by_role("button", name="Example: other sound").click()
    page.wait_for_selector("video#ws-player")
    page.click("#ws-analyse")
    page.wait_for_selector("#ws-summary [data-job] progress")
    address = page.url
    assert "?job=" in address
    page.context.close()
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(".ws-timeline .js-plotly-plot .point", timeout=SLOW_MS)
    assert page.url == address
    page.get_by_role("tab", name="History", exact=True).click()
    expect(page.locator("#ws-history")).to_contain_text("other-sound.mp4")
    context.close()


def test_a_job_is_cancelled_while_it_runs(browser: Browser, served: Served) -> None:
    page, _ = open_page(browser, served)
    page.get_by_role("button", name="Example: own sound").click()
    page.wait_for_selector("video#ws-player")
    page.click("#ws-analyse")
    page.wait_for_selector("#ws-summary progress")
    page.click("#ws-cancel")
    expect(page.locator("#ws-summary")).to_contain_text("This job was cancelled")
    expect(page.locator("#ws-cancel")).to_be_hidden()
    page.context.close()


def test_somebody_is_enrolled_found_and_forgotten(browser: Browser, served: Served) -> None:
    """One clip enrols a person, another of theirs is searched; what is forgotten is gone from the page."""
    page, watch = open_page(browser, served)
    page.get_by_role("tab", name="Speakers", exact=True).click()
    page.locator("#ws-enrol button").first.click()
    page.locator("#ws-clips input[type=file]").set_input_files(served.examples[0])
    page.wait_for_selector("#ws-clips .file-preview, #ws-clips table")
    page.click("#ws-look")
    page.wait_for_function("document.querySelector('#ws-quality').innerText.includes('natural')", timeout=SLOW_MS)
    page.fill("#ws-name input, #ws-name textarea", "Eileen")
    page.click("#ws-do-enrol")
    expect(page.get_by_text("Nobody has confirmed that the notice was shown")).to_be_visible()
    page.click("#ws-basis input")
    page.get_by_role("option", name="research").click()
    page.fill("#ws-purpose input, #ws-purpose textarea", "a test of the page")
    page.locator("#ws-told input").check()
    page.click("#ws-do-enrol")
    expect(page.locator("#ws-enrolled")).to_contain_text("of Eileen")
    expect(page.locator("#ws-people")).to_contain_text("Eileen")
    expect(page.locator("#ws-person-card")).to_contain_text("a test of the page")
    page.get_by_role("tab", name="Analyse", exact=True).click()
    page.get_by_label("Everybody enrolled").check()
    page.fill("#ws-reason input, #ws-reason textarea", "case 12")
    analyse_example(page, "Example: other sound")
    expect(page.locator(".ws-who")).to_contain_text("1. Eileen")
    expect(page.locator(".ws-who")).to_contain_text("Searched among one enrolled speaker")
    page.get_by_role("tab", name="Speakers", exact=True).click()
    page.locator("#ws-changes button").first.click()
    page.fill("#ws-forget-name input, #ws-forget-name textarea", "Eileen")
    page.click("#ws-forget")
    expect(page.locator("#ws-receipt")).to_contain_text("Eileen was forgotten")
    expect(page.locator("#ws-people")).not_to_contain_text("Eileen")
    assert (watch.console, watch.outside) == ([], [])
    page.context.close()


@pytest.mark.parametrize("size", SIZES, ids=["desktop-light", "phone-dark"])
def test_every_tab_fits_the_screen_and_can_be_reached_by_keyboard(
    browser: Browser, served: Served, size: tuple[int, int, str]
) -> None:
    page, watch = open_page(browser, served, size)
    for name in ("Analyse", "Speakers", "History", "Calibration", "About"):
        tab = page.get_by_role("tab", name=name, exact=True)
        if not tab.is_visible():  # a narrow screen keeps the last ones in a menu
            page.locator("#ws-tabs .overflow-menu button").first.click()
            page.locator("#ws-tabs .overflow-dropdown button", has_text=name).click()
        else:
            tab.focus()
            page.keyboard.press("Enter")
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], f"{name} scrolls sideways"
    assert (watch.console, watch.outside) == ([], [])
    page.context.close()


def test_files_of_the_data_folder_and_the_monitor_are_not_served(served: Served) -> None:
    for path in (f"gradio_api/file={served.examples[0]}", "gradio_api/file=/etc/passwd", "monitoring"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(served.address + path, timeout=10)
        assert refused.value.code in (401, 403, 404)


def _json_of(page: Page) -> dict:
    with _fetch(page, "result") as file:
        return json.load(file)


def _fetch(page: Page, name: str) -> Any:
    """What a link under the result leads to."""
    address = page.locator(f"#ws-get-{name}").get_attribute("href")
    assert address and address.startswith("files/")
    return urllib.request.urlopen(page.url.partition("?")[0] + address, timeout=60)


def _is_outside(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _lay_tripwire(folder: Path, mark: Path) -> Path:
    """Programs named like FFmpeg's that leave a mark when run."""
    folder.mkdir()
    for name in ("ffmpeg", "ffprobe"):
        (folder / name).write_text(f"#!/bin/sh\ntouch '{mark}'\nexit 1\n")
        (folder / name).chmod(0o755)
    return folder


def _await_page(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(240):
        assert process.poll() is None, f"the app ended: {log.read_text('utf-8', 'replace')[-2000:]}"
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"the app did not answer: {log.read_text('utf-8', 'replace')[-2000:]}")
