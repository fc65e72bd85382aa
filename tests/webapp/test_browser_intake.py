"""Files and links as people have them, given to the page in Chromium."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.webapp.browsing import SLOW_MS, Served, open_page, read_result

pytestmark = pytest.mark.timeout(600)
NAMES = ("a.ts", "b.mts", "c.m2ts", "d.3gp", "e.vob", "f.dat", "g.mpg", "recording")


def test_a_video_is_taken_under_any_name_and_a_text_under_none(
    browser: Browser, served: Served, tmp_path: Path
) -> None:
    page, watch = open_page(browser, served)
    expect(page.locator(".ws-picker-hint").first).to_contain_text("From an iPhone or iPad: send the original")
    clips = [shutil.copy(served.examples[0], tmp_path / name) for name in NAMES]
    page.locator("#ws-files input[type=file]").set_input_files(clips)
    expect(page.locator("#ws-files tr.file")).to_have_count(len(NAMES))
    page.reload()
    page.wait_for_selector("#ws-analyse")
    (tmp_path / "notes.mp4").write_text("no video")
    for name, shown in (("notes.mp4", "The file is text, not a video"), ("recording", "Evaluated")):
        page.locator("#ws-files input[type=file]").set_input_files(tmp_path / name)
        page.wait_for_selector("video#ws-player")
        page.click("#ws-analyse")
        expect(page.locator("#ws-summary, .ws-face").filter(has_text=shown).first).to_be_visible(timeout=SLOW_MS)
        page.get_by_label("Clear").first.click()
    assert read_result(page)["file"]["name"] == "recording"
    assert watch.outside == []
    page.context.close()
