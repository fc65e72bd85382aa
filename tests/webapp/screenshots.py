"""Screenshots for the docs, with drawn faces only: `python -m tests.webapp.screenshots docs/screens`."""

import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.webapp.browsing import OTHER, SIZES, Served, analyse_example, enrol, launch, open_page, serve
from webapp.analysis.examples import make_examples

PHONE = SIZES[1]
TALL = (1440, 1800, "light")


def take_pictures(browser: Browser, served: Served, folder: Path) -> None:
    """Enrol two speakers, search a clip of one, and take screenshots."""
    (other,) = make_examples(served.data_dir, (OTHER,))
    page, _ = open_page(browser, served, TALL)
    enrol(page, "Eileen", served.examples[0])
    enrol(page, "Zoe", other)
    page.reload()
    page.wait_for_selector("#ws-analyse")
    page.get_by_label("Everybody enrolled").check()
    page.fill("#ws-reason input, #ws-reason textarea", "case 12")
    analyse_example(page, "Example: other sound")
    _save(page, folder / "analyse.png")
    address = page.url
    for name in ("Speakers", "History", "Calibration"):
        page.get_by_role("tab", name=name, exact=True).click()
        _save(page, folder / f"{name.lower()}.png")
    page.context.close()
    page, _ = open_page(browser, served, PHONE)
    page.goto(address)
    page.wait_for_selector(".ws-timeline .js-plotly-plot .point")
    page.locator(".ws-face h2").first.scroll_into_view_if_needed()
    _save(page, folder / "phone.png", is_whole=False)
    page.context.close()


def _save(page: Page, path: Path, is_whole: bool = True) -> None:
    page.wait_for_timeout(3000)
    page.screenshot(path=path, full_page=is_whole)
    image = Image.open(path).convert("RGB")
    if image.width > 1000:
        image = image.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.LANCZOS)
    image.quantize(96).save(path, optimize=True)


def main() -> None:
    """Write all screenshots into the given folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, serve(Path(data)) as served, launch() as browser:
        take_pictures(browser, served, folder)


if __name__ == "__main__":
    main()
