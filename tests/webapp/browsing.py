"""The real app in its own process, and a Chromium browser."""

import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from engine.synthesis.tts import Voice
from engine.synthesis.visemes import Manner
from tests.examples import draw_examples
from tests.ports import reserve_port
from webapp.analysis.examples import EXAMPLES, FOLDER, Example, make_examples

ROOT = Path(__file__).parents[2]
FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync""".split()
SLOW_MS = 180_000  # an analysis on a busy machine
WAIT_MS = 90_000  # an event of the page on a busy machine
expect.set_options(timeout=WAIT_MS)
SIZES = [(1440, 900, "light"), (390, 844, "dark")]

OTHER = Example(
    "somebody-else.mp4",
    "Somebody else",
    "The same portrait, moved by another manner.",
    "The train to the coast leaves at seven in the morning. Nobody knows who paid for the seven tickets, and the "
    "porter would not tell them anything before noon.",
    "The train to the coast leaves at seven in the morning. Nobody knows who paid for the seven tickets, and the "
    "porter would not tell them anything before noon.",
    Voice("en-us+m3", words_per_minute=145),
    Manner(head_deg=4.0, head_hz=0.5, blinks_per_min=25.0, seed=3),
)


@dataclass(frozen=True, slots=True)
class Served:
    """The app under test."""

    address: str
    data_dir: Path
    examples: tuple[Path, ...]
    tripwire: Path  # created if anything runs ffmpeg


@dataclass(slots=True)
class Watch:
    """Unwanted events of a page."""

    console: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


@contextmanager
def serve(folder: Path, **settings: str) -> Iterator[Served]:
    """Run the app on a data folder of its own."""
    shutil.copytree(_draw_examples().parent, folder / "data" / FOLDER)
    examples = make_examples(folder / "data")  # all there
    tripwire = folder / "ffmpeg-was-run"
    environment = os.environ | {
        "WAYSPEAK_DATA": str(folder / "data"),
        "TMPDIR": str(folder),
        "PATH": f"{_lay_tripwire(folder / 'bin', tripwire)}{os.pathsep}{os.environ['PATH']}",
    }
    for name in ("WAYSPEAK_HOST", "GRADIO_TEMP_DIR"):
        environment.pop(name, None)
    with (folder / "app.log").open("wb") as log, reserve_port() as port:
        environment["WAYSPEAK_PORT"] = str(port)
        process = subprocess.Popen(
            [sys.executable, "-m", "webapp"], cwd=ROOT, env=environment | settings, stdout=log, stderr=log
        )
        try:
            address = f"http://127.0.0.1:{port}/"
            _await_page(address, process, folder / "app.log")
            yield Served(address, folder / "data", examples, tripwire)
        finally:
            process.terminate()
            process.wait(180)  # a job that runs is ended first
    assert not list(folder.glob("wayspeak-uploads-*")), "uploads outlived the app"


@contextmanager
def launch() -> Iterator[Browser]:
    """Start Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    assert program, "no Chromium on PATH; `make test` installs it on Debian as root"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


def open_page(browser: Browser, served: Served, size: tuple[int, int, str] = SIZES[0]) -> tuple[Page, Watch]:
    """Open a new page that records unwanted events."""
    width, height, scheme = size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page, watch = context.new_page(), Watch()
    page.set_default_timeout(WAIT_MS)
    page.on("console", lambda message: watch.console.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: watch.console.append(str(error)))
    page.on("request", lambda request: watch.outside.append(request.url) if _is_outside(request.url) else None)
    page.goto(served.address)
    page.wait_for_selector("#ws-analyse")
    return page, watch


def choose_example(page: Page, name: str = "Example: own sound") -> None:
    """Choose an example and wait until the form and the player have it."""
    page.get_by_role("button", name=name).click()
    (stem,) = (Path(example.file).stem for example in EXAMPLES if example.title == name)
    expect(page.locator("#ws-files tr.file")).to_contain_text(stem)
    expect(page.locator("video#ws-player")).to_have_attribute("src", re.compile(stem))


def upload(page: Page, path: Path) -> None:
    """Choose a file and wait until the form has it."""
    page.locator("#ws-files input[type=file]").set_input_files(path)
    expect(page.locator("#ws-files tr.file")).to_contain_text(path.stem, timeout=SLOW_MS)


def start_job(page: Page) -> str:
    """Press Analyse, wait until the page shows the new job instead of an earlier one, and return its id."""
    before = page.locator("#ws-summary [data-job]").evaluate_all("all => all.map(one => one.dataset.job)")
    page.click("#ws-analyse")
    shown = page.wait_for_function(
        """before => {
            const job = document.querySelector("#ws-summary [data-job]")?.dataset.job;
            return job && !before.includes(job) && job;
        }""",
        arg=before,
    )
    return str(shown.json_value())


def finish_job(page: Page, job: str) -> None:
    """Wait for the result of this job."""
    page.wait_for_selector(f"#ws-get-result[href*='{job}']", timeout=SLOW_MS)


def analyse_example(page: Page, name: str = "Example: own sound") -> None:
    """Choose an example, analyse it and wait until its own result is drawn, not that of an earlier job."""
    choose_example(page, name)
    finish_job(page, start_job(page))
    page.wait_for_selector(".ws-timeline .js-plotly-plot .point", timeout=SLOW_MS)


def enrol(page: Page, name: str, clip: Path) -> None:
    """Enrol a speaker from one clip, after the error about a missing field."""
    page.get_by_role("tab", name="Speakers", exact=True).click()
    expect(page.locator("#ws-enrol button").first).to_be_visible()
    if not page.locator("#ws-clips").is_visible():
        page.locator("#ws-enrol button").first.click()
    else:
        page.locator("#ws-clips").get_by_label("Clear").click()
    page.locator("#ws-clips input[type=file]").set_input_files(clip)
    expect(page.locator("#ws-clips tr.file")).to_contain_text(clip.stem)
    page.click("#ws-look")
    expect(page.locator("#ws-quality")).to_contain_text(clip.name)
    expect(page.locator("#ws-enrol-player video")).to_have_attribute("aria-label", clip.name)
    expect(page.locator("#ws-quality td").nth(3)).to_have_text("natural", timeout=SLOW_MS)
    page.fill("#ws-name input, #ws-name textarea", name)
    if not page.locator("#ws-told input").is_checked():
        page.click("#ws-do-enrol")
        expect(page.get_by_text("It is not confirmed that the notice was shown")).to_be_visible()
        page.click("#ws-basis input")
        page.get_by_role("option", name="research").click()
        page.fill("#ws-purpose input, #ws-purpose textarea", "a test of the page")
        page.locator("#ws-told input").check()
    page.get_by_label("Enrol even who moves like somebody enrolled already").check()
    page.click("#ws-do-enrol")
    expect(page.locator("#ws-enrolled")).to_contain_text(f"of {name}")
    expect(page.locator("#ws-people")).to_contain_text(name)


def stop_playing(page: Page) -> None:
    """Let the player keep the time that it is set to: its picture would move on before it is read."""
    page.evaluate("() => { HTMLMediaElement.prototype.play = () => Promise.resolve(); }")


def await_still(page: Page) -> None:
    """Wait until no component is loading and no transition runs."""
    page.wait_for_function(
        """() => {
            const empty = [...document.querySelectorAll('[aria-label="Empty value"]')];  // shown until a table is drawn
            const moves = (one) =>
                one.playState === "running" && one.effect?.getComputedTiming().endTime !== Infinity;
            return !empty.some((one) => one.offsetParent) && !document.getAnimations().some(moves);
        }"""
    )


def read_result(page: Page) -> dict[str, Any]:
    """Return the report behind a link under the result."""
    with fetch(page, "result") as file:
        return dict(json.load(file))


def fetch(page: Page, name: str) -> Any:
    """Return the file behind a link under the result."""
    address = page.locator(f"#ws-get-{name}").get_attribute("href")
    assert address and address.startswith("files/")
    return urllib.request.urlopen(page.url.partition("?")[0] + address, timeout=60)


@cache
def _draw_examples() -> Path:
    """Draw the examples once for all servers of this process, since it takes long."""
    folder = tempfile.mkdtemp(prefix="wayspeak-examples-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return draw_examples(Path(folder))[0]


def _is_outside(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def _lay_tripwire(folder: Path, mark: Path) -> Path:
    """Write programs with FFmpeg's names that leave a mark when run."""
    folder.mkdir()
    for name in ("ffmpeg", "ffprobe"):
        (folder / name).write_text(f"#!/bin/sh\ntouch '{mark}'\nexit 1\n")
        (folder / name).chmod(0o755)
    return folder


def _await_page(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(600):  # half seconds; the test's own time limit is shorter on a machine that is that slow
        assert process.poll() is None, f"the app ended: {log.read_text('utf-8', 'replace')[-2000:]}"
        try:
            urllib.request.urlopen(address + "healthz", timeout=60)
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"the app did not answer: {log.read_text('utf-8', 'replace')[-2000:]}")
