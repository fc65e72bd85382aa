"""Perturbations of video and audio: each has its named effect, grows with the level and keeps timing."""

from collections.abc import Iterator

import numpy as np
import pytest

from engine.evaluation.perturbations import (
    LEVELS,
    OF_PICTURE,
    OF_SOUND,
    Perturbation,
    compress_frames,
    cut_clip,
    perturb,
    perturb_picture,
    perturb_sound,
)
from engine.types import Clip, Frame
from tests.fakes import make_clip, make_mouth, make_voice

ONE_PICTURE = [kind for kind in OF_PICTURE if kind != Perturbation.COMPRESSION]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (31, 41, 3), np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:241, :321]


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    time_s = np.arange(2 * 16_000) / 16_000
    tone = np.sin(2 * np.pi * 200 * time_s) * (np.sin(2 * np.pi * 3 * time_s) > 0)
    return (0.2 * tone + 0.01 * np.random.default_rng(1).normal(size=len(tone))).astype(np.float32)


def measure_error(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float64) - other).mean())


@pytest.mark.parametrize("kind", ONE_PICTURE)
def test_a_picture_gets_worse_at_each_level_and_stays_of_its_size(kind: Perturbation, image: np.ndarray) -> None:
    kept = image.copy()
    changed = [perturb_picture(image, kind, strength, np.random.default_rng(0)) for strength in LEVELS[kind]]
    assert all(one.shape == image.shape and one.dtype == np.uint8 for one in changed)
    errors = [measure_error(one, image) for one in changed]
    assert errors[0] > 0.05 and errors == sorted(errors)
    assert np.array_equal(image, kept)


def test_without_saturation_a_picture_is_grey(image: np.ndarray) -> None:
    grey = perturb_picture(image, Perturbation.SATURATION, 0.0, np.random.default_rng(0))
    assert np.ptp(grey, axis=2).max() <= 1


def test_the_noise_is_as_strong_as_published() -> None:
    flat = np.full((200, 200, 3), 128, np.uint8)
    noisy = perturb_picture(flat, Perturbation.PICTURE_NOISE, 0.001, np.random.default_rng(0))
    light = noisy.astype(np.float64) @ [0.299, 0.587, 0.114]
    assert light.std() == pytest.approx(255 * 255 / 219 * 0.001**0.5, rel=0.05)


def test_blocks_are_counted_for_the_size_of_the_picture() -> None:
    dark = np.zeros((720, 1280, 3), np.uint8)
    few = perturb_picture(dark, Perturbation.BLOCKS, 16, np.random.default_rng(0))
    assert 0.9 * 32 * 64 <= (few[..., 0] == 128).sum() <= 32 * 64  # some lie over each other


def count_frames(images: list[np.ndarray]) -> Iterator[Frame]:
    yield from (Frame(index, one, True) for index, one in enumerate(images))


def test_compression_keeps_every_picture_and_loses_more_at_a_higher_crf(image: np.ndarray) -> None:
    images = [np.roll(image, 4 * shift, axis=1) for shift in range(12)]
    errors = []
    for crf in (30, 40):
        coded = list(compress_frames(count_frames(images), crf))
        assert [frame.index for frame in coded] == list(range(12))
        assert {frame.image.shape for frame in coded} == {image.shape}
        errors.append(np.mean([measure_error(frame.image, one) for frame, one in zip(coded, images, strict=True)]))
        nearest = [int(np.argmin([measure_error(frame.image, one) for one in images])) for frame in coded]
        assert nearest == list(range(12))  # none comes earlier or later
    assert 0 < errors[0] < errors[1]
    assert list(compress_frames(count_frames([]), 30)) == []


@pytest.mark.parametrize("kind", OF_SOUND)
def test_sound_keeps_its_length_and_its_time(kind: Perturbation, voice: np.ndarray) -> None:
    def loudness(sound: np.ndarray) -> np.ndarray:
        return np.square(sound.reshape(-1, 160).astype(np.float64)).mean(1)

    for strength in (LEVELS[kind][0], LEVELS[kind][2]):
        changed = perturb_sound(voice, kind, strength, seed=3)
        assert changed.shape == voice.shape and changed.dtype == np.float32
        assert not np.array_equal(changed, voice)
        own, other = loudness(voice), loudness(changed)
        likeness = [np.corrcoef(own[20:-20], other[20 + lag : len(other) - 20 + lag])[0, 1] for lag in range(-8, 9)]
        assert abs(int(np.argmax(likeness)) - 8) <= (4 if kind == Perturbation.REVERBERATION else 1)  # of 10 ms


def test_the_noise_in_the_sound_is_as_loud_as_its_level_says(voice: np.ndarray) -> None:
    noise = perturb_sound(voice, Perturbation.SOUND_NOISE, 10) - voice
    assert 10 * np.log10(np.square(voice).mean() / np.square(noise).mean()) == pytest.approx(10, abs=0.2)


def test_the_pitch_rises_by_semitones(voice: np.ndarray) -> None:
    octave = np.abs(np.fft.rfft(perturb_sound(voice, Perturbation.PITCH, 12)))
    assert octave.argmax() / 2 == pytest.approx(400, abs=5)  # bins of half a hertz


def test_the_band_ends_where_it_should() -> None:
    white = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(perturb_sound(white, Perturbation.BAND_LIMIT, 1500))))
    assert power[2 * 2500 :].sum() < 1e-3 * power.sum()


def test_silence_stays_silence() -> None:
    silent = np.zeros(6400, np.float32)
    assert all(not perturb_sound(silent, kind, LEVELS[kind][0]).any() for kind in OF_SOUND)


def test_what_is_for_pictures_is_not_done_to_sound(image: np.ndarray, voice: np.ndarray) -> None:
    with pytest.raises(ValueError, match="blur"):
        perturb_sound(voice, Perturbation.BLUR, 7)
    with pytest.raises(ValueError, match="MP3"):
        perturb_picture(image, Perturbation.MP3, 64, np.random.default_rng(0))


@pytest.fixture
def clip() -> Clip:
    mouth = make_mouth(30, 1)
    return make_clip([mouth], make_voice(mouth))


def test_a_clip_is_perturbed_alike_every_time_it_is_read(clip: Clip) -> None:
    worse = perturb(clip, Perturbation.PICTURE_NOISE, 3)
    first, again = ([frame.image for frame in worse.read_frames()] for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert not np.array_equal(first[0], next(iter(clip.read_frames())).image)
    assert worse.audio is clip.audio
    assert perturb(clip, Perturbation.MP3, 3).read_frames is clip.read_frames


def test_a_clip_is_cut_to_its_first_seconds(clip: Clip) -> None:
    short = cut_clip(clip, 0.8)
    assert (short.n_frames, short.duration_s, len(short.audio)) == (20, 0.8, 20 * 640)
    assert [frame.index for frame in short.read_frames()] == list(range(20))
    assert cut_clip(clip, 9).n_frames == 30
