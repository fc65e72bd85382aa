"""From a file to its result in Chromium, with the real app and engine."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, expect
from safetensors.torch import save_file

from engine.models.avhubert import AVHubert, AVHubertConfig
from engine.pipeline import Engine
from engine.reports.json import to_json
from engine.settings import Settings
from engine.weights.licences import AV_HUBERT, accept_licence
from engine.weights.registry import hash_file
from tests.remuxed import repeat
from tests.webapp.browsing import (
    SIZES,
    SLOW_MS,
    Served,
    analyse_example,
    choose_example,
    fetch,
    finish_job,
    open_page,
    read_result,
    start_job,
    stop_playing,
    upload,
)

pytestmark = pytest.mark.timeout(600)  # several analyses in one test, also on slow machines


@pytest.mark.parametrize("size", SIZES, ids=["desktop-light", "phone-dark"])
def test_an_example_is_analysed_and_a_point_moves_the_player(
    browser: Browser, served: Served, size: tuple[int, int, str]
) -> None:
    page, watch = open_page(browser, served, size)
    analyse_example(page)
    expect(page.locator(".ws-face")).to_contain_text("Evaluated")
    expect(page.locator(".ws-face")).to_contain_text("more probable if this face produced this speech")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "the page scrolls sideways"
    expected = read_result(page)["tracks"][0]["consistency"]["windows"][4]["start_s"]
    assert expected > 2.0
    stop_playing(page)
    page.wait_for_selector(".ws-timeline .js-plotly-plot[data-wired]")
    point = page.locator(".ws-timeline .js-plotly-plot .point").nth(4)
    point.hover(force=True)  # plotly's own layer lies over it
    page.wait_for_selector(".ws-timeline .hoverlayer .hovertext")  # before that, plotly takes no click
    point.click(force=True)
    page.wait_for_function(f"Math.abs(document.getElementById('ws-player').currentTime - {expected}) < 0.1")
    assert page.evaluate("JSON.stringify(localStorage)") == "{}", "the browser kept something"
    assert (watch.console, watch.outside) == ([], [])
    assert not served.tripwire.exists(), "something ran ffmpeg"
    page.context.close()


def test_the_downloaded_report_is_the_engines_own(browser: Browser, served: Served) -> None:
    page, _ = open_page(browser, served)
    analyse_example(page)
    shown = read_result(page)
    names = ("windows", "report", "bundle")
    with ExitStack() as open_files:
        left = {name: open_files.enter_context(fetch(page, name)) for name in names}
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
        page.goto(served.address)  # not a reload, which would draw the job that the address names
        page.wait_for_selector("#ws-analyse")
        analyse_example(page, name)
        scores.append(read_result(page)["tracks"][0]["consistency"]["score"])
    page.context.close()
    assert scores[0] > scores[1] + 0.1


def test_a_button_of_the_table_moves_the_player_by_keyboard(browser: Browser, served: Served) -> None:
    page, _ = open_page(browser, served)
    analyse_example(page)
    stop_playing(page)
    page.get_by_text("The timeline as a table").click()
    page.locator(".ws-table button").nth(3).focus()
    page.keyboard.press("Enter")
    seconds = float(page.locator(".ws-table button").nth(3).get_attribute("data-seek") or -1)
    assert seconds > 1.0
    page.wait_for_function(f"Math.abs(document.getElementById('ws-player').currentTime - {seconds}) < 0.1")
    page.context.close()


def test_a_second_opinion_stands_beside_the_first(browser: Browser, served: Served) -> None:
    """Weights added while the app runs are offered by the next page; these are small and random."""
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
        report = read_result(page)
        assert (report["model"], report["mode"]) == ("compact", "strict")
        assert report["tracks"][0]["consistency"]["second"]["model"] == "avhubert-base"
        assert (watch.console, watch.outside) == ([], [])
        page.context.close()


def test_paper_mode_shows_one_score_without_a_timeline(browser: Browser, served: Served) -> None:
    with bring_avhubert(served.data_dir):
        page, watch = open_page(browser, served)
        expect(page.locator("#ws-lacking")).to_contain_text("AV-HuBERT LARGE: not here")
        page.click("#ws-method input")
        page.get_by_role("option", name="AV-HuBERT BASE, as in the paper", exact=True).click()
        choose_example(page)
        finish_job(page, start_job(page))
        page.wait_for_selector(".ws-curve .js-plotly-plot", timeout=SLOW_MS)
        expect(page.locator("#ws-summary")).to_contain_text("over the first 50 s as a whole")
        expect(page.locator(".ws-timeline")).to_have_count(0)
        assert (watch.console, watch.outside) == ([], [])
        page.context.close()


@contextmanager
def bring_avhubert(data_dir: Path) -> Iterator[None]:
    """Install a small AV-HuBERT with random weights and accepted licence, and remove it at the end."""
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


def test_broken_file_is_reported_and_page_keeps_working(browser: Browser, served: Served, tmp_path: Path) -> None:
    broken = tmp_path / "not <b>really a video.mp4"
    broken.write_text("just a text\n" * 100)
    page, watch = open_page(browser, served)
    upload(page, broken)
    job = start_job(page)
    error = page.locator(f"#ws-summary [data-job='{job}'] .ws-error")
    expect(error).to_contain_text("What to do", timeout=SLOW_MS)
    expect(error).to_contain_text("UNREADABLE_VIDEO")
    expect(page.locator("#ws-get-result")).to_have_count(0)
    expect(page.locator(".ws-unplayable")).to_be_visible()
    page.locator("#ws-files").get_by_label("Clear").click()
    analyse_example(page)
    expect(page.locator(".ws-error")).to_have_count(0)
    assert watch.outside == []
    page.context.close()


def test_missing_file_is_reported_as_text(browser: Browser, served: Served) -> None:
    page, watch = open_page(browser, served)
    page.click("#ws-analyse")
    expect(page.get_by_text("No video was chosen. Upload a file")).to_be_visible()
    assert (watch.console, watch.outside) == ([], [])
    page.context.close()


def test_a_job_outlives_its_page_and_is_found_by_its_address(browser: Browser, served: Served) -> None:
    page, _ = open_page(browser, served)
    choose_example(page, "Example: other sound")
    job = start_job(page)
    page.wait_for_url(f"**/?job={job}")
    address = page.url
    page.context.close()
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(".ws-timeline .js-plotly-plot .point", timeout=SLOW_MS)
    expect(page.locator("#ws-summary [data-job]")).to_have_attribute("data-job", job)
    assert page.url == address
    page.get_by_role("tab", name="History", exact=True).click()
    expect(page.locator("#ws-history")).to_contain_text("other-sound.mp4")
    context.close()


def test_a_job_is_cancelled_while_it_runs(browser: Browser, served: Served, tmp_path: Path) -> None:
    page, _ = open_page(browser, served)
    upload(page, repeat(served.examples[0], tmp_path / "long.mp4", times=25))  # not done before it is cancelled
    start_job(page)
    page.wait_for_selector("#ws-summary progress")
    page.click("#ws-cancel")
    expect(page.locator("#ws-summary")).to_contain_text("This job was cancelled")
    expect(page.locator("#ws-cancel")).to_be_hidden()
    page.context.close()


def test_files_of_the_data_folder_and_the_monitor_are_not_served(served: Served) -> None:
    for path in (f"gradio_api/file={served.examples[0]}", "gradio_api/file=/etc/passwd", "monitoring"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(served.address + path, timeout=60)
        assert refused.value.code in (401, 403, 404)
