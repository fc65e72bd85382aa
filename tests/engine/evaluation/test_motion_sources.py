"""Source of a motion on synthetic clips: true sources, other recordings, figures, degradations, trials."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from engine.calibration.records import Task
from engine.calibration.trials import Origin, TrialOptions
from engine.datasets.manifest import Row
from engine.evaluation.degraded_motion import DEGRADATIONS, degrade
from engine.evaluation.motion_clips import MotionClip, MotionClips, cut_face, find_true_sources, find_wrong
from engine.evaluation.motion_sources import SourceOptions, evaluate_sources
from engine.evaluation.motion_tables import print_sources
from engine.evaluation.motion_trials import collect_source_trials
from engine.motion.evidence import NAMES
from engine.motion.signature import describe_signature
from tests.engine.motion import moving
from tests.engine.motion.calibrated import RECIPE, make_calibration
from tests.engine.motion.moving import make_face, make_motion, spoil


def make_clip(number: int, motion: np.ndarray, label: str = "real", **cells: str) -> MotionClip:
    face = make_face(motion)
    row = Row(number, Path(f"{number}.mp4"), label, written=f"{number}.mp4", **cells)  # type: ignore[arg-type]
    return MotionClip(row, face, describe_signature(face))


def make_clips(n_pairs: int = 4, n_others: int = 6) -> MotionClips:
    """Pairs of a driver and a swap, other takes of the drivers, and recordings of others, from several sources."""
    clips: list[MotionClip] = []
    for pair in range(n_pairs):
        motion, owner = make_motion(pair), f"p{pair}"
        cells = {"source": f"s{pair}", "motion_owner": owner, "pair": f"pair{pair}"}
        clips.append(make_clip(len(clips), motion, speaker=owner, face_owner=owner, **cells))
        clips.append(make_clip(len(clips), spoil(motion, 0.5), "fake", method="swap", face_owner="other", **cells))
        clips.append(make_clip(len(clips), make_motion(50 + pair), speaker=owner, source=f"s{pair}"))
    for other in range(n_others):
        clips.append(make_clip(len(clips), make_motion(100 + other), speaker=f"q{other}", source=f"t{other % 3}"))
    return MotionClips(tuple(clips), (), RECIPE)


def test_true_sources_of_each_kind() -> None:
    motion = make_motion(1, 60)
    drive = {"pair": "a", "motion_owner": "Ada"}
    clips = [
        make_clip(0, motion, face_owner="Ada", **drive),
        make_clip(1, motion, "fake", method="swap", face_owner="Ben", **drive),
        make_clip(2, motion, "fake", method="swap", face_owner="Eve", **drive),
        make_clip(3, motion, "fake", method="x [lipsync]", face_owner="Ben", pair="b", motion_owner="Ada"),
        make_clip(4, motion, "desync", face_owner="Ben", pair="b"),
        make_clip(5, motion, "fake", method="swap", pair="c", motion_owner="Eve"),
        make_clip(6, motion, "fake", method="swap", pair="c", motion_owner="Eve"),
        make_clip(7, motion, "fake", method="swap", pair="c", motion_owner="Ada"),
        make_clip(8, motion, "real", pair="d"),
        make_clip(9, motion, "fake-audio", method="tts", pair="d"),
        make_clip(10, motion, speaker="Ada"),
        make_clip(11, motion, "fake", method="y [audio-driven]", pair="d"),
    ]
    expected = {1: [0, 2], 2: [0, 1], 3: [4], 5: [6], 6: [5], 9: [8]}
    assert find_true_sources(clips) == expected
    assert find_wrong(clips, 1).tolist() == [4, 8, 9, 10]
    assert clips[1].owner == "Ada" and clips[4].owner == "Ben" and clips[9].method == "tts"


def test_cuts_the_middle() -> None:
    clip = make_clip(0, make_motion(2, 250))
    cut = cut_face(clip, 2.0)
    assert cut is not None and cut.face.start == 100 and len(cut.signature.rows) == 50
    np.testing.assert_array_equal(cut.face.motion, clip.face.motion[100:150])
    assert cut_face(clip, 11.0) is None and cut_face(clip, None) is clip


def test_degradations() -> None:
    clip = make_clip(0, make_motion(3, 250))
    made = {name: degrade(clip, name).face.motion for name in DEGRADATIONS}
    np.testing.assert_allclose(made["mirrored"], moving.mirror(clip.face.motion), atol=1e-6)
    assert len(made["1.1 times as fast"]) == 227
    np.testing.assert_allclose(made["1.1 times as fast"][10], clip.face.motion[11], atol=1e-5)
    np.testing.assert_array_equal(made["halves exchanged"][:125], clip.face.motion[125:])
    np.testing.assert_array_equal(made["half replaced"][:125], clip.face.motion[:125])
    assert abs(made["half replaced"][125:] - clip.face.motion[125:]).max() > 0.1
    held = made["frames dropped to 15 fps"]
    assert len(held) == 250 and len(np.unique(held, axis=0)) == 150


def test_figures_of_planted_pairs() -> None:
    report = evaluate_sources(make_clips(), make_calibration(), SourceOptions())
    assert report.n_probes == 4 and report.n_rows == 18
    assert set(report.per_condition) == {"whole", "2 s", "5 s", "10 s", *DEGRADATIONS}
    whole = report.per_condition["whole"]
    assert (whole.n, whole.first, whole.above_wrong, whole.strong) == (4, 1, 1, 1)
    assert report.per_method["5 s"]["swap"].first == 1 and report.per_condition["5 s"].offset == 1
    assert report.wrong["whole"].n == 4 * 13 and report.wrong["whole"].n_same_person == 4
    assert report.wrong["whole"].strong == report.wrong["whole"].strong_same_person == 0
    probe = next(one for one in report.probes if one.condition == "whole")
    assert probe.pattern == ("head", "eyes", "mouth") and probe.llr == 4 and probe.score > probe.best_wrong
    assert asdict(report)["calibration"] == make_calibration().id


def test_distractors_are_drawn_and_nothing_is_degraded_on_request() -> None:
    report = evaluate_sources(make_clips(), None, SourceOptions((2.0,), n_distractors=3, degrades=False))
    assert list(report.wrong) == ["whole", "2 s"] and report.wrong["2 s"].n == 12
    assert report.per_condition["whole"].strong is None and report.wrong["whole"].strong is None
    console = Console(record=True, width=200)
    print_sources(report, console)
    text = console.export_text()
    assert "swap" in text and "No calibration" in text and "100 %" in text


def test_trials_of_true_and_wrong_recordings() -> None:
    found = make_clips()
    trials = collect_source_trials(found, Origin(RECIPE, "ab" * 32), TrialOptions(per_face=2))
    assert trials.task == Task.SOURCE and trials.quality_names == NAMES and trials.n_clips == 18
    assert trials.same.sum() == 4 * 3 and set(trials.conditions[trials.same]) == {"whole", "5 s", "2 s"}
    assert (~trials.same).sum() == 4 * 3 * 6 + 14 * 2
    assert trials.scores[trials.same].min() > np.quantile(trials.scores[~trials.same], 0.99)
    assert set(trials.sources[trials.same].ravel()) == {"s0", "s1", "s2", "s3"}
    again = collect_source_trials(found, Origin(RECIPE, "ab" * 32), TrialOptions(per_face=2))
    np.testing.assert_array_equal(again.scores, trials.scores)
    assert pytest.approx(2.0, abs=0.5) == np.exp(trials.qualities[trials.same & (trials.conditions == "2 s"), 0]).mean()


def test_a_pair_with_two_recordings_is_no_trial_of_a_true_source() -> None:
    found = make_clips()
    twice = make_clip(99, make_motion(200), source="s0", motion_owner="p0", pair="pair0")
    trials = collect_source_trials(
        replace(found, clips=(*found.clips, twice)), Origin(RECIPE, "ab" * 32), TrialOptions(per_face=2)
    )
    assert trials.same.sum() == 3 * 3


def test_a_made_clip_of_an_unknown_recording_is_no_trial() -> None:
    found = make_clips()
    unknown = make_clip(98, make_motion(201), "fake", source="s0", speaker="of an unknown recording")
    trials = collect_source_trials(
        replace(found, clips=(*found.clips, unknown)), Origin(RECIPE, "ab" * 32), TrialOptions(per_face=2)
    )
    assert unknown.owner not in trials.people and trials.same.sum() == 4 * 3
