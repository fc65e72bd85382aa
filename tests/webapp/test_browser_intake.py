"""Files and links as people have them, given to the page in Chromium."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from engine.weights.registry import hash_file
from tests.engine.fetch.sites import Site, say
from tests.webapp.browsing import SLOW_MS, Served, finish_job, open_page, read_result, serve, start_job, upload

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
        upload(page, tmp_path / name)
        if name == "recording":
            page.wait_for_function("document.getElementById('ws-player')?.readyState > 0")
        job = start_job(page)
        expect(page.locator("#ws-summary, .ws-face").filter(has_text=shown).first).to_be_visible(timeout=SLOW_MS)
        if name == "recording":
            finish_job(page, job)
        page.locator("#ws-files").get_by_label("Clear").click()
    assert read_result(page)["file"]["name"] == "recording"
    assert watch.outside == []
    page.context.close()


def test_of_a_link_with_several_videos_one_is_chosen_on_the_page(browser: Browser, tmp_path: Path) -> None:
    site = Site()
    try:
        with serve(tmp_path, WAYSPEAK_ALLOW_LOOPBACK_FETCH="1") as served:
            post = b'<title>Post</title><video src="/1.mp4"></video><video src="/2.mp4"></video>'
            site.pages = {"/post": say(post)} | {
                f"/{number}.mp4": say(path.read_bytes(), "video/mp4")
                for number, path in enumerate(served.examples[:2], start=1)
            }
            page, watch = open_page(browser, served)
            page.fill("#ws-link input, #ws-link textarea", f"http://127.0.0.1:{site.port}/post")
            expect(page.locator("#ws-link-item")).to_be_hidden()
            start_job(page)
            about = page.locator("#ws-link-about")
            expect(about).to_contain_text("This link has 2 videos", timeout=SLOW_MS)
            expect(about.locator("li")).to_have_text(["Post (1)", "Post (2)"])
            page.click("#ws-link-item input")
            page.get_by_role("option", name="2: Post (2)").click()
            finish_job(page, start_job(page))
            page.wait_for_selector(".ws-timeline .js-plotly-plot .point", timeout=SLOW_MS)
            page.wait_for_function("document.getElementById('ws-player')?.readyState > 0")  # the fetched file
            assert read_result(page)["file"]["sha256"] == hash_file(served.examples[1])
            assert watch.outside == []
            page.context.close()

            german = browser.new_context(locale="de-DE").new_page()
            german.goto(served.address)
            german.fill("#ws-link input, #ws-link textarea", f"http://127.0.0.1:{site.port}/post")
            german.click("#ws-link-look")
            expect(german.locator("#ws-link-about")).to_contain_text("Dieser Link hat 2 Videos", timeout=SLOW_MS)
            expect(german.locator("#ws-link-item")).to_contain_text("Welches seiner Videos")
            german.locator("#ws-link input, #ws-link textarea").press("End")
            german.keyboard.type("x")
            expect(german.locator("#ws-link-item")).to_be_hidden()
            german.context.close()
    finally:
        site.close()
