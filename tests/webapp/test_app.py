"""The page's wiring, unlaunched: how it is served, what may run at once, and words it must never say."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from engine.licences import AV_HUBERT, accept_licence
from engine.methods import Method
from engine.settings import Settings
from tests.fakes import FakeEngine, make_analysis, make_report, make_second
from webapp import app as page
from webapp.app import FILE_TYPES, build_app, launch_settings
from webapp.engines import Engines

ROOT = Path(__file__).parents[2]
FORBIDDEN = re.compile(r"% ?fake|fake probability|probability of fake|\bproves\b|\bproven\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> gr.Blocks:
    return build_app(Engines(FakeEngine(), lambda method: FakeEngine()), Settings(tmp_path_factory.mktemp("data")))


def test_launch_settings_are_these(tmp_path: Path) -> None:
    settings = launch_settings(Settings(tmp_path), "127.0.0.1", 7860)
    looks = {name: settings.pop(name) for name in ("theme", "css", "head")}
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
    assert app._queue.max_size == 20
    assert app.api_open is False
    assert app.delete_cache == (600, 86_400)


def test_one_heavy_job_at_a_time(app: gr.Blocks) -> None:
    heavy = [fn for fn in app.fns.values() if fn.api_name == "analyse"]
    assert [(fn.concurrency_id, fn.concurrency_limit) for fn in heavy] == [("engine", 1)]
    assert all(fn.concurrency_id != "engine" for fn in app.fns.values() if fn.api_name != "analyse")


def test_telemetry_is_off(app: gr.Blocks) -> None:
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] in ("1", "True")  # Gradio may write it anew
    assert app.analytics_enabled is False


def test_the_link_field_is_visible_switched_off_and_explained(app: gr.Blocks) -> None:
    (link,) = [block for block in app.blocks.values() if getattr(block, "elem_id", None) == "ws-link"]
    assert isinstance(link, gr.Textbox)
    assert link.visible and link.interactive is False and "Switched off" in str(link.info)


def test_no_component_converts_media(app: gr.Blocks) -> None:
    converting = [block for block in app.blocks.values() if isinstance(block, gr.Video | gr.Audio)]
    assert converting == []


def test_every_common_container_may_be_chosen() -> None:
    upload = gr.File(file_types=FILE_TYPES)
    for ending in ("mp4", "mov", "mkv", "webm", "avi", "mpg", "MP4"):
        assert _accepts(upload, f"clip.{ending}"), ending
    assert not _accepts(upload, "notes.txt")


def _accepts(upload: gr.File, name: str) -> bool:
    from gradio_client.utils import is_valid_file

    return bool(is_valid_file(name, upload.file_types or []))


def test_a_missing_example_is_said_and_not_an_accident(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="examples have not been made"):
        assert page._take_example(Settings(tmp_path), 0) is None


def test_an_example_is_served_from_the_cache_not_from_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "data" / "examples"
    folder.mkdir(parents=True)
    for name in ("in-sync.mp4", "other-sound.mp4"):
        (folder / name).write_bytes(name.encode())
    taken = page._take_example(Settings(tmp_path / "data"), 1)
    assert taken is not None and Path(taken).read_bytes() == b"other-sound.mp4"
    assert Path(taken).is_relative_to(tmp_path / "cache")


def test_importing_the_page_loads_no_network_and_no_torch() -> None:
    code = (
        "import sys, webapp.app, webapp.__main__; sys.exit('torch' in sys.modules or 'engine.pipeline' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_missing_weight_ends_the_start_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import webapp.__main__ as start
    from engine import weights

    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    with pytest.raises(SystemExit, match=r"compact\.safetensors.*Restore"):
        start.serve(Settings(tmp_path))


def test_the_words_never_claim_too_much() -> None:
    files = [*(ROOT / "webapp").glob("*.*"), ROOT / "engine" / "summary.py", ROOT / "README.md"]
    texts = {file: file.read_text("utf-8") for file in files if file.suffix in {".py", ".js", ".css", ".md"}}
    assert len(texts) > 8
    for file, text in texts.items():
        assert not FORBIDDEN.search(text), f"{file.name} says {FORBIDDEN.search(text)}"
    assert FORBIDDEN.search("83 % fake") and FORBIDDEN.search("This proves it")


def test_methods_are_offered_as_they_come_and_what_lacks_is_named(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    dropdown, lacking = page._offer_methods(settings)
    assert [title for title, _ in dropdown.choices] == ["Compact, by time"]
    assert "wayspeak weights import PATH" in lacking and "non-commercial research" in lacking
    folder = tmp_path / "weights"
    folder.mkdir()
    for size in ("base", "large"):
        (folder / f"avhubert_{size}.safetensors").write_bytes(b"weights")
    assert "wayspeak weights accept av_hubert" in page._offer_methods(settings)[1]
    accept_licence(AV_HUBERT, tmp_path)
    dropdown, lacking = page._offer_methods(settings)
    assert len(dropdown.choices) == 7 and lacking == ""


def test_the_default_method_is_chosen_at_first(app: gr.Blocks) -> None:
    (method,) = [block for block in app.blocks.values() if getattr(block, "elem_id", None) == "ws-method"]
    assert isinstance(method, gr.Dropdown) and method.value == Method().title


def test_a_face_of_paper_mode_has_a_curve_and_no_timeline() -> None:
    report = replace(make_report(), windows=())
    for second, n_lines in ((None, 2), (make_second(), 4)):
        analysis = make_analysis(replace(report, second=second))
        with gr.Blocks() as card:
            page._lay_out_face(analysis.tracks[0], analysis)
        (plot,) = [block for block in card.blocks.values() if isinstance(block, gr.Plot)]
        assert len(json.loads(plot.value["plot"])["data"]) == n_lines
