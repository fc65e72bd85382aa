"""Frames kept of each clip, held-out speakers of each fold, and the bases of motion."""

from dataclasses import replace

import numpy as np
import pytest

from engine.datasets.manifest import Row
from engine.faces.landmark_features import N_SHAPES
from engine.models.dvp import DVPOptions
from engine.training.style.speakers import (
    MAX_FRAMES,
    MIN_CLIPS,
    MIN_FRAMES,
    MIN_SESSIONS,
    SpokenClip,
    build_spoken_clip,
    find_longest_run,
    fit_bases,
    split_speakers,
)
from tests.engine.training.planted import make_row
from tests.engine.training.style.planted_people import (
    MINI,
    OPEN,
    make_face_features,
    make_features,
    make_people,
    make_person_clip,
)


def flag(n_frames: int, *gaps: int) -> np.ndarray:
    return ~np.isin(np.arange(n_frames), gaps)


def count_clips(counts: dict[str, list[int]]) -> list[SpokenClip]:
    """Clips of speakers by how many there are in each session."""
    one, clips = make_person_clip(0, n_frames=MIN_FRAMES), []
    for speaker, per_session in counts.items():
        for session, n in enumerate(per_session):
            row = replace(one.row, speaker=speaker, session=f"day {session}")
            clips += [replace(one, row=row, speaker=speaker)] * n
    return clips


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [("", (0, 0)), ("000", (0, 0)), ("111", (0, 3)), ("0110111", (4, 7)), ("1100110", (0, 2)), ("0001", (3, 4))],
)
def test_the_longest_run_is_found_and_the_first_of_equals(flags: str, wanted: tuple[int, int]) -> None:
    assert find_longest_run(np.array([flag == "1" for flag in flags], bool)) == slice(*wanted)


def test_a_clip_is_the_longest_run_of_the_main_face() -> None:
    large, small = make_person_clip(1, n_frames=90), make_person_clip(2, n_frames=90)
    seen = make_features(
        make_face_features(small, flag(90), face_px=40.0), make_face_features(large, flag(90, 20, 70), face_px=100.0)
    )
    clip = build_spoken_clip(seen, large.row)
    assert clip is not None
    np.testing.assert_array_equal(clip.motion, large.motion[21:70])
    np.testing.assert_array_equal(clip.faces.pictures, large.faces.pictures[21:70])
    np.testing.assert_array_equal(clip.faces.points, large.faces.points[21:70])
    assert (clip.speaker, clip.sha256, clip.row, clip.seconds) == ("p1", seen.sha256, large.row, 49 / 25)
    still = clip.still(3)
    assert (still.picture == large.faces.pictures[24]).all() and (still.points == large.faces.points[24]).all()


def test_a_clip_is_cut_after_a_while() -> None:
    long = make_person_clip(1, n_frames=MAX_FRAMES + 30)
    clip = build_spoken_clip(make_features(make_face_features(long, flag(MAX_FRAMES + 30, 4))), long.row)
    assert clip is not None
    np.testing.assert_array_equal(clip.motion, long.motion[5 : 5 + MAX_FRAMES])


@pytest.mark.parametrize(("gaps", "is_kept"), [((), True), ((MIN_FRAMES,), True), ((MIN_FRAMES - 1,), False)])
def test_less_than_a_second_of_a_face_is_nothing(gaps: tuple[int, ...], is_kept: bool) -> None:
    made = make_person_clip(1, n_frames=2 * MIN_FRAMES - 1)
    kept = build_spoken_clip(make_features(make_face_features(made, flag(2 * MIN_FRAMES - 1, *gaps))), made.row)
    assert (kept is not None) == is_kept
    assert build_spoken_clip(make_features(), made.row) is None


def test_clip_without_speaker_counts_as_own_speaker() -> None:
    made = make_person_clip(1, n_frames=30)
    rows = [replace(make_row(), number=number) for number in (4, 9)]
    clips = [build_spoken_clip(make_features(make_face_features(made, flag(30))), row) for row in rows]
    assert [clip.speaker for clip in clips if clip] == ["clip 4", "clip 9"]


def test_faces_that_were_not_cut_are_a_mistake() -> None:
    made = make_person_clip(1, n_frames=30)
    with pytest.raises(ValueError, match=r"a\.mp4 were not cropped: extract features with `cut_faces`"):
        build_spoken_clip(make_features(make_face_features(made, flag(30), cut=False)), made.row)


def test_only_people_with_clips_and_sessions_enough_are_left_out_and_each_of_them_once() -> None:
    enough = [MIN_CLIPS - 3, *[1] * (MIN_SESSIONS - 1)]
    able = {f"able {i}": enough for i in range(9)}
    few, one_day = {"few": [1, *enough[1:]]}, {"one day": [MIN_CLIPS, 1]}
    clips = count_clips(able | few | one_day)
    unplaced = [replace(clip, row=replace(clip.row, session=None)) for clip in count_clips({"unplaced": enough})]
    nameless = count_clips({"": enough})
    folds = split_speakers([*clips, *unplaced, *nameless], 4, seed=0)
    assert sorted(len(fold) for fold in folds) == [2, 2, 2, 3]
    assert sorted(name for fold in folds for name in fold) == sorted(able)


def test_the_split_is_the_seeds_whatever_the_order_of_the_clips() -> None:
    clips = count_clips({f"able {i}": [5] * 4 for i in range(8)})
    assert split_speakers(clips, 4, seed=0) == split_speakers(clips[::-1], 4, seed=0)
    assert split_speakers(clips, 4, seed=0) != split_speakers(clips, 4, seed=1)
    assert split_speakers([], 4, seed=0) == [frozenset()] * 4


@pytest.mark.parametrize("frequency", [True, False])
def test_rows_are_of_unit_spread_within_clips_and_of_no_direction_twice(frequency: bool) -> None:
    clips = make_people(8, n_frames=50)
    model = fit_bases(clips, replace(MINI, frequency=frequency))
    rows = [model.describe(clip.motion, clip.faces) for clip in clips]
    moved = np.concatenate([own - own.mean(0) for own in rows])
    assert moved.shape[1] == MINI.n_rows
    np.testing.assert_allclose(moved.std(0), 1, atol=0.02)
    for own in (moved[:, : MINI.n_shapes], moved[:, -MINI.n_bands :]):
        np.testing.assert_allclose(own.T @ own / len(own), np.eye(own.shape[1]), atol=0.02)
    assert abs(float(model.shape_basis[OPEN, 0])) > 1  # what moves most leads


def test_uncentred_rows_contain_appearance() -> None:
    clips = make_people(8, n_frames=50)
    model = fit_bases(clips, replace(MINI, centred=False))
    looks = np.stack([model.describe(clip.motion, clip.faces)[:, -MINI.n_bands :].mean(0) for clip in clips])
    assert looks[:, 0].std() > 0.9  # of 1: the widest difference is between the clips


def test_long_clips_do_not_dominate() -> None:
    quiet, wide = make_person_clip(1, n_frames=50), make_person_clip(2, n_frames=400)
    wide = replace(wide, motion=4 * wide.motion)
    found = float(fit_bases([quiet, wide], MINI).pose_scale[0])
    balanced = np.concatenate([one - one.mean(0) for one in (quiet.motion[:, N_SHAPES], wide.motion[::8, N_SHAPES])])
    assert found == pytest.approx(1 / balanced.std(), rel=1e-4)


def test_constant_columns_are_not_amplified() -> None:
    clips = make_people(3, n_frames=40)
    for clip in clips:
        still = np.delete(np.arange(clip.motion.shape[1]), [OPEN, N_SHAPES])
        clip.motion[:, still] = clip.motion[0, still]
    model = fit_bases(clips, DVPOptions(n_shapes=16))
    assert model.shape_basis.isfinite().all() and model.shape_basis.half().isfinite().all()
    assert (np.abs(model.shape_basis.numpy()).max(0) > 0).tolist() == [True] + [False] * 15
    assert (model.pose_scale.numpy() > 0).tolist() == [True] + [False] * 5


def test_every_clip_has_a_row_and_a_face() -> None:
    clip = make_person_clip(3, 1, 2, 30)
    assert isinstance(clip.row, Row) and clip.seconds == 1.2
    assert len(clip.motion) == len(clip.faces) == 30
