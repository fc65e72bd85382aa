"""Phonemes are found at their times; unsupported input raises an error."""

import sys

import numpy as np
import pytest
import torch

from engine.errors import Code
from engine.media.audio import torchaudio
from engine.speech.phonemes import MAX_UTTERANCE_S, Sound, SoundRecogniser, split_utterances
from engine.synthesis.tts import Speech, Voice, speak
from engine.types import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from tests.raising import raises

SENTENCE = "My mother bought a big piece of pie, but Bob's baby brother may be happy with a map and a pump."
LIPS = set("mbp")


@pytest.fixture(scope="module")
def recogniser() -> SoundRecogniser:
    return SoundRecogniser.load()


@pytest.fixture(scope="module")
def said() -> Speech:
    return speak(SENTENCE, Voice(words_per_minute=130))


@pytest.fixture(scope="module")
def audio(said: Speech) -> np.ndarray:
    """(640 T,) float32 at 16 kHz."""
    sound = torchaudio.functional.resample(torch.from_numpy(said.audio.copy()), said.rate_hz, SAMPLE_RATE).numpy()
    return sound[: len(sound) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]


def everywhere(audio: np.ndarray) -> np.ndarray:
    return np.ones(len(audio) // SAMPLES_PER_FRAME, bool)


def count_right(sounds: tuple[Sound, ...], said: Speech, late_s: float = 0.0) -> tuple[int, int]:
    """Return how many recognised closures were spoken within 50 ms, and how many there are."""
    spoken = [(one.start_s + one.end_s) / 2 + late_s for one in said.phonemes if one.name in LIPS]
    heard = [(one.start_s + one.end_s) / 2 for one in sounds if one.name in {"M", "B", "P"}]
    return sum(any(abs(time - other) < 0.05 for other in spoken) for time in heard), len(heard)


def test_closure_phonemes_match_their_times(recogniser, said, audio) -> None:
    sounds = recogniser.recognise(audio, everywhere(audio))
    right, heard = count_right(sounds, said)
    assert heard >= 8
    assert right >= 0.6 * heard
    assert all(count_right(sounds, said, late_s)[0] <= right / 2 for late_s in (-0.5, -0.1, 0.1, 0.5))


def test_sounds_are_in_order_and_none_is_a_noise(recogniser, audio) -> None:
    sounds = recogniser.recognise(audio, everywhere(audio))
    starts = [one.start_s for one in sounds]
    assert starts == sorted(starts)
    assert all(one.end_s > one.start_s for one in sounds)
    assert not {one.name for one in sounds} & {"SIL", "+SPN+", "+NSN+"}


def test_recognition_is_independent_of_earlier_audio(recogniser, audio) -> None:
    first = recogniser.recognise(audio, everywhere(audio))
    noise = np.random.default_rng(0).normal(0, 0.3, 3 * SAMPLE_RATE).astype(np.float32)
    recogniser.recognise(noise, everywhere(noise))
    assert recogniser.recognise(audio, everywhere(audio)) == first


def test_times_are_those_of_the_clip(recogniser, audio) -> None:
    late = np.concatenate([np.zeros(4 * SAMPLE_RATE, np.float32), audio])
    voiced = everywhere(late)
    voiced[: 4 * FPS] = False
    own, moved = recogniser.recognise(audio, everywhere(audio)), recogniser.recognise(late, voiced)
    assert moved[0].start_s >= 4 - 0.2
    near = [
        any(one.name == other.name and abs(one.start_s + 4 - other.start_s) < 0.1 for other in moved) for one in own
    ]
    assert np.mean(near) > 0.7


@pytest.mark.parametrize("n_frames", [0, 1, 3, 75])
def test_silence_has_no_phonemes(recogniser, n_frames: int) -> None:
    quiet = np.zeros(n_frames * SAMPLES_PER_FRAME, np.float32)
    assert recogniser.recognise(quiet, np.zeros(n_frames, bool)) == ()
    assert recogniser.recognise(quiet, np.ones(n_frames, bool)) == ()


def test_no_phonemes_outside_speech(recogniser, audio) -> None:
    steps: list[tuple[str, int, int]] = []
    assert recogniser.recognise(audio, ~everywhere(audio), lambda *step: steps.append(step)) == ()
    assert steps == [("sounds", 0, 0)]


def test_other_languages_are_refused() -> None:
    with raises(Code.LANGUAGE_UNKNOWN, match=r"'de'.*English"):
        SoundRecogniser.load("de")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with raises(Code.RECOGNISER_MISSING) as result:
        SoundRecogniser.load()
    assert "pip install pocketsphinx" in result.value.hint


def test_utterances_cover_all_speech_once_and_are_short() -> None:
    chance = np.random.default_rng(1)
    voiced = np.repeat(chance.random(400) < 0.6, chance.integers(1, 60, 400))
    voiced[3000:5000] = True  # longer than any utterance may be
    pieces = split_utterances(voiced)
    covered = np.zeros(len(voiced), int)
    for start, end in pieces:
        covered[start:end] += 1
        assert 0 < end - start <= MAX_UTTERANCE_S * FPS
    assert covered.max() == 1
    assert covered[voiced].all()
    assert len(pieces) > 10


def test_short_pause_keeps_and_long_pause_splits_utterances() -> None:
    voiced = np.zeros(300, bool)
    voiced[50:100] = voiced[115:150] = voiced[200:250] = True
    assert split_utterances(voiced) == [(45, 155), (195, 255)]
