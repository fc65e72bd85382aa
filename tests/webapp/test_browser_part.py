"""Choosing part and sound of a recording in Chromium, and the clock of the player, with the real app and engine."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from engine.media.clip import open_clip
from engine.types import FPS
from tests.remuxed import delay_picture, write_tracks
from tests.webapp.browsing import (
    SIZES,
    SLOW_MS,
    Served,
    finish_job,
    open_page,
    read_result,
    start_job,
    stop_playing,
    upload,
)
from tests.webapp.test_browser_people import find_faults

pytestmark = pytest.mark.timeout(600)  # several analyses in one test, also on slow machines

LATE_S = 1.52
GRAB = """async (width) => {
  const player = document.getElementById("ws-player");
  player.pause();
  const drawn = new Promise((done) => player.requestVideoFrameCallback(done)); // "seeked" comes before its picture
  player.currentTime = player.currentTime;
  await drawn;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = width;
  const context = canvas.getContext("2d");
  context.drawImage(player, 0, 0, width, width);
  return [player.currentTime, Array.from(context.getImageData(0, 0, width, width).data)];
}"""
SIDE = 64  # pixels of a compared picture


def preview(page: Page, path: Path) -> None:
    """Choose a file on a page without preview, and wait for its preview."""
    upload(page, path)
    await_preview(page)


def await_preview(page: Page) -> None:
    page.wait_for_selector(".ws-strip [data-edge=from]", timeout=SLOW_MS)
    expect(find_field(page, "from")).to_have_value("0:00:00")
    expect(find_field(page, "to")).not_to_have_value("")


def find_field(page: Page, edge: str) -> Locator:
    return page.locator(f"#ws-part-{edge} input, #ws-part-{edge} textarea")


def analyse(page: Page) -> dict[str, Any]:
    """Analyse the file and return its report."""
    finish_job(page, start_job(page))
    return read_result(page)


@pytest.mark.parametrize("size", SIZES, ids=["desktop-light", "phone-dark"])
def test_the_part_between_the_handles_is_judged(browser: Browser, served: Served, size: tuple[int, int, str]) -> None:
    page, watch = open_page(browser, served, size)
    preview(page, served.examples[0])
    expect(page.locator(".ws-frames img")).to_have_count(12)
    expect(page.locator("#ws-part-track")).not_to_be_visible()
    begin, end = page.get_by_label("Start of the part"), page.get_by_label("End of the part")
    length = float(end.get_attribute("max") or 0)
    assert find_faults(page) == []
    begin.focus()
    for _ in range(15):
        page.keyboard.press("ArrowRight")
    assert begin.get_attribute("aria-valuetext") == "0:00:01.5"
    expect(find_field(page, "from")).to_have_value("0:00:01.5")
    find_field(page, "to").fill("0:08.5")
    assert float(end.input_value()) == pytest.approx(8.5)
    begin.evaluate("(one) => { one.value = 99; one.dispatchEvent(new Event('input', { bubbles: true })); }")
    expect(find_field(page, "from")).to_have_value("0:00:07.5")  # the handles stay apart
    begin.evaluate("(one) => { one.value = 1.5; one.dispatchEvent(new Event('input', { bubbles: true })); }")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "the page scrolls sideways"
    report = analyse(page)
    assert (report["media"]["from_s"], report["media"]["to_s"]) == (
        pytest.approx(1.52, abs=0.05),
        pytest.approx(8.5, abs=0.05),
    )
    assert report["media"]["to_s"] < length
    assert report["tracks"][0]["start_s"] >= report["media"]["from_s"]
    expect(page.locator("#ws-choice input")).to_have_value(re.compile(r"0:00:01\.5–0:00:08\.5"))
    expect(page.locator(".ws-judged")).to_contain_text("0:00:01.5 to 0:00:08.5")
    assert (watch.console, watch.outside) == ([], [])
    page.context.close()


def test_untouched_handles_judge_the_whole_recording(browser: Browser, served: Served) -> None:
    page, _ = open_page(browser, served)
    preview(page, served.examples[0])
    report = analyse(page)
    assert report["media"]["from_s"] == 0.0 and report["media"]["to_s"] == pytest.approx(report["file"]["duration_s"])
    whole = open_clip(served.examples[0])
    assert report["file"]["duration_s"] == pytest.approx(whole.duration_s)
    page.get_by_role("button", name="Analyse another part").click()
    expect(page.locator("#ws-files tr.file")).to_have_count(0)
    await_preview(page)
    expect(page.locator("video#ws-player")).to_have_attribute("src", re.compile(r"^files/\w+/input$"))
    page.context.close()


def test_the_other_audio_track_is_judged_and_another_part_later(
    browser: Browser, served: Served, tmp_path: Path
) -> None:
    own, other = served.examples
    path = write_tracks(tmp_path / "two.mp4", own, [own, other], ["eng", "deu"], default=2)
    page, _ = open_page(browser, served)
    preview(page, path)
    expect(page.locator("#ws-part-track")).to_be_visible()
    scores = {}
    for number, title in ((1, "1: eng"), (2, "2: deu")):
        page.click("#ws-part-track input")
        page.get_by_role("option", name=title).click()
        expect(page.locator("#ws-part-track input")).to_have_value(re.compile(title))
        report = analyse(page)
        expect(page.locator(".ws-judged")).to_contain_text(f"audio track {number} of 2", timeout=SLOW_MS)
        assert report["media"]["audio_track"] == number
        scores[number] = report["tracks"][0]["consistency"]["score"]
    assert scores[1] > scores[2] + 0.1
    page.reload()
    page.wait_for_selector("#ws-get-result")
    page.get_by_role("button", name="Analyse another part").click()
    await_preview(page)
    find_field(page, "from").fill("2")
    page.click("#ws-part-track input")
    page.get_by_role("option", name="1: eng").click()
    expect(page.locator("#ws-part-track input")).to_have_value(re.compile("1: eng"))
    assert analyse(page)["media"]["audio_track"] == 1
    expect(page.locator(".ws-judged")).to_contain_text("0:00:02 to", timeout=SLOW_MS)
    page.context.close()


def shrink(image: np.ndarray) -> np.ndarray:
    """Return (SIDE, SIDE) float64 grey of an image (H, W, 3), by means of blocks."""
    height, width = (side // SIDE * SIDE for side in image.shape[:2])
    blocks = image[:height, :width].astype(np.float64).reshape(SIDE, height // SIDE, SIDE, width // SIDE, 3)
    return blocks.mean(axis=(1, 3, 4))


def test_a_click_shows_the_picture_of_its_media_time(browser: Browser, served: Served, tmp_path: Path) -> None:
    path = delay_picture(served.examples[0], tmp_path / "late.mp4", LATE_S)
    page, _ = open_page(browser, served)
    preview(page, path)
    report = analyse(page)
    assert report["media"]["player_zero_s"] == pytest.approx(LATE_S, abs=0.03)
    expect(page.locator(".ws-judged")).to_contain_text("0 is the first picture: 1.52 s")
    page.wait_for_selector(".ws-table [data-seek]", state="attached")
    page.get_by_text("The timeline as a table").click()
    windows = report["tracks"][0]["consistency"]["windows"]
    button = page.locator(".ws-table [data-seek]").nth(3)
    at_s = float(button.get_attribute("data-seek") or 0)
    assert at_s == pytest.approx(windows[3]["start_s"])
    stop_playing(page)
    button.click()
    player_s, pixels = page.evaluate(GRAB, SIDE)
    seen = np.array(pixels, np.uint8).reshape(SIDE, SIDE, 4)[..., :3].astype(np.float64).mean(2)
    frames = [shrink(frame.image) for frame in open_clip(path).read_frames()]
    errors = np.array([np.abs(frame - seen).mean() for frame in frames])
    shown_s = player_s - report["media"]["player_zero_s"]
    best_s = int(errors.argmin()) / FPS
    assert best_s == pytest.approx(shown_s, abs=0.13), "the picture is not that of the player's time"
    assert best_s == pytest.approx(at_s, abs=0.13), "the player is at another moment than the one clicked"
    page.context.close()
