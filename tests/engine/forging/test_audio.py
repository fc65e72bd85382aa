"""Audio manipulation: position, level and presence of the samples."""

import numpy as np
import pytest

from engine.forging.audio import (
    SAMPLE_RATE,
    SpeechClip,
    match_level,
    replace_segment,
    shift_sound,
    synthesise_speech,
)


def tone(seconds: float = 2.0, level: float = 0.3, hz: float = 200.0) -> SpeechClip:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return SpeechClip((level * np.sin(2 * np.pi * hz * times)).astype(np.float32), np.ones(len(times), bool))


@pytest.mark.parametrize("offset_s", [0.25, -0.25, 1.5])
def test_a_shifted_sound_is_the_same_later_or_earlier_and_nothing_fills_the_gap(offset_s: float) -> None:
    sound, frames = tone(), round(abs(offset_s) * SAMPLE_RATE)
    moved = shift_sound(sound, offset_s)
    late, early = (moved, sound) if offset_s > 0 else (sound, moved)
    assert np.array_equal(late.samples[frames:], early.samples[: len(early.samples) - frames])
    gap = slice(0, frames) if offset_s > 0 else slice(len(sound.samples) - frames, None)
    assert not moved.present[gap].any() and not moved.samples[gap].any()
    assert moved.present.sum() == len(sound.samples) - frames


def test_a_cut_beyond_both_ends_is_empty_there() -> None:
    sound = tone(0.1)
    cut = sound.cut(-100, 2000)
    assert not cut.present[:100].any() and cut.present[100:1700].all() and not cut.present[1700:].any()
    assert np.array_equal(cut.samples[100:1700], sound.samples)


def test_levels_are_matched_over_what_is_there() -> None:
    half_there = tone(2.0, 0.05)
    half_there.present[:SAMPLE_RATE] = False
    half_there.samples[:SAMPLE_RATE] = 0
    matched = match_level(half_there, tone(1.0, 0.2))
    assert matched.level == pytest.approx(0.2 / np.sqrt(2), rel=1e-3)


def test_matching_never_clips_nor_raises_silence() -> None:
    peaked = SpeechClip(
        np.append(np.full(SAMPLE_RATE, 0.001, np.float32), np.float32(0.9)), np.ones(SAMPLE_RATE + 1, bool)
    )
    assert np.abs(match_level(peaked, tone(1.0, 0.9)).samples).max() <= 0.99 + 1e-6
    silent = SpeechClip(np.zeros(100, np.float32), np.ones(100, bool))
    assert match_level(silent, tone()) is silent
    assert match_level(tone(), None).level == tone().level


def test_a_part_is_replaced_and_the_rest_stays_to_the_sample() -> None:
    own, other = tone(hz=200), tone(hz=770)
    mixed = replace_segment(own, other, 0.5, 1.5)
    inside = slice(round(0.51 * SAMPLE_RATE), round(1.49 * SAMPLE_RATE))
    assert np.array_equal(mixed.samples[inside], other.samples[inside])
    for outside in (slice(0, round(0.49 * SAMPLE_RATE)), slice(round(1.51 * SAMPLE_RATE), None)):
        assert np.array_equal(mixed.samples[outside], own.samples[outside])
    assert np.abs(np.diff(mixed.samples)).max() < 1.3 * np.abs(np.diff(other.samples)).max(), "it clicks"


def test_missing_samples_of_the_patch_are_absent() -> None:
    mixed = replace_segment(tone(2.0), tone(1.0), 0.5, 1.5)
    assert (
        mixed.present[:SAMPLE_RATE].all()
        and not mixed.present[round(1.01 * SAMPLE_RATE) : round(1.49 * SAMPLE_RATE)].any()
    )


def test_a_synthetic_voice_speaks_for_as_long_as_is_asked() -> None:
    sound, name = synthesise_speech(5 * SAMPLE_RATE, np.random.default_rng(3))
    assert len(sound.samples) == 5 * SAMPLE_RATE and sound.present.all() and name.startswith("en-us+")
    per_second = np.square(sound.samples.reshape(5, -1)).mean(1)
    assert (per_second > 1e-5).all()
    again, same = synthesise_speech(5 * SAMPLE_RATE, np.random.default_rng(3))
    other, _ = synthesise_speech(5 * SAMPLE_RATE, np.random.default_rng(4))
    loudness = [np.sqrt(np.square(one.samples).reshape(250, -1).mean(1)) for one in (sound, again, other)]
    assert same == name and np.corrcoef(loudness[0], loudness[1])[0, 1] > 0.9
    assert np.corrcoef(loudness[0], loudness[2])[0, 1] < 0.6


def test_samples_and_presence_are_of_one_length() -> None:
    with pytest.raises(ValueError, match="differ"):
        SpeechClip(np.zeros(3, np.float32), np.zeros(4, bool))
