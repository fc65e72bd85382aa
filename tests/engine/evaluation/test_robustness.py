"""`wayspeak robustness` on drawn faces: cost of audio noise, cached features and false rejections."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from engine.calibration.calibrators import Logistic
from engine.calibration.records import Bounds, Calibration, Policy, seal
from engine.datasets.manifest import read_manifest
from engine.errors import Code
from engine.evaluation import robustness
from engine.evaluation.perturbations import OF_SOUND, Perturbation
from engine.evaluation.robustness import UNTOUCHED, PerturbedExtractor, Step
from engine.features.cache import FeatureCache
from engine.features.extractor import FeatureExtractor
from engine.media.clip import DEFAULT_LIMITS
from engine.pipeline import Engine
from engine.settings import MediaLimits
from engine.speech.filterbanks import log_mel
from engine.types import AudioSignal, Clip
from engine.weights.registry import hash_file
from tests.engine.calibration.drawn import make_record
from tests.fakes import FakeNets, FakeVoice, make_clip, make_mouth, make_scorer, make_voice
from webapp.cli.main import app
from webapp.cli.robustness import read_steps


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write files containing the number of a drawn clip; record the opened ones."""
    seen: list[str] = []

    def open_clip(path: Path, limits: MediaLimits = DEFAULT_LIMITS) -> Clip:
        seen.append(path.name)
        if not path.is_file():
            raise Code.UNREADABLE_VIDEO(f"There is no file {path.name!r}.")
        mouth = make_mouth(80, int(path.read_text()))
        clip = make_clip([mouth], make_voice(mouth), frame_px=120)
        return replace(clip, path=path, sha256=hash_file(path))

    monkeypatch.setattr(robustness, "open_clip", open_clip)
    return seen


@pytest.fixture
def run(tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    extractor = FeatureExtractor(FakeNets(), FakeVoice(), "drawn-01+options-23")  # type: ignore[arg-type]
    engine = Engine(extractor, make_scorer(), "drawn")
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(Engine, "load", lambda settings, method: engine)
    for number in range(4):
        (tmp_path / f"{number}.mp4").write_text(str(number))
    rows = [f"{number}.mp4,real,person {number}" for number in range(4)]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,label,speaker", *rows, "gone.mp4,real,nobody"]) + "\n")

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["robustness", str(tmp_path / "manifest.csv"), "--seconds", "3", *arguments])

    return invoke


def figures(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_scores_are_reported_per_perturbation_level(run: Callable[..., Result], opened: list[str]) -> None:
    found = figures(run("--what", "noise in the sound,contrast", "--levels", "1,5", "--json", "-"))
    steps = [(one["perturbation"], one["level"], one["strength"]) for one in found["outcomes"]]
    assert steps == [
        (None, 0, None),
        ("noise in the sound", 1, 20),
        ("noise in the sound", 5, 0),
        ("contrast", 1, 0.85),
        ("contrast", 5, 0.35),
    ]
    plain, *rest = found["outcomes"]
    assert plain["parting"]["auc"] == 1.0 and plain["parting"]["n_real"] == 4
    assert all(one["parting"]["auc"] is None or one["parting"]["auc"] <= 1.0 for one in rest)
    assert all([skip["path"] for skip in one["skipped"]] == ["gone.mp4"] for one in found["outcomes"][:-1])
    assert found["others"] == "swapped voice" and found["n_clips"] == 5
    assert found["calibration"] is None and plain["false_alarms"] is None


def test_a_face_that_is_darkened_away_is_counted_as_unscored(run: Callable[..., Result]) -> None:
    found = figures(run("--what", "contrast", "--levels", "5", "--json", "-"))
    dark = found["outcomes"][1]  # the drawn faces' red falls below what the drawn nets call a face
    assert dark["parting"]["n_real"] == 0 and len(dark["skipped"]) == 5 and dark["n_silent_on"] == 5


@pytest.mark.parametrize(("middle", "share"), [(0.2, 0.0), (1.6, 1.0)])
def test_false_rejections_are_counted_without_gates(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, middle: float, share: float
) -> None:
    extractor = FeatureExtractor(FakeNets(), FakeVoice(), "drawn-01+options-23")  # type: ignore[arg-type]
    engine = Engine(extractor, make_scorer(), "drawn", calibration=draw_calibration(middle))
    monkeypatch.setattr(Engine, "load", lambda settings, method: engine)
    for one in figures(run("--what", "MP3", "--levels", "1", "--json", "-"))["outcomes"]:
        assert (one["doubted"]["share"], one["doubted"]["n"]) == (share, 4)
        assert one["n_silent_on"] == 1  # no file
        assert (one["false_alarms"]["share"], one["false_alarms"]["n"]) == (share, 4)


def draw_calibration(middle: float) -> Calibration:
    """A log10 LR of 0 at a score, of -1 a tenth below, whatever the qualities."""
    line = Logistic(0.0, 10.0, (0.0,), (0.0,), (middle, 0.0), (1.0, 1.0), (0.0,), (9.0,))
    bounds, policy = Bounds(-1.0, 2.0, "drawn"), Policy(0.5, -0.5, 0.05, 0.05)
    drawn = replace(
        make_record(), id="", recipe="fake-compact", parameters=line, bounds=bounds, bounds_by_length=(), policy=policy
    )
    return seal(drawn).approve("Bob")


def test_extracted_features_are_cached(run: Callable[..., Result], opened: list[str]) -> None:
    first = figures(run("--what", "pitch,Gaussian blur", "--levels", "2", "--json", "-"))
    opened.clear()
    again = figures(run("--what", "pitch,Gaussian blur", "--levels", "2", "--json", "-"))
    assert set(opened) == {"gone.mp4"}
    assert again == first


@pytest.mark.parametrize("kind", [None, Perturbation.CONTRAST, Perturbation.SOUND_NOISE])
def test_the_track_with_speech_is_cut_and_perturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Perturbation | None
) -> None:
    mouth = make_mouth(80)
    sound, silence, present = make_voice(mouth), np.zeros(80 * 640, np.float32), np.ones(80, bool)
    signals = (AudioSignal(1, "mix", silence, present), AudioSignal(2, "mix", sound, present))
    clip = replace(make_clip([mouth], silence, frame_px=120), signals=signals, read_channel=lambda *_: signals[1])
    monkeypatch.setattr(robustness, "open_clip", lambda path, limits: clip)
    extractor = FeatureExtractor(FakeNets(), FakeVoice(), "drawn-01+options-23")  # type: ignore[arg-type]
    perturbed = PerturbedExtractor(extractor, lambda recipe: FeatureCache(tmp_path, recipe), 2.0)
    (row,) = read_manifest(_write_manifest(tmp_path))
    found = perturbed.extract(row, Step(kind, 1) if kind else UNTOUCHED)
    assert (found.n_frames, found.audio.rows.shape, found.tracks[0].end) == (50, (50, 160), 50)
    assert found.audio.voiced.all()
    own = log_mel(sound[: 50 * 640])
    changed = kind == Perturbation.SOUND_NOISE
    assert np.allclose(found.audio.rows, own) != changed


def _write_manifest(folder: Path) -> Path:
    (folder / "clip.mp4").write_text("drawn")
    (folder / "one.csv").write_text("path,label,speaker\nclip.mp4,real,a person\n")
    return folder / "one.csv"


def test_table_describes_perturbations(run: Callable[..., Result]) -> None:
    text = " ".join(run("--what", "MP3", "--levels", "3").stdout.split())
    assert "MP3, 24 kbit/s" in text
    assert "There is no calibration" in text


def test_figure_is_drawn_on_request(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.evaluation.plots.write_pictures", lambda drawn, folder: None)
    result = run("--what", "noise in the sound", "--levels", "5", "--figures", str(tmp_path / "drawn"))
    assert result.exit_code == 0, result.output
    assert "noise in the sound" in (tmp_path / "drawn" / "robustness.html").read_text()


def test_steps_are_read_by_group_and_by_name() -> None:
    assert {step.kind for step in read_steps("sound", "1,3")} == set(OF_SOUND)
    assert len(read_steps("all", "1,2,3,4,5")) == 70
    assert [(step.kind, step.level) for step in read_steps("Gaussian blur", "4,4")] == [(Perturbation.BLUR, 4)]
    for what, levels in (("fog", "1"), ("sound", "6"), ("", "1"), ("sound", "")):
        with pytest.raises(typer.BadParameter):
            read_steps(what, levels)


def test_two_people_are_needed(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label,speaker\n1.mp4,real,a\n2.mp4,real,a\n")
    result = run()
    assert result.exit_code == 1 and "2 are real" in str(result.exception)


def test_command_is_registered() -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout
    assert "robustness" in text


def test_zero_events_have_an_upper_bound() -> None:
    from engine.evaluation.results import share_with_interval

    none = share_with_interval([False] * 30, [f"p{i}" for i in range(30)])
    assert none is not None and (none.share, none.ci, none.n) == (0.0, (0.0, 0.1), 30)
    some = share_with_interval([True] + [False] * 9, [f"p{i}" for i in range(10)])
    assert some is not None and some.ci is not None and some.ci[0] <= 0.1 <= some.ci[1]
    assert share_with_interval([], []) is None
    assert np.isfinite(none.share)
