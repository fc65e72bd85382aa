"""The table of workers: efficiency, and whether all results are the same."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from benchmarks.common import Spent
from benchmarks.workers import Run, make_digest, print_runs
from engine.types import Analysis
from tests.engine.features.test_cache import make_features

RUN = Run(60.0, Spent(0.2, 0.3), 0.4, "ab")


def test_efficiency_is_the_share_of_the_cores_that_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    print_runs("drawn.mp4", {1: RUN, 4: replace(RUN, spent=Spent(0.0625, 0.31))})
    shown = capsys.readouterr().out
    assert "| 1 | 0.200 | 0.300 | 1.00 | 0.40 |" in shown and "| 4 | 0.062 | 0.310 | 0.80 | 0.40 |" in shown
    assert "byte-identical" in shown


def test_a_result_that_differs_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    print_runs("drawn.mp4", {1: RUN, 2: replace(RUN, digest="cd")})
    assert "DIFFERENT" in capsys.readouterr().out


def test_every_row_of_a_face_counts_in_the_digest() -> None:
    features, analysis = make_features(), cast(Analysis, SimpleNamespace(tracks=()))
    digest = make_digest(features, analysis)
    assert digest == make_digest(replace(features, name="other.mp4"), analysis)
    lips = features.tracks[0].lips.copy()
    lips[-1, -1] += 1
    changed = replace(features, tracks=(replace(features.tracks[0], lips=lips), *features.tracks[1:]))
    assert digest != make_digest(changed, analysis)
    assert digest != make_digest(replace(features, cuts=(*features.cuts, 7)), analysis)
