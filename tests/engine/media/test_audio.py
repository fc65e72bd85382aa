"""Downmixing, resampling in blocks, placement on the media clock, and torchaudio without its extension."""

import sys

import numpy as np
import pytest
import torch

from engine.media.audio import (
    AudioSegment,
    BlockResampler,
    _make_absent_extension,
    place_audio,
    torchaudio,
)
from engine.types import SAMPLE_RATE


def make_noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("seconds", [0.01, 3.0, 25.3])
def test_blocks_give_the_same_numbers_as_one_piece(rate: int, seconds: float) -> None:
    sound = make_noise(int(rate * seconds))
    resampler = BlockResampler(rate)
    parts = [block for chunk in np.array_split(sound, 17) for block in resampler.feed(chunk)]
    whole = torchaudio.functional.resample(torch.from_numpy(sound), rate, SAMPLE_RATE).numpy()
    joined = np.concatenate([*parts, resampler.finish()])
    assert len(parts) == (2 if seconds > 20 else 0)  # it did work in blocks
    assert np.abs(joined - whole).max() < 2e-5  # both are that far from float64; a seam would show as 1e-2


def test_finished_resampler_has_no_state() -> None:
    resampler, sound = BlockResampler(48_000), make_noise(4800)
    resampler.feed(make_noise(9600))
    resampler.finish()
    resampler.feed(sound)
    assert np.array_equal(resampler.finish(), BlockResampler(48_000)._resample(sound, 4800))


def test_sound_goes_where_its_time_says() -> None:
    audio, present = place_audio((AudioSegment(1.08, np.full(640, 0.5, np.float32)),), zero_s=1.0, n_frames=4)
    assert np.array_equal(np.flatnonzero(audio), np.arange(1280, 1920))
    assert present.tolist() == [False, False, True, False]


def test_sound_outside_the_pictures_is_left_out() -> None:
    sound = np.arange(3200, dtype=np.float32) / 3200
    audio, present = place_audio((AudioSegment(0.9, sound),), zero_s=1.0, n_frames=2)
    assert np.array_equal(audio, sound[1600:2880])
    assert present.all()


def test_half_a_frame_of_sound_is_not_a_frame() -> None:
    _, present = place_audio((AudioSegment(0.0, make_noise(960)),), zero_s=0.0, n_frames=2)
    assert present.tolist() == [True, False]


def test_broken_numbers_do_not_pass() -> None:
    audio, _ = place_audio((AudioSegment(0.0, np.array([np.nan, np.inf, -7.0], np.float32)),), 0.0, 1)
    assert audio[:3].tolist() == [0.0, 1.0, -1.0]


def tone(frequency_hz: float, rate_hz: int = SAMPLE_RATE, seconds: float = 1.0) -> torch.Tensor:
    return torch.sin(2 * torch.pi * frequency_hz * torch.arange(int(rate_hz * seconds)) / rate_hz)


def test_a_mel_spectrogram_puts_a_tone_into_its_band() -> None:
    mel = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, 512, n_mels=40)
    low, high = (mel(tone(frequency)).mean(dim=-1).argmax().item() for frequency in (300.0, 3000.0))
    top_mel = 2595 * np.log10(1 + 8000 / 700)
    for band, frequency in ((low, 300.0), (high, 3000.0)):
        assert band == pytest.approx(41 * 2595 * np.log10(1 + frequency / 700) / top_mel - 1, abs=1)


def test_mfcc_separates_two_tones_and_is_finite() -> None:
    mfcc = torchaudio.transforms.MFCC(SAMPLE_RATE, 13, melkwargs={"n_fft": 512, "hop_length": 160, "n_mels": 40})
    low, high = mfcc(tone(300.0)), mfcc(tone(3000.0))
    assert low.shape == (13, 101)
    assert torch.isfinite(low).all()
    assert (low - high).abs().mean() > 5


def test_resampling_keeps_a_tone_in_time_and_height() -> None:
    resampled = torchaudio.functional.resample(tone(1000.0, 44_100), 44_100, SAMPLE_RATE)
    assert resampled.shape == (SAMPLE_RATE,)
    inner = slice(100, -100)
    assert torch.allclose(resampled[inner], tone(1000.0)[inner], atol=5e-3)


def test_kaldi_filterbank_has_a_row_for_every_10_ms() -> None:
    bank = torchaudio.compliance.kaldi.fbank(tone(1000.0)[None], num_mel_bins=26, dither=0.0)
    assert bank.shape == (98, 26)
    assert torch.isfinite(bank).all()


def test_alignment_without_the_extension_names_the_remedy() -> None:
    def forced_align(emissions: object) -> None:
        raise AssertionError("must not be reached")

    with pytest.raises(RuntimeError, match=r"forced_align needs its compiled extension.*CUDA"):
        _make_absent_extension().fail_if_no_align(forced_align)(object())


def test_forced_align_works_or_is_refused_clearly() -> None:
    arguments = torch.randn(1, 6, 4).log_softmax(-1), torch.tensor([[1, 2]], dtype=torch.int32)
    if sys.modules["torchaudio._extension"]._IS_ALIGN_AVAILABLE:
        assert torchaudio.functional.forced_align(*arguments)[0].shape == (1, 6)
    else:
        with pytest.raises(RuntimeError, match="compiled extension"):
            torchaudio.functional.forced_align(*arguments)
