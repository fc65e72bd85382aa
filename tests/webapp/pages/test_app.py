"""The page without server: launch settings, concurrency, and claims it must never make."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from engine.consistency.methods import Method
from engine.settings import Settings
from tests.fakes import make_analysis, make_report, make_second
from tests.webapp.jobs.samples import make_result
from tests.webapp.pages.contexts import finish_job, open_context
from webapp.pages import analyse, analyse_events, face_results
from webapp.pages.app import build_app, launch_settings

ROOT = Path(__file__).parents[3]
FORBIDDEN = re.compile(r"% ?fake|fake probability|probability of fake|\bproves\b|\bproven\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> gr.Blocks:
    return build_app(open_context(tmp_path_factory.mktemp("page")))


def test_launch_settings_are_these(tmp_path: Path) -> None:
    settings = launch_settings(Settings(tmp_path), "127.0.0.1", 7860)
    looks = {name: settings.pop(name) for name in ("theme", "css", "head", "i18n")}
    assert settings == {
        "server_name": "127.0.0.1",
        "server_port": 7860,
        "share": False,
        "inbrowser": False,
        "allowed_paths": [],
        "blocked_paths": [str(tmp_path)],
        "max_file_size": 500 * 1024 * 1024,
        "run_history": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "show_error": False,
        "quiet": True,
        "footer_links": [],
        "ssr_mode": False,
        "pwa": False,
        "strict_cors": True,
        "state_session_capacity": 50,
    }
    assert "http" not in str(looks["css"]) + str(looks["head"])


def test_queue_is_bounded_and_closed_and_the_cache_ages(app: gr.Blocks) -> None:
    assert app._queue.max_size == 500
    assert app.api_open is False
    assert app.delete_cache == (600, 86_400)


def test_events_that_write_one_component_run_one_after_the_other(app: gr.Blocks) -> None:
    """Results of two events that run at once reach the page in any order: an earlier state would stay on it."""
    groups: dict[int, set[str]] = {}
    for event in app.fns.values():
        for block in event.outputs:
            groups.setdefault(block._id, set()).add(event.concurrency_id if event.queue is not False else "at once")
    assert len(groups) > 60
    mixed = [app.blocks[number] for number, found in groups.items() if len(found) > 1]
    assert {type(block) for block in mixed} == {gr.State, gr.File, gr.Tabs}  # set by what a user does, one at a time


def test_thirty_pages_can_load_at_once(app: gr.Blocks) -> None:
    """Gradio refuses an event beyond the length of its queue."""
    on_load = [event for event in app.fns.values() if "load" in {name for _, name in event.targets}]
    queued = [event for event in on_load if event.queue is not False]
    assert 0 < 30 * len(queued) <= app._queue.max_size


def test_nothing_heavy_runs_in_the_page(app: gr.Blocks) -> None:
    """Only the workers load engines."""
    heavy = "('torch', 'engine.pipeline', 'engine.features.extractor')"
    code = f"import sys, webapp.cli.serve, webapp.pages.app; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_telemetry_is_off(app: gr.Blocks) -> None:
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] in ("1", "True")  # Gradio may set it again
    assert app.analytics_enabled is False


def test_the_link_field_is_there_and_offers_a_look_first(app: gr.Blocks) -> None:
    fields = {getattr(block, "elem_id", None): block for block in app.blocks.values()}
    assert isinstance(fields["ws-link"], gr.Textbox) and fields["ws-link"].interactive is not False
    assert isinstance(fields["ws-link-look"], gr.Button)


def test_every_tab_is_there(app: gr.Blocks) -> None:
    tabs = [block.id for block in app.blocks.values() if isinstance(block, gr.Tab)]
    assert tabs == ["analyse", "speakers", "history", "calibration", "about"]


def test_no_component_converts_media(app: gr.Blocks) -> None:
    converting = [block for block in app.blocks.values() if isinstance(block, gr.Video | gr.Audio)]
    assert converting == []


def test_no_upload_of_videos_asks_for_an_ending(app: gr.Blocks) -> None:
    uploads = [block for block in app.blocks.values() if isinstance(block, gr.File)]
    limited = [block.file_types for block in uploads if block.file_types]
    assert len(uploads) == 5 and limited == [[".csv", ".tsv", ".txt"]]


def test_a_missing_example_is_said_and_not_an_accident(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="examples have not been made"):
        assert analyse.take_example(Settings(tmp_path), 0) is None


def test_an_example_is_served_from_the_cache_not_from_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "data" / "examples"
    folder.mkdir(parents=True)
    for name in ("in-sync.mp4", "other-sound.mp4"):
        (folder / name).write_bytes(name.encode())
    (taken,) = analyse.take_example(Settings(tmp_path / "data"), 1) or []
    assert Path(taken).read_bytes() == b"other-sound.mp4"
    assert Path(taken).is_relative_to(tmp_path / "cache")


def test_page_texts_never_overclaim() -> None:
    files = [*(ROOT / "webapp").rglob("*.*"), ROOT / "engine" / "reports" / "text.py", ROOT / "README.md"]
    texts = {file: file.read_text("utf-8") for file in files if file.suffix in {".py", ".js", ".css", ".html", ".md"}}
    assert len(texts) > 80
    for file, text in texts.items():
        assert not FORBIDDEN.search(text), f"{file.name} says {FORBIDDEN.search(text)}"
    assert FORBIDDEN.search("83 % fake") and FORBIDDEN.search("This proves it")


def test_the_default_method_is_chosen_at_first(app: gr.Blocks) -> None:
    (method,) = [block for block in app.blocks.values() if getattr(block, "elem_id", None) == "ws-method"]
    assert isinstance(method, gr.Dropdown) and method.value == Method().title


def test_a_face_of_paper_mode_has_a_curve_and_no_timeline(tmp_path: Path) -> None:
    context = open_context(tmp_path)
    plain = replace(make_result(), searches=None, verifications=None, traces=None)
    for second, n_lines in ((None, 2), (make_second(), 4)):
        analysis = make_analysis(replace(make_report(), windows=(), second=second))
        job = finish_job(context, tmp_path, found=replace(plain, analysis=analysis))
        with gr.Blocks() as card:
            face_results.build_face(context, analyse_events.read(context, job), 0, analysis.tracks[0])
        (plot,) = [block for block in card.blocks.values() if isinstance(block, gr.Plot)]
        assert len(json.loads(plot.value["plot"])["data"]) == n_lines


def test_sound_and_mouth_of_a_face_can_be_looked_at(tmp_path: Path) -> None:
    context = open_context(tmp_path)
    shown = analyse_events.read(context, finish_job(context, tmp_path))
    assert shown.found is not None
    with gr.Blocks() as card:
        face_results.build_face(context, shown, 0, shown.found.analysis.tracks[0])
    plots = [json.loads(block.value["plot"]) for block in card.blocks.values() if isinstance(block, gr.Plot)]
    assert [len(plot["data"]) for plot in plots] == [2, 4, 2]  # timeline and its strip, two curves, sound and mouth
