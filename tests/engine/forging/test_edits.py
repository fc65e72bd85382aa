"""Edits of drawn sounds: only the seconds between the borders change, and hold what they are said to hold."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.datasets.manifest import Row
from engine.errors import NotForgeable
from engine.forging.audio import SpeechClip
from engine.forging.edits import EDITS_S, FADES_S, edit_by_other, edit_by_same, edit_by_synthesis
from engine.forging.kinds import CONTROLS, LABELS, Forgery, Kind
from engine.forging.source_clips import SourceClip
from engine.types import SAMPLE_RATE


def make_source(seconds: float, hz: float = 0.0, speaker: str = "a") -> SourceClip:
    """Sound that names its own time: the square wave of a falling ramp, or a tone."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    samples = 0.1 * np.sin(2 * np.pi * hz * times) if hz else 0.1 * (1 + times / seconds)
    sound = SpeechClip(samples.astype(np.float32), np.ones(len(times), bool))
    row = Row(1, Path("a.mp4"), "real", speaker=speaker, written="a.mp4")
    drawn = SimpleNamespace(row=row, sound=sound, seconds=seconds, rate=Fraction(25), size_px=(9, 9))
    drawn.outline_faces = list
    drawn.read_images = lambda: iter(())
    return drawn  # type: ignore[return-value]


def find_changes(forgery: Forgery, source: SourceClip) -> np.ndarray:
    assert forgery.sound is not None and source.sound is not None
    return np.flatnonzero(np.abs(forgery.sound.samples - source.sound.samples) > 1e-4) / SAMPLE_RATE


MAKERS: dict[Kind, Callable[[SourceClip, np.random.Generator], Forgery]] = {
    Kind.EDIT_OTHER: lambda source, chance: edit_by_other(source, make_source(9, 440, "b"), chance),
    Kind.EDIT_SAME: edit_by_same,
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("seed", range(6))
def test_only_the_seconds_between_the_borders_change(kind: Kind, seed: int) -> None:
    source = make_source(12)
    forgery = MAKERS[kind](source, np.random.default_rng(seed))
    assert forgery.edit_s is not None and (forgery.kind, forgery.voice) == (kind, "a")
    start, end = forgery.edit_s
    assert (
        round(end - start, 6) in EDITS_S and start >= 0 and end <= 12 and start * 25 == pytest.approx(round(start * 25))
    )
    changed = find_changes(forgery, source)
    assert start - max(FADES_S) / 2 <= changed.min() and changed.max() <= end + max(FADES_S) / 2
    assert len(changed) / SAMPLE_RATE > 0.8 * (end - start)


def test_lengths_and_fades_are_drawn() -> None:
    made = [edit_by_other(make_source(12), make_source(9, 440, "b"), np.random.default_rng(seed)) for seed in range(40)]
    assert {round(one.edit_s[1] - one.edit_s[0], 6) for one in made if one.edit_s} == set(EDITS_S)
    assert {one.detail.split(", ")[1] for one in made} == {"fades of 0.01 s", "fades of 0.2 s"}
    assert all(one.detail.startswith("voice of b in the edit") for one in made)


@pytest.mark.parametrize("seed", range(8))
def test_another_part_of_the_recording_does_not_overlap_the_edit(seed: int) -> None:
    source = make_source(12)
    forgery = edit_by_same(source, np.random.default_rng(seed))
    assert forgery.edit_s is not None and forgery.sound is not None
    start, end = forgery.edit_s
    from_s = float(forgery.detail.split()[3])
    assert from_s + (end - start) <= start + 0.01 or from_s >= end - 0.01
    middle = round((start + end) / 2 * SAMPLE_RATE)
    there = round((from_s + (end - start) / 2) * SAMPLE_RATE)
    assert source.sound is not None
    ratio = forgery.sound.samples[middle] / source.sound.samples[there]
    assert ratio == pytest.approx(1, abs=0.35)  # the level of the whole is matched


def test_synthetic_speech_fills_the_edit() -> None:
    source = make_source(8)
    forgery = edit_by_synthesis(source, np.random.default_rng(3))
    changed = find_changes(forgery, source)
    assert forgery.edit_s is not None and forgery.detail.startswith("voice en-us+")
    assert forgery.edit_s[0] - 0.1 <= changed.min() and changed.max() <= forgery.edit_s[1] + 0.1
    assert len(changed) / SAMPLE_RATE > 0.8 * (forgery.edit_s[1] - forgery.edit_s[0])


def test_too_short_clips_are_refused_with_the_length_that_is_needed() -> None:
    with pytest.raises(NotForgeable, match=r"needs 3 s"):
        edit_by_same(make_source(2.9), np.random.default_rng(0))
    with pytest.raises(NotForgeable, match="shorter than the edit"):
        edit_by_other(make_source(12), make_source(0.5, 440, "b"), np.random.default_rng(0))


def test_edits_are_forgeries_of_the_sound() -> None:
    for kind in (Kind.EDIT_OTHER, Kind.EDIT_SAME, Kind.EDIT_SYNTHETIC):
        assert LABELS[kind] == "fake-audio" and kind not in CONTROLS
