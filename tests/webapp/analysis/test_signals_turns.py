"""Whose lips fit the sound when: by the gate's bounds, of faces that are there at the time."""

from dataclasses import replace

import numpy as np
import pytest

from engine.consistency.gates import GateOptions
from engine.types import Model, TrackReport, Window
from tests.fakes import make_analysis, make_report
from webapp.analysis.signals import AROUND_S, find_turns


def make_tracks(*scores: list[float]) -> tuple[TrackReport, ...]:
    """Faces whose windows of two seconds, one a second, have these scores."""
    analysis = make_analysis(*(make_report() for _ in scores))
    tracks = []
    for track, own in zip(analysis.tracks, scores, strict=True):
        windows = tuple(Window(float(at), at + 2.0, score, 0.0) for at, score in enumerate(own))
        report = replace(track.consistency, windows=windows)
        tracks.append(replace(track, start_s=0.0, end_s=len(own) + 1.0, consistency=report))
    return tuple(tracks)


def test_each_speaks_in_turn() -> None:
    first, second = [0.7] * 10 + [0.1] * 10, [0.1] * 10 + [0.7] * 10
    turns = find_turns(make_tracks(first, second), Model.COMPACT)
    assert turns is not None
    (one,), (other,) = turns
    assert one[0] == 0.0 and one[1] == pytest.approx(10.5, abs=AROUND_S)
    assert other[0] == pytest.approx(10.5, abs=AROUND_S) and other[0] >= one[1] and other[1] == pytest.approx(21.0)


def test_nobody_is_named_where_none_fits_or_two_do() -> None:
    options = GateOptions()
    weak, close = options.clear_score - 0.05, options.clear_score + 0.2
    for scores in ([[weak] * 8, [0.0] * 8], [[close] * 8, [close - options.clear_margin / 2] * 8]):
        assert find_turns(make_tracks(*scores), Model.COMPACT) == [[], []]


def test_a_face_that_is_gone_rivals_nobody() -> None:
    turns = find_turns(make_tracks([0.6] * 10, [0.6] * 2), Model.COMPACT)
    assert turns is not None and turns[1] == []
    assert turns[0][-1][1] == pytest.approx(11.0) and turns[0][0][0] == pytest.approx(3.0, abs=0.3)
    assert np.isclose(sum(end - start for start, end in turns[0]), 8.0, atol=0.3)


def test_there_is_nothing_to_choose_of_one_face_or_without_bounds() -> None:
    assert find_turns(make_tracks([0.6] * 10), Model.COMPACT) is None
    assert find_turns(make_tracks([0.6] * 10, [0.1] * 10), Model.AVHUBERT_BASE) is None
