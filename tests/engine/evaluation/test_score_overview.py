"""Score overview by method, length, window and language, with thresholds for target error rates."""

from pathlib import Path

import numpy as np
import pytest

from engine.calibration.records import CalibratorKind
from engine.calibration.validation import cross_validate
from engine.datasets.manifest import read_manifest
from engine.evaluation.bench import EvaluationOptions
from engine.evaluation.consistency import SWAPPED
from engine.evaluation.measurements import measure_rows
from engine.evaluation.score_overview import UNKNOWN, list_thresholds, summarise_clips, summarise_trials
from engine.features.cache import FeatureCache
from engine.metrics import auc
from engine.pipeline import Engine
from tests.engine.calibration.drawn import draw_trials
from tests.engine.evaluation.films import RECIPE, DrawnExtractor, draw_film
from tests.fakes import make_scorer


def test_overview_groups_clips_by_method_length_window_and_language(tmp_path: Path) -> None:
    lines = ["path,label,speaker,source,method,language"]
    for number in range(8):
        name = draw_film(tmp_path, f"{number}.mp4", number, seconds=4 if number < 4 else 9)
        lines.append(f"{name},real,p{number},lab,,{'en' if number % 2 else ''}")
    for number in range(3):
        lines.append(f"{draw_film(tmp_path, f'f{number}.mp4', number, 50 + number)},fake,p{number},lab,dub,en")
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    engine = Engine(DrawnExtractor(), make_scorer(), "drawn")  # type: ignore[arg-type]
    cache = FeatureCache(tmp_path / "cache", RECIPE)
    found = measure_rows(read_manifest(tmp_path / "clips.csv"), engine, cache)
    seen = summarise_clips(found, engine, EvaluationOptions(seconds=(2.0, 3.0)))
    assert list(seen.scores) == ["real", "dub", SWAPPED]
    assert [len(values) for values in seen.scores.values()] == [8, 3, 56]
    assert seen.scores["real"].min() > seen.scores["dub"].max()
    assert {name: curve.auc() for name, curve in seen.trace_errors().items()}["dub"] == 1.0
    assert {name: (one.n_real, one.n_other) for name, one in seen.lengths.items()} == {"4": (4, 28), "16": (4, 28)}
    assert {name: one.n_real for name, one in seen.languages.items()} == {"en": 4, UNKNOWN: 4}
    assert list(seen.windows) == ["2", "3"]


def test_overview_groups_trials_by_condition() -> None:
    trials = draw_trials()
    seen = summarise_trials(trials)
    assert list(seen.scores) == ["same", "different"] and set(seen.lengths) == set(trials.conditions)
    short = trials.take(np.flatnonzero(trials.conditions == "4 s"))
    assert seen.lengths["4 s"].auc == pytest.approx(auc(short.scores[short.same], short.scores[~short.same]))
    assert not seen.windows and not seen.languages


def test_thresholds_meet_target_rates_or_are_absent_with_too_few_trials() -> None:
    held = cross_validate(draw_trials(), CalibratorKind.LOGISTIC)
    lines = list_thresholds(held, (1e-6, 0.01, 0.1))
    assert lines[0].llr == np.inf and lines[0].supported == 0
    for line in lines[1:]:
        assert (held.llrs[~held.trials.same] >= line.llr).mean() <= line.rate
    assert lines[2].llr < lines[1].llr and lines[1].supported < lines[2].supported
