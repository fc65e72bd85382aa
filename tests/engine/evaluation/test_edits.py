"""Edits of drawn clips with known borders, and the spans that find them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from engine.consistency.offsets import PLAIN_MEAN
from engine.evaluation.edits import (
    EditKind,
    EditResult,
    Ratios,
    draw_edits,
    find_overlap,
    find_places,
    judge_clip,
    judge_edit,
    judge_genuine,
    share_found,
)
from engine.evaluation.trials import TrialClip
from engine.types import Span, SpanKind
from tests.engine.evaluation.test_span_trials import N, encode, make_clip
from tests.engine.test_span_reports import OF_SPANS, OF_TRACKS

SCORER = SimpleNamespace(options=PLAIN_MEAN, encode=encode)
RATIOS = Ratios(OF_TRACKS, OF_SPANS)


def make_face(seed: int, n_frames: int = N) -> TrialClip:
    return replace(make_clip(seed, n_frames), gap=np.random.default_rng(seed).normal(size=n_frames))


def make_span(start_s: float, end_s: float, kind: SpanKind = SpanKind.INCONSISTENT) -> Span:
    return Span(start_s, end_s, (start_s - 0.2, start_s + 0.2), (end_s - 0.2, end_s + 0.2), kind, 1.0, -0.2, -1.0)


def draw(clip: TrialClip) -> list[tuple[TrialClip, slice, EditKind]]:
    rng = np.random.default_rng(0)
    return list(draw_edits(clip, [make_face(1), make_face(2)], lambda n: make_face(9, n), SCORER, rng))  # type: ignore[arg-type]


def test_every_kind_and_length_that_a_clip_has_room_for_is_drawn() -> None:
    clip = make_face(0)
    drawn = draw(clip)
    assert {(kind, here.stop - here.start) for _, here, kind in drawn} == {
        (kind, length) for kind in EditKind for length in (25, 50, 75, 125)
    }
    for edited, here, _ in drawn:
        outside = np.delete(np.arange(N), np.arange(here.start, here.stop))
        np.testing.assert_array_equal(edited.speech[outside], clip.speech[outside])
        assert not np.isclose(edited.speech[here], clip.speech[here]).all(axis=1).any()
    assert {here.stop - here.start for _, here, _ in draw(make_face(0, 100))} == {25, 50}


def test_places_have_speech_in_most_frames() -> None:
    voiced = np.zeros(N, bool)
    voiced[100:160] = True
    found = find_places(replace(make_face(0), voiced=voiced), 50)
    assert (found[0], found[-1]) == (80, 130) and len(found) == 51


@pytest.mark.parametrize(
    ("other", "overlap"), [((2.0, 4.0), 1.0), ((3.0, 5.0), 1 / 3), ((4.0, 5.0), 0.0), ((0.0, 8.0), 0.25)]
)
def test_overlap_is_intersection_over_union(other: tuple[float, float], overlap: float) -> None:
    assert find_overlap((2.0, 4.0), other) == pytest.approx(overlap)


def test_an_edit_is_found_by_an_inconsistent_span_that_covers_it() -> None:
    clip, here = make_face(0), slice(50, 100)
    found = judge_edit(clip, here, EditKind.OTHER, [make_span(2.1, 4.6), make_span(8.0, 9.0)])
    assert found == EditResult("p0", EditKind.OTHER, 2.0, 10.0, True, (True, False))
    at_start = judge_edit(clip, slice(0, 50), EditKind.SAME, [make_span(0.0, 2.1)])
    assert at_start.found and at_start.borders_within == (True,)
    for spans in ([], [make_span(3.5, 6.0)], [make_span(2.0, 4.0, SpanKind.UNDECIDABLE)]):
        missed = judge_edit(clip, here, EditKind.OTHER, spans)
        assert not missed.found and missed.borders_within == ()


def test_drawn_edits_of_two_seconds_and_more_are_found_and_genuine_speech_has_no_false_span() -> None:
    clip = make_face(0, 500)
    edits = [
        judge_edit(edited, here, kind, judge_clip(edited, SCORER, RATIOS))  # type: ignore[arg-type]
        for edited, here, kind in draw(clip)
    ]
    assert all(one.found for one in edits if one.length_s >= 2)
    own = judge_genuine(clip, SCORER, RATIOS)  # type: ignore[arg-type]
    assert (own.person, own.seconds, own.false_spans) == ("p0", 20.0, ())


def test_the_share_found_has_an_interval_over_people() -> None:
    found = [EditResult(f"p{n}", EditKind.OTHER, 2.0, 5.0, n % 2 == 0, ()) for n in range(10)]
    share = share_found(found)
    assert share is not None and share.ci is not None
    assert share.share == 0.5 and share.ci[0] < 0.5 < share.ci[1] and share.ci_over == "people"
    assert share_found([]) is None
