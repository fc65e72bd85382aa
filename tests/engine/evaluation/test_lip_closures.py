"""Own, foreign and moved speech, on drawn faces that do what their own sounds ask."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.consistency.lip_closures import CORNERS
from engine.datasets.manifest import Row
from engine.evaluation.lip_closures import (
    ClosureClip,
    LipClosureOptions,
    delay_sound,
    evaluate_lip_closures,
    join_clips,
)
from engine.faces.landmark_features import N_FEATURES
from engine.features.records import FaceFeatures
from engine.speech.phonemes import Sound
from engine.types import FPS

N = 150  # frames
QUICK = LipClosureOptions((10.0,), ("both",), (0.2,), voices_per_face=2)


def make_talk(person: str, number: int, label: str = "real", obeys: bool = True) -> ClosureClip:
    """Six seconds with a closure or a rounding every ten frames or so, which the lips make, or make at other times."""
    chance = np.random.default_rng([number, *person.encode()])
    frames = np.cumsum(chance.integers(8, 15, 11)) + 2
    sounds = tuple(Sound("MW"[i % 2], frame / FPS, (frame + 2) / FPS) for i, frame in enumerate(frames.tolist()))
    made = frames if obeys else np.cumsum(chance.integers(8, 15, 11)) + 2
    gap, width = np.full(N, 0.15, np.float32), 0.7 + chance.uniform(0, 0.02, N)
    for i, frame in enumerate(made.tolist()):
        (gap if i % 2 == 0 else width)[frame : frame + 3] = 0.015 if i % 2 == 0 else 0.5
    lips = np.zeros((N, N_FEATURES), np.float32)
    lips[:, 2 * CORNERS[1]] = width
    blank = np.zeros((96, 96, 3), np.uint8)
    track = FaceFeatures(0, lips, np.ones(N, bool), gap, 100.0, blank, np.zeros((N, 1), np.float32))
    row = Row(number, Path(f"{person}{number}.mp4"), label, person, method="" if label == "real" else "dub")
    return ClosureClip(row, track, np.ones(N, bool), sounds)


@pytest.fixture(scope="module")
def talks() -> list[ClosureClip]:
    real = [make_talk(person, number) for person in "abcdef" for number in range(4)]
    return real + [make_talk(person, number, "fake", obeys=False) for person in "abc" for number in range(4)]


def test_own_voice_is_separated_from_foreign_shifted_and_dubbed(talks: list[ClosureClip]) -> None:
    (both,) = evaluate_lip_closures(talks, QUICK)
    assert both.own.share == 0.0
    assert both.own.by_chance > 0.5
    assert both.foreign.parting.auc > 0.95 and both.own.parting.auc > 0.95
    assert both.foreign.share > 0.4
    assert both.shifted["0.2"].parting.auc > 0.95
    assert both.methods["dub"].parting.auc > 0.95
    assert both.methods["dub"].parting.n_other == 6
    assert both.own.parting.ci is not None and both.own.parting.ci_over == "people"


def test_each_gesture_is_evaluated_separately(talks: list[ClosureClip]) -> None:
    figures = evaluate_lip_closures(talks[:8], LipClosureOptions((10.0,), ("closed", "rounded"), (), 1))
    assert [(one.kind, one.own.n_sounds) for one in figures] == [("closed", 12.0), ("rounded", 10.0)]


def test_random_lips_do_not_discriminate() -> None:
    idle = [make_talk(person, number, obeys=False) for person in "abcdefghij" for number in range(8)]
    (both,) = evaluate_lip_closures(idle, replace(QUICK, shifts_s=()))
    assert 0.3 < both.foreign.parting.auc < 0.7


def test_clips_are_joined_by_person_until_they_are_long_enough(talks: list[ClosureClip]) -> None:
    samples = join_clips(talks, 10.0, 8)
    assert [len(sample) for sample in samples] == [2] * 18
    assert all(len({(one.row.person, one.row.label) for one in sample}) == 1 for sample in samples)
    assert [len(sample) for sample in join_clips(talks, 6.0, 8)] == [1] * 36
    assert join_clips(talks, 25.0, 8) == []


def test_speakers_with_many_clips_do_not_dominate(talks: list[ClosureClip]) -> None:
    assert [sample[0].row.person for sample in join_clips(talks[:8], 5.0, 3)] == ["a"] * 3 + ["b"] * 3


def test_shift_moves_phonemes_and_speech_equally(talks: list[ClosureClip]) -> None:
    talk = talks[0]
    talk = ClosureClip(talk.row, talk.track, np.arange(N) < 50, talk.sounds)
    late = delay_sound(talk, 0.4)
    assert late.sounds[0].start_s == pytest.approx(talk.sounds[0].start_s + 0.4)
    assert np.flatnonzero(late.voiced).tolist() == list(range(10, 60))


def test_samples_with_too_few_sounds_are_counted_and_no_trial() -> None:
    few = [
        ClosureClip(one.row, one.track, one.voiced, one.sounds[:3]) for one in (make_talk(name, 0) for name in "abc")
    ]
    (figures,) = evaluate_lip_closures([*few, make_talk("d", 0)], replace(QUICK, seconds=(5.0,)))
    assert figures.n_too_few == 3
    assert figures.own.parting.n_real == 1


def test_single_speaker_has_no_foreign_trials() -> None:
    (figures,) = evaluate_lip_closures([make_talk("a", number) for number in range(4)], QUICK)
    assert figures.foreign.parting.auc is None and figures.foreign.share is None
    assert figures.own.share == 0.0
