"""The page in Chromium: enrolment, search, erasure, several users, and accessibility."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from engine.settings import Settings
from tests.webapp.browsing import (
    OTHER,
    SIZES,
    SLOW_MS,
    WAIT_MS,
    Served,
    analyse_example,
    await_still,
    enrol,
    finish_job,
    open_page,
    serve,
    start_job,
    upload,
)
from tests.webapp.served import PASSWORD, make_accounts
from webapp.accounts.records import Role
from webapp.analysis.examples import make_examples

SERIOUS = ("serious", "critical")
OF_GRADIO = 'nested-interactive: <button class="icon-button'  # its button for another file holds a hidden input

pytestmark = pytest.mark.timeout(600)  # several analyses in one test, also on slow machines


class Quiet(SimpleHTTPRequestHandler):
    """Serve a folder without logging."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Start the app with two users; a developer flag lets it fetch from this machine."""
    folder = tmp_path_factory.mktemp("shared")
    make_accounts(Settings(folder / "data"), ann=Role.ANALYST, ben=Role.ANALYST)
    with serve(folder, WAYSPEAK_ALLOW_LOOPBACK_FETCH="1") as served:
        yield served


@pytest.fixture(scope="module")
def site(shared: Served) -> Iterator[str]:
    """A site with one video."""
    handler = partial(Quiet, directory=str(shared.examples[0].parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{shared.examples[0].name}"
        server.shutdown()


def find_faults(page: Page) -> list[str]:
    """Return axe's accessibility violations: rule and element."""
    await_still(page)
    found = Axe().run(page).response["violations"]
    faults = [
        f"{one['id']}: {node['html'][:200]}" for one in found if one["impact"] in SERIOUS for node in one["nodes"]
    ]
    return [fault for fault in faults if not fault.startswith(OF_GRADIO)]


def test_enrolment_search_and_erasure_work_in_the_browser(browser: Browser, served: Served) -> None:
    """Search a clip that was not enrolled; an erased speaker disappears from the page."""
    (other,) = make_examples(served.data_dir, (OTHER,))
    page, watch = open_page(browser, served)
    enrol(page, "Eileen", served.examples[0])
    expect(page.locator("#ws-person-card")).to_contain_text("a test of the page")
    enrol(page, "Zoe", other)
    page.get_by_role("tab", name="Analyse", exact=True).click()
    page.get_by_label("Everybody enrolled").check()
    page.fill("#ws-reason input, #ws-reason textarea", "case 12")
    analyse_example(page, "Example: other sound")
    found = page.locator(".ws-who")
    expect(found).to_contain_text("1. Eileen")
    expect(found).to_contain_text("2. Zoe")
    expect(found).to_contain_text("Searched among 2 enrolled speakers")
    page.get_by_text("Watch their clips").first.click()
    expect(found.locator("video").first).to_be_visible()
    page.get_by_role("tab", name="Speakers", exact=True).click()
    page.locator("#ws-person input").click()
    page.get_by_role("option", name="Eileen").click()
    page.locator("#ws-changes button").first.click()
    page.fill("#ws-forget-name input, #ws-forget-name textarea", "Eileen")
    page.click("#ws-forget")
    expect(page.locator("#ws-receipt")).to_contain_text("Eileen was forgotten")
    expect(page.locator("#ws-people")).not_to_contain_text("Eileen")
    expect(page.locator("#ws-people")).to_contain_text("Zoe")
    assert (watch.console, watch.outside) == ([], [])
    page.context.close()


def log_in(browser: Browser, served: Served, name: str) -> tuple[BrowserContext, Page]:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(served.address)
    page.fill("input[name=name]", name)
    page.fill("input[name=password]", PASSWORD)
    page.click("button")
    page.wait_for_selector("#ws-analyse")
    expect(page.locator(".ws-title header")).to_contain_text(f"{name}, analyst")
    return context, page


def test_two_who_log_in_do_not_see_each_other(browser: Browser, shared: Served, site: str, tmp_path: Path) -> None:
    """One user analyses a link after its preview; the other finds neither the job nor its files."""
    context, page = log_in(browser, shared, "ann")
    page.fill("#ws-link input, #ws-link textarea", site)
    page.click("#ws-link-look")
    expect(page.locator("#ws-link-about")).to_contain_text("in-sync")
    job = start_job(page)
    finish_job(page, job)
    page.wait_for_url(f"**/?job={job}")
    address, file = page.url, page.locator("#ws-get-result").get_attribute("href")
    assert context.request.get(shared.address + str(file)).status == 200
    other, page = log_in(browser, shared, "ben")
    (tmp_path / "note-of-ben.mp4").write_text("no video")
    upload(page, tmp_path / "note-of-ben.mp4")
    own = start_job(page)
    page.goto(address)
    expect(page.locator("#ws-lacking")).to_contain_text("not here")  # written together with the job of the address
    expect(page.locator("#ws-summary")).to_contain_text("Upload a talking-head clip")
    page.get_by_role("tab", name="History", exact=True).click()
    expect(page.locator("#ws-history")).to_contain_text("note-of-ben")
    assert own != job
    expect(page.locator("#ws-history")).not_to_contain_text("in-sync")
    assert other.request.get(shared.address + str(file)).status == 404
    with pytest.raises(urllib.error.HTTPError) as refused:  # and nothing without a login
        urllib.request.urlopen(shared.address + str(file), timeout=60)
    assert refused.value.code == 401
    page.get_by_role("link", name="Log out").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("input[name=password]")).to_be_visible()
    other.close()
    context.close()


def test_an_upload_is_its_owners_alone_and_the_page_asks_for_no_closed_route(browser: Browser, shared: Served) -> None:
    """Every answer of 400 or more that the browser sees in a whole session is a route that the allow-list lacks."""
    context, page = log_in(browser, shared, "ann")
    refused: list[str] = []
    context.on(
        "response", lambda answer: refused.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None
    )
    page.reload()
    page.wait_for_selector("#ws-analyse")
    with page.expect_response("**/gradio_api/upload?*") as uploaded:
        page.set_input_files("input[type=file]", shared.examples[0])
    file = f"{shared.address}gradio_api/file={uploaded.value.json()[0]}"
    page.wait_for_selector("video#ws-player")
    finish_job(page, start_job(page))
    page.wait_for_selector(".ws-timeline .js-plotly-plot .point", timeout=SLOW_MS)
    with page.expect_download() as download:
        page.click("#ws-get-result")
    assert download.value.path().stat().st_size > 0
    for name in ("Speakers", "History", "Calibration", "About"):
        page.get_by_role("tab", name=name, exact=True).click()
        await_still(page)
    assert refused == []
    assert context.request.get(file).status == 200
    other, _ = log_in(browser, shared, "ben")
    assert other.request.get(file).status == 404
    other.close()
    context.close()


def test_a_result_can_be_read_by_all(browser: Browser, served: Served) -> None:
    page, _ = open_page(browser, served)
    analyse_example(page)
    assert find_faults(page) == []
    page.context.close()


@pytest.mark.parametrize("size", SIZES, ids=["desktop-light", "phone-dark"])
def test_every_tab_fits_the_screen_can_be_reached_by_keyboard_and_read_by_all(
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
        assert find_faults(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], f"{name} scrolls sideways"
    assert (watch.console, watch.outside) == ([], [])
    page.context.close()
