"""The cuts are at fixed frames, and the tracks of segments are joined to those of the whole."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from engine.faces.occlusion import mark_covered
from engine.faces.segments import LEAD, MIN_TAIL, SEGMENT, FaceJoiner, Segment, plan_segments
from engine.faces.tracking import FaceOptions, Faces
from engine.types import FaceTrack

OPTIONS = FaceOptions()
BEFORE, AFTER = Segment(0, 0, 525), Segment(500, 525, 1000)


def make_track(
    start: int, end: int, x: float = 100.0, side: float = 60.0, unseen: Sequence[int] = (), shade: int = 0
) -> FaceTrack:
    """A face that moves by a tenth of a pixel each frame; frames in `unseen` have other landmarks."""
    frames = np.arange(start, end)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (478, 3)) * side
    points[0], points[1] = (-side / 2, -side / 2, 0), (side / 2, side / 2, 0)
    landmarks = (points + np.array([x, 90.0, 0])) + frames[:, None, None] * np.array([0.1, 0, 0])
    seen = ~np.isin(frames, unseen)
    landmarks[~seen] += 7
    landmarks = landmarks.astype(np.float32)
    boxes = np.concatenate([landmarks[:, :, :2].min(1), landmarks[:, :, :2].max(1)], axis=1)
    log_odds = np.where(frames % 5 == 0, -3.0, np.nan).astype(np.float32)
    return FaceTrack(
        start,
        boxes,
        landmarks,
        np.repeat(frames[:, None] / 1000, 52, 1).astype(np.float32),
        seen,
        np.full((96, 96, 3), shade, np.uint8),
        mark_covered(log_odds),
        log_odds,
    )


def join(before: Sequence[FaceTrack], after: Sequence[FaceTrack], cuts: Sequence[int] = ()) -> Faces:
    joiner = FaceJoiner(OPTIONS)
    for segment, tracks in ((BEFORE, before), (AFTER, after)):
        own = tuple(cut for cut in cuts if segment.first <= cut < segment.end)
        joiner.add(segment, Faces(tuple(tracks), own))
    return joiner.finish()


def spans(faces: Faces) -> list[tuple[int, int]]:
    return [(one.start, one.end) for one in faces.tracks]


@pytest.mark.parametrize(
    ("n_frames", "bounds"),
    [
        (0, [(0, 0, 0)]),
        (499, [(0, 0, 499)]),
        (SEGMENT + MIN_TAIL - 1, [(0, 0, 699)]),
        (SEGMENT + MIN_TAIL, [(0, 0, 515), (500, 515, 700)]),
        (1600, [(0, 0, 515), (500, 515, 1015), (1000, 1015, 1600)]),
    ],
)
def test_a_clip_is_cut_every_20_s_and_a_short_rest_is_not_cut_off(
    n_frames: int, bounds: list[tuple[int, int, int]]
) -> None:
    assert plan_segments(n_frames) == tuple(Segment(*one) for one in bounds)


def test_a_segment_does_not_begin_far_behind_a_key_frame() -> None:
    assert [one.first for one in plan_segments(3000, lambda first: first % 1000 + 100)] == [0, 1000, 2000]
    assert [one.first for one in plan_segments(3000, lambda first: first)] == [0, 500]


def test_the_segments_cover_the_clip_once() -> None:
    segments = plan_segments(12_345)
    assert [one.start for one in segments[1:]] == [one.end for one in segments[:-1]]
    assert segments[0].start == 0 and segments[-1].end == 12_345
    assert all(one.start - one.first == LEAD and one.first % SEGMENT == 0 for one in segments[1:])


def test_a_face_of_one_segment_is_left_as_it_is() -> None:
    first, second = make_track(0, 300), make_track(600, 900)
    faces = join([first], [second])
    assert faces.tracks == (first, second)


def test_a_face_that_both_saw_is_one_track_spliced_at_the_cut() -> None:
    whole = make_track(20, 1000, unseen=range(100, 110))
    other = make_track(500, 1000)
    other = replace(other, landmarks=other.landmarks + np.float32(0.01), boxes=other.boxes + np.float32(0.01))
    (one,) = join([make_track(20, 525, unseen=range(100, 110))], [other]).tracks
    assert (one.start, one.end) == (20, 1000)
    np.testing.assert_array_equal(one.landmarks[:505], whole.landmarks[:505])
    np.testing.assert_array_equal(one.landmarks[505:], other.landmarks[25:])
    np.testing.assert_array_equal(one.blendshapes, whole.blendshapes)
    np.testing.assert_array_equal(one.seen, whole.seen)
    np.testing.assert_array_equal(one.cover_log_odds, whole.cover_log_odds)
    np.testing.assert_array_equal(one.boxes[:505], whole.boxes[:505])


def test_faces_side_by_side_go_on_each_for_itself() -> None:
    before = [make_track(0, 525, 100), make_track(0, 525, 200)]
    after = [make_track(500, 1000, 202), make_track(500, 1000, 103), make_track(500, 1000, 320)]
    faces = join(before, after)
    assert spans(faces) == [(0, 1000), (0, 1000), (525, 1000)]
    assert [round(float(one.boxes[0, 0])) for one in faces.tracks] == [70, 170, 342]
    assert [round(float(one.boxes[600, 0])) for one in faces.tracks[:2]] == [133, 232]


@pytest.mark.parametrize(("end", "start", "n_tracks"), [(520, 530, 1), (525, 537, 1), (525, 538, 2), (517, 529, 1)])
def test_a_gap_over_the_cut_is_filled_as_within_a_segment(end: int, start: int, n_tracks: int) -> None:
    faces = join([make_track(0, end)], [make_track(start, 1000)])
    assert len(faces.tracks) == n_tracks
    if n_tracks == 1:
        (one,) = faces.tracks
        np.testing.assert_array_equal(np.flatnonzero(~one.seen), range(end, start))
        whole = make_track(0, 1000)
        np.testing.assert_allclose(one.landmarks, whole.landmarks, atol=1e-3)
        np.testing.assert_allclose(one.boxes, whole.boxes, atol=1e-3)
        np.testing.assert_allclose(one.blendshapes, whole.blendshapes, atol=1e-5)
        assert np.isnan(one.cover_log_odds[end:start]).all()


@pytest.mark.parametrize(("x", "side"), [(300.0, 60.0), (100.0, 150.0), (100.0, 20.0)])
def test_behind_a_gap_a_face_elsewhere_or_of_another_size_is_another(x: float, side: float) -> None:
    assert len(join([make_track(0, 520)], [make_track(530, 1000, x, side)]).tracks) == 2


def test_a_face_lost_in_the_lead_and_found_by_the_next_tracker_has_no_gap() -> None:
    (one,) = join([make_track(0, 510)], [make_track(500, 1000)]).tracks
    assert (one.start, one.end) == (0, 1000) and one.seen.all()


@pytest.mark.parametrize("cut", [524, 525, 526])
def test_a_cut_ends_the_tracks(cut: int) -> None:
    if cut <= 525:
        before = [make_track(0, cut), *([make_track(cut, 525)] if cut < 525 else [])]
        after = [make_track(500, cut), make_track(cut, 1000)]
    else:
        before, after = [make_track(0, 525)], [make_track(500, cut), make_track(cut, 1000)]
    faces = join(before, after, [cut])
    assert spans(faces) == [(0, cut), (cut, 1000)] and faces.cuts == (cut,)


def test_a_cut_within_the_lead_counts_once() -> None:
    before, after = [make_track(0, 510), make_track(510, 525)], [make_track(500, 510), make_track(510, 1000)]
    faces = join(before, after, [100, 510])
    assert spans(faces) == [(0, 510), (510, 1000)] and faces.cuts == (100, 510)


def test_short_tracks_are_dropped_after_joining() -> None:
    assert spans(join([make_track(300, 309)], [make_track(600, 610), make_track(700, 709)])) == [(600, 610)]
    assert spans(join([make_track(519, 525)], [make_track(519, 529)])) == [(519, 529)]
    assert spans(join([make_track(519, 525)], [make_track(519, 528)])) == []


def test_a_face_only_in_the_lead_of_the_next_segment_is_none() -> None:
    assert join([], [make_track(500, 525)]).tracks == ()
    assert spans(join([], [make_track(500, 540, unseen=range(520, 528))])) == [(528, 540)]


def test_one_face_goes_on_through_many_segments() -> None:
    joiner, segments = FaceJoiner(OPTIONS), plan_segments(2600)
    for segment in segments:
        joiner.add(segment, Faces((make_track(segment.first, segment.end),), (), segment.first))
    faces = joiner.finish()
    (one,) = faces.tracks
    np.testing.assert_array_equal(one.landmarks, make_track(0, 2600).landmarks)
    np.testing.assert_array_equal(one.seen, np.ones(2600, bool))
    assert faces.left_out == 2000


def test_a_cover_is_found_over_the_cut() -> None:
    """The clear second before the cut is short within the segment, and not in the joined track."""
    before, after = make_track(0, 525), make_track(500, 1000)
    log_odds = before.cover_log_odds.copy()
    log_odds[:490] = np.where(np.isnan(log_odds[:490]), np.nan, 3.0)
    before = replace(before, cover_log_odds=log_odds, covered=mark_covered(log_odds))
    assert before.covered.all()
    (one,) = join([before], [after]).tracks
    assert one.covered[:490].all() and not one.covered[500:].any()


@pytest.mark.parametrize(("side", "shade"), [(80.0, 2), (62.0, 1)])
def test_the_thumbnail_is_of_the_clearly_larger_view(side: float, shade: int) -> None:
    (one,) = join([make_track(0, 525, shade=1)], [make_track(500, 1000, side=side, shade=2)]).tracks
    assert one.thumbnail[0, 0, 0] == shade


def test_tracks_are_in_the_order_of_their_start_and_size() -> None:
    faces = join([make_track(40, 525, 300, 60)], [make_track(500, 1000, 304, 60), make_track(530, 700, 100, 90)])
    assert spans(faces) == [(40, 1000), (530, 700)]
    faces = join([], [make_track(530, 700, 300, 60), make_track(530, 800, 100, 90)])
    assert spans(faces) == [(530, 800), (530, 700)]
