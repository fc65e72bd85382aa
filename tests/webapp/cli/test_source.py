"""`wayspeak source` on clips with drawn motion."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from engine.calibration.files import write_record
from engine.features.extractor import FeatureExtractor
from engine.features.records import ClipFeatures
from engine.motion.evidence import name_recipe
from engine.types import OnStep
from tests.engine.motion.calibrated import make_calibration
from tests.engine.motion.moving import make_features, make_motion, spoil
from webapp.cli.main import app

SOURCE = make_motion(1, 300)
CLIPS = {"suspect.mp4": spoil(SOURCE[100:300], 0.5), "source.mp4": SOURCE, "other.mp4": make_motion(2)}


class DrawnMotion:
    """Extractor of drawn motion by file name."""

    recipe = "rows"

    def extract(self, path: Path, on_step: OnStep) -> ClipFeatures:
        motion: np.ndarray = CLIPS[path.name]
        return make_features(motion, name=path.name)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(FeatureExtractor, "load", lambda settings, cut_faces: DrawnMotion())
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path))
    write_record(make_calibration(name_recipe("rows")), tmp_path / "record.json")

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["source", *arguments])

    return invoke


def test_prints_the_recording_and_the_times(run: Callable[..., Result], tmp_path: Path) -> None:
    found = run("suspect.mp4", "other.mp4", "source.mp4", "--calibration", str(tmp_path / "record.json"))
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert lines[0] == "suspect.mp4: 8.0 s, compared with 2 recordings"
    assert lines[1] == "source.mp4: 8.0 s in 1 segment follow it."
    assert lines[2] == "  0.00-8.00 s follow 4.00-12.00 s, offset +4.00 s"
    assert "other.mp4: No segment follows it." in lines


def test_json(run: Callable[..., Result], tmp_path: Path) -> None:
    found = run("suspect.mp4", "source.mp4", "--json", "--calibration", str(tmp_path / "record.json"))
    written = json.loads(found.stdout)
    assert written["recordings"][0]["segments"][0]["offset_s"] == 4 and written["calibration"]["approver"] == "Grace"


def test_a_calibration_of_another_recipe_is_refused(run: Callable[..., Result], tmp_path: Path) -> None:
    write_record(make_calibration(name_recipe("older rows")), tmp_path / "older.json")
    found = run("suspect.mp4", "source.mp4", "--calibration", str(tmp_path / "older.json"))
    assert found.exit_code == 1 and "is for scores of motion+older rows" in str(found.exception)


def test_scores_without_a_calibration(run: Callable[..., Result]) -> None:
    found = run("suspect.mp4", "source.mp4")
    assert found.exit_code == 0 and "No calibration of this recipe is in force" in found.stdout
