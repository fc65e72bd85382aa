"""Lip gestures at phonemes: made, missed or not seen, and the expected miss rate."""

from dataclasses import replace

import numpy as np
import pytest

from engine.consistency.lip_closures import (
    CORNERS,
    Articulation,
    ArticulationReport,
    ClosureOutcome,
    Gesture,
    check_faces,
    check_lips,
    count,
    find_gesture,
)
from engine.faces.landmark_features import N_FEATURES
from engine.features.records import FaceFeatures
from engine.speech.phonemes import Sound
from engine.types import FPS

N = 200  # frames
CLOSURES = (30, 61, 92, 123, 154)  # frames at which the lips close, for three frames
PURSED = (45, 78, 110)  # at which the mouth is narrow, for four


def make_track(start: int = 0, unseen: slice = slice(0)) -> FaceFeatures:
    """A face with lips that close and purse at known times, and else stay apart and wide."""
    gap, width = np.full(N, 0.15), 0.7 + 0.02 * np.sin(np.arange(N))
    for frame in CLOSURES:
        gap[frame : frame + 3] = 0.012
    for frame in PURSED:
        width[frame : frame + 4] = 0.5
    lips = np.zeros((N, N_FEATURES), np.float32)
    lips[:, 2 * CORNERS[1]] = width
    seen = np.ones(N, bool)
    seen[unseen] = False
    blank = np.zeros((96, 96, 3), np.uint8)
    return FaceFeatures(start, lips, seen, gap.astype(np.float32), 100.0, blank, np.zeros((N, 1), np.float32))


def make_sound(name: str, frame: float, n_frames: float = 2) -> Sound:
    return Sound(name, frame / FPS, (frame + n_frames) / FPS)


def talk(n_frames: int = N) -> np.ndarray:
    return np.ones(n_frames, bool)


def get_sound(one: Articulation) -> Sound:
    return Sound(one.sound, one.start_s, one.end_s)


def test_closures_in_time_are_made_and_others_missed() -> None:
    timely = [make_sound(name, frame) for name, frame in zip("MBPMB", CLOSURES, strict=True)]
    late = [make_sound("P", frame + 12) for frame in CLOSURES]
    report = check_lips(make_track(), sorted(timely + late, key=lambda one: one.start_s), talk())
    made = {get_sound(one) for one in report.sounds if one.outcome == ClosureOutcome.MADE}
    assert made == set(timely)
    assert (report.closed.n, report.closed.n_missed, report.closed.n_unseen) == (10, 5, 0)
    assert report.closed.share == 0.5
    assert report.closed.by_chance > 0.8
    assert report.closed.ci[0] < 0.5 < report.closed.ci[1]


def test_report_has_the_measurement() -> None:
    report = check_lips(make_track(), [make_sound("M", CLOSURES[0]), make_sound("M", CLOSURES[0] + 12)], talk())
    assert [round(one.measured, 3) for one in report.sounds] == [0.012, 0.15]


def test_rounding_follows_the_mouth_width() -> None:
    sounds = [make_sound("W", PURSED[0]), make_sound("UW", PURSED[1]), make_sound("OW", PURSED[2])]
    report = check_lips(make_track(), sounds, talk())
    assert [one.outcome for one in report.sounds] == [ClosureOutcome.MADE] * 3
    assert all(0.49 < one.measured < 0.51 for one in report.sounds)
    assert report.rounded.n == 3 and report.closed.n == 0 and report.closed.share is None


@pytest.mark.parametrize(("shift", "made"), [(-3, False), (-1, True), (0, True), (1, True), (5, False)])
def test_a_frame_off_is_in_time_and_five_are_not(shift: int, made: bool) -> None:
    report = check_lips(make_track(), [make_sound("B", CLOSURES[1] + shift)], talk())
    assert (report.sounds[0].outcome == ClosureOutcome.MADE) is made


def test_the_clock_is_the_clips_wherever_the_face_comes_in() -> None:
    moved = [make_sound("M", CLOSURES[0] + 40), make_sound("M", CLOSURES[0])]
    report = check_lips(make_track(start=40), moved, talk(N + 40))
    assert [one.outcome for one in report.sounds] == [ClosureOutcome.MADE]  # the second is before the face
    assert (report.start_s, report.end_s) == (40 / FPS, (N + 40) / FPS)


def test_what_is_not_measured_is_not_called_missed() -> None:
    track = make_track(unseen=slice(CLOSURES[0] - 5, CLOSURES[0] + 8))
    report = check_lips(track, [make_sound("M", CLOSURES[0]), make_sound("M", CLOSURES[1])], talk())
    assert [one.outcome for one in report.sounds] == [ClosureOutcome.UNSEEN, ClosureOutcome.MADE]
    assert (report.both.n, report.both.n_unseen) == (1, 1)
    assert report.sounds[0].measured is None


def test_a_gesture_that_is_partly_seen_counts_as_made_alone() -> None:
    sounds = [make_sound("M", CLOSURES[2]), make_sound("M", CLOSURES[2] + 12)]
    for sound, wanted in zip(sounds, (ClosureOutcome.MADE, ClosureOutcome.UNSEEN), strict=True):
        last = round(sound.end_s * FPS)
        track = make_track(unseen=slice(last - 1, last + 1))
        assert check_lips(track, [sound], talk()).sounds[0].outcome == wanted


def test_barely_visible_face_gives_no_result() -> None:
    report = check_lips(make_track(unseen=slice(20, N)), [make_sound("M", 5), make_sound("W", 10)], talk())
    assert {one.outcome for one in report.sounds} == {ClosureOutcome.UNSEEN}
    assert report.both.share is None and report.both.n_unseen == 2


def test_chance_counts_frames_of_speech() -> None:
    voiced = np.zeros(N, bool)
    voiced[CLOSURES[0] : CLOSURES[0] + 3] = True  # the lips are closed in all speech
    sound = make_sound("M", CLOSURES[0], 1)
    assert check_lips(make_track(), [sound], voiced).closed.by_chance == 0
    assert check_lips(make_track(), [sound], talk()).closed.by_chance > 0.8


def test_chance_rate_equals_rate_of_random_times() -> None:
    frames = np.random.default_rng(0).uniform(5, N - 10, 2000)
    report = check_lips(make_track(), [make_sound("M", frame) for frame in frames], talk())
    assert report.closed.share == pytest.approx(report.closed.by_chance, abs=0.03)


def test_a_mouth_that_stays_shut_misses_no_closure_and_all_roundings() -> None:
    track = make_track()
    shut = FaceFeatures(
        0,
        np.full_like(track.lips, 0.3),
        track.seen,
        np.full(N, 0.004, np.float32),
        100.0,
        track.thumbnail,
        track.motion,
    )
    report = check_lips(shut, [make_sound("M", 50), make_sound("W", 80)], talk())
    assert (report.closed.share, report.rounded.share) == (0.0, 1.0)
    assert (report.closed.by_chance, report.rounded.by_chance) == (0.0, 1.0)


def test_held_picture_neither_makes_nor_misses_a_closure() -> None:
    track = make_track()
    held = replace(track, frozen=np.ones(N, bool))
    report = check_lips(held, [make_sound("M", 50)], talk())
    assert [one.outcome for one in report.sounds] == [ClosureOutcome.UNSEEN]
    assert [one.outcome for one in check_lips(track, [make_sound("M", 50)], talk()).sounds] == [ClosureOutcome.MISSED]


def test_a_span_keeps_the_sounds_within_it() -> None:
    sounds = [make_sound("M", frame) for frame in CLOSURES]
    report = check_lips(make_track(), sounds, talk(), span_s=(2.0, 3.7))
    assert [get_sound(one) for one in report.sounds] == [make_sound("M", 61)]
    assert (report.start_s, report.end_s) == (2.0, 3.7)


@pytest.mark.parametrize(
    ("name", "wanted"), [("M", Gesture.CLOSED), ("UW", Gesture.ROUNDED), ("F", None), ("SIL", None), ("T", None)]
)
def test_only_what_can_be_seen_missing_is_asked_for(name: str, wanted: Gesture | None) -> None:
    assert find_gesture(Sound(name, 0, 1)) == wanted


def test_empty_tally_has_no_share() -> None:
    tally = count([])
    assert (tally.n, tally.share, tally.ci, tally.by_chance) == (0, None, None, None)


def test_the_interval_is_wilsons() -> None:
    listed = [
        Articulation("M", i, i + 0.1, Gesture.CLOSED, 0.1, ClosureOutcome.MISSED if i < 3 else ClosureOutcome.MADE, 0.6)
        for i in range(10)
    ]
    report = ArticulationReport("en", 0.0, 10.0, tuple(listed))
    assert report.both.ci == pytest.approx((0.1078, 0.6032), abs=1e-4)  # 3 of 10, by the formula
    assert report.both.by_chance == pytest.approx(0.6)


class FakeRecogniser:
    """Returns given phonemes and records the frames of the request."""

    language = "en"

    def __init__(self, *sounds: Sound):
        self.sounds, self.requested = sounds, np.zeros(0, bool)

    def recognise(self, audio, voiced, on_step) -> tuple[Sound, ...]:
        self.requested = voiced
        return self.sounds


def test_each_face_is_checked_while_visible() -> None:
    recogniser, length = FakeRecogniser(make_sound("M", CLOSURES[0]), make_sound("M", CLOSURES[0] + 300)), N + 300
    tracks = [make_track(), make_track(start=300)]
    reports = check_faces(recogniser, np.zeros(640 * length, np.float32), talk(length), tracks)
    assert [len(one.sounds) for one in reports] == [1, 1]
    assert [one.closed.n_missed for one in reports] == [0, 0]
    assert recogniser.requested.sum() == 2 * N and not recogniser.requested[N:300].any()
    check_faces(recogniser, np.zeros(640 * length, np.float32), talk(length), tracks, (1.0, 2.0))
    assert np.flatnonzero(recogniser.requested).tolist() == list(range(25, 50))
