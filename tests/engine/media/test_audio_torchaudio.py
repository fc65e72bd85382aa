"""torchaudio works beside a CPU build of torch, and what cannot work says so."""

import sys

import numpy as np
import pytest
import torch

from engine.media.audio import _absent_extension, torchaudio
from engine.types import SAMPLE_RATE


def tone(frequency_hz: float, rate_hz: int = SAMPLE_RATE, seconds: float = 1.0) -> torch.Tensor:
    return torch.sin(2 * torch.pi * frequency_hz * torch.arange(int(rate_hz * seconds)) / rate_hz)


def test_a_mel_spectrogram_puts_a_tone_into_its_band() -> None:
    mel = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, 512, n_mels=40)
    low, high = (mel(tone(frequency)).mean(dim=-1).argmax().item() for frequency in (300.0, 3000.0))
    top_mel = 2595 * np.log10(1 + 8000 / 700)
    for band, frequency in ((low, 300.0), (high, 3000.0)):
        assert band == pytest.approx(41 * 2595 * np.log10(1 + frequency / 700) / top_mel - 1, abs=1)


def test_mfcc_tells_two_tones_apart_and_is_finite() -> None:
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
        _absent_extension().fail_if_no_align(forced_align)(object())


def test_forced_align_works_or_is_refused_clearly() -> None:
    arguments = torch.randn(1, 6, 4).log_softmax(-1), torch.tensor([[1, 2]], dtype=torch.int32)
    if sys.modules["torchaudio._extension"]._IS_ALIGN_AVAILABLE:
        assert torchaudio.functional.forced_align(*arguments)[0].shape == (1, 6)
    else:
        with pytest.raises(RuntimeError, match="compiled extension"):
            torchaudio.functional.forced_align(*arguments)
