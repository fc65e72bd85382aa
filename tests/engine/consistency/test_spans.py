"""Segments of drawn similarities with known borders."""

from itertools import pairwise

import numpy as np
import pytest

from engine.consistency.spans import SpanOptions, TrackSegment, find_segments, measure_level, score_frames

N = 500


def draw(foreign: slice = slice(0), own: float = 0.5, other: float = 0.06, seed: int = 0) -> np.ndarray:
    """Similarity (500,) with the correlation and the spread of real clips."""
    noise = np.convolve(np.random.default_rng(seed).normal(size=N + 15), np.ones(16) / 4, "valid")
    similarity = np.full(N, own)
    similarity[foreign] = other
    return similarity + 0.15 * noise


def find_foreign(similarity: np.ndarray, weight: np.ndarray | None = None) -> list[TrackSegment]:
    found = find_segments(similarity, np.full(N, 0.6) if weight is None else weight)
    return [one for one in found if one.is_foreign]


def check_cover(segments: tuple[TrackSegment, ...]) -> None:
    """Assert that segments cover all frames once, in order."""
    assert segments[0].first == 0 and segments[-1].last == N
    assert all(one.last == other.first for one, other in pairwise(segments))


@pytest.mark.parametrize("truth", [slice(200, 275), slice(0, 75), slice(425, 500), slice(150, 400)])
def test_another_voice_is_found_near_its_borders(truth: slice) -> None:
    (found,) = find_foreign(draw(truth))
    assert abs(found.first - truth.start) <= 18 and abs(found.last - truth.stop) <= 18
    assert found.score is not None and found.score < -0.1
    check_cover(find_segments(draw(truth), np.full(N, 0.6)))


def test_two_edits_are_two_spans() -> None:
    similarity = draw(slice(100, 160))
    similarity[300:380] -= 0.44
    one, other = find_foreign(similarity)
    assert abs(one.first - 100) <= 12 and abs(other.last - 380) <= 12 and one.last < other.first


def test_genuine_speech_is_one_segment() -> None:
    counts = [len(find_foreign(draw(seed=seed))) for seed in range(20)]
    assert sum(count > 0 for count in counts) <= 4  # candidates, before the calibration judges them
    (whole,) = find_segments(draw(), np.full(N, 0.6))
    assert (whole.first, whole.last, whole.first_range, whole.last_range) == (0, N, (0, 0), (N, N))
    assert whole.score == pytest.approx(draw().mean() / 2, abs=1e-6)


def test_a_voice_that_fits_nowhere_has_no_segments() -> None:
    assert find_segments(draw(slice(0, N)), np.full(N, 0.6)) == ()


def test_too_little_evidence_has_no_segments() -> None:
    weight = np.zeros(N)
    weight[:49] = 0.6
    assert find_segments(draw(), weight) == ()


def test_a_dip_shorter_than_the_least_length_is_no_span() -> None:
    similarity = draw()
    similarity[200:212] = 0.0
    assert find_foreign(similarity) == []


def test_a_long_gap_without_evidence_is_a_segment_without_score() -> None:
    weight = np.full(N, 0.6)
    weight[200:300] = 0
    segments = find_segments(draw(), weight)
    assert [(one.first, one.last, one.score is None) for one in segments] == [
        (0, 200, False),
        (200, 300, True),
        (300, N, False),
    ]
    check_cover(segments)


def test_ends_without_evidence_are_segments_of_their_own() -> None:
    weight = np.full(N, 0.6)
    weight[:80] = weight[-90:] = 0
    segments = find_segments(draw(), weight)
    assert [(one.first, one.last, one.score is None) for one in segments] == [
        (0, 80, True),
        (80, 410, False),
        (410, N, True),
    ]


def test_a_short_gap_belongs_to_the_speech_around_it() -> None:
    weight = np.full(N, 0.6)
    weight[200:240] = 0
    (whole,) = find_segments(draw(), weight)
    assert (whole.first, whole.last) == (0, N)


def test_most_borders_lie_within_their_ranges() -> None:
    hits = []
    for seed in range(30):
        found = find_foreign(draw(slice(200, 300), seed=seed))
        for one in found:
            hits += [one.first_range[0] <= 200 <= one.first_range[1], one.last_range[0] <= 300 <= one.last_range[1]]
            assert one.first_range[0] <= one.first <= one.first_range[1]
            assert one.last_range[0] <= one.last <= one.last_range[1]
    assert len(hits) >= 50 and np.mean(hits) >= 0.8


def test_the_same_voice_at_a_lower_level_is_judged_by_its_own_level() -> None:
    assert find_foreign(draw(own=0.3)) == []
    (found,) = find_foreign(draw(slice(200, 300), own=0.3, other=-0.1))
    assert abs(found.first - 200) <= 15 and abs(found.last - 300) <= 15


def test_score_is_the_mean_less_half_the_level() -> None:
    similarity, weight = np.array([0.2, 0.4, 0.6]), np.array([1.0, 1.0, 2.0])
    assert measure_level(similarity, weight) == pytest.approx(0.45)
    assert score_frames(similarity, weight, 0.5) == pytest.approx(0.2)
    assert measure_level(similarity, np.zeros(3)) == 0.0


def test_a_higher_cost_finds_fewer_spans() -> None:
    similarity = draw(slice(200, 230))
    weight = np.full(N, 0.6)
    assert any(one.is_foreign for one in find_segments(similarity, weight, SpanOptions(change_cost=0.5)))
    assert not any(one.is_foreign for one in find_segments(similarity, weight, SpanOptions(change_cost=50.0)))
