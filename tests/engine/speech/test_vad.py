"""Voice activity detection: speech is found, other audio is not."""

import csv
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from engine.media.audio import torchaudio
from engine.speech.vad import VoiceDetector, VoiceOptions, level_dbfs
from engine.synthesis.tts import Voice, speak
from engine.types import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"
SENTENCE = "The old harbour was quiet, and nobody spoke until the boats came home."


@pytest.fixture(scope="module")
def detector() -> VoiceDetector:
    return VoiceDetector.load()


def spoken(voice: Voice | None = None) -> np.ndarray:
    """A sentence, 16 kHz, whole frames: (N,) float32."""
    said = speak(SENTENCE, voice)
    audio = torchaudio.functional.resample(torch.from_numpy(said.audio.copy()), said.rate_hz, SAMPLE_RATE).numpy()
    return audio[: len(audio) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]


def seconds_of_zeros(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


@pytest.mark.parametrize("name", ["en-us+f3", "en-us+m3"])
def test_speech_is_found_between_pauses(detector: VoiceDetector, name: str) -> None:
    sentence = spoken(Voice(name))
    audio = np.concatenate([seconds_of_zeros(2), sentence, seconds_of_zeros(2)])
    heard = detector.find_speech(audio)
    assert heard.shape == (len(audio) // SAMPLES_PER_FRAME,)
    assert heard.dtype == bool
    assert heard[2 * FPS : -2 * FPS].mean() > 0.8
    assert not heard[: 2 * FPS - 5].any()
    assert not heard[-2 * FPS + 10 :].any()


def test_quiet_speech_is_speech(detector: VoiceDetector) -> None:
    sentence = spoken()
    sentence *= 10 ** ((-40 - level_dbfs(sentence)) / 20)
    assert detector.find_speech(sentence).mean() > 0.7


@pytest.mark.parametrize("sound", ["zeros", "hiss", "tone", "hum"])
def test_other_sound_is_not_speech(detector: VoiceDetector, sound: str) -> None:
    times = np.arange(6 * SAMPLE_RATE) / SAMPLE_RATE
    audio = {
        "zeros": np.zeros_like(times),
        "hiss": np.random.default_rng(0).normal(0, 0.05, len(times)),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * times),
        "hum": sum(0.1 / k * np.sin(2 * np.pi * 50 * k * times) for k in range(1, 6)),
    }[sound]
    assert not detector.find_speech(audio.astype(np.float32)).any()


def test_one_call_leaves_nothing_to_the_next(detector: VoiceDetector) -> None:
    sentence = spoken()
    first = detector.find_speech(sentence)
    assert not detector.find_speech(seconds_of_zeros(2)).any()
    assert np.array_equal(detector.find_speech(sentence), first)


def test_read_only_sound_is_left_as_it_is(detector: VoiceDetector) -> None:
    audio = spoken()
    audio.flags.writeable = False
    copy = audio.copy()
    detector.find_speech(audio)
    assert np.array_equal(audio, copy)


@pytest.mark.parametrize("n_samples", [0, 1, SAMPLES_PER_FRAME - 1])
def test_less_than_a_frame_has_no_frames(detector: VoiceDetector, n_samples: int) -> None:
    assert detector.find_speech(np.zeros(n_samples, np.float32)).shape == (0,)


def test_a_frame_is_speech_from_half_of_it_on() -> None:
    stretches = [{"start": 320, "end": 1280 + 319}, {"start": 2560, "end": 2560 + 320}]
    detector = VoiceDetector(torch.nn.Identity(), lambda *_arguments, **_options: stretches, VoiceOptions())
    heard = detector.find_speech(np.zeros(5 * SAMPLES_PER_FRAME + 100, np.float32))
    assert heard.tolist() == [True, True, False, False, True]


def test_options_reach_the_network() -> None:
    strict = VoiceDetector.load(options=VoiceOptions(min_speech_ms=60_000))
    assert not strict.find_speech(spoken()).any()


def test_loading_leaves_the_threads_of_torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "silero_vad"]:
        monkeypatch.delitem(sys.modules, name)  # the package changes them when it is first imported
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        VoiceDetector.load()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("audio", "level"),
    [
        (np.ones(100), 0.0),
        (np.sin(2 * np.pi * np.arange(16_000) / 16), -3.0103),
        (np.full(100, 0.001), -60.0),
        (np.zeros(100), -np.inf),
        (np.zeros(0), -np.inf),
    ],
)
def test_level_is_that_of_the_root_mean_square(audio: np.ndarray, level: float) -> None:
    assert level_dbfs(audio.astype(np.float32)) == pytest.approx(level, abs=1e-3)


def read_sound(path: Path) -> np.ndarray:
    """The sound of a file as it is decoded, 16 kHz mono, whatever its place on the picture's clock."""
    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    with av.open(str(path)) as container:
        chunks = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([chunk.to_ndarray()[0] for chunk in chunks])


@pytest.mark.skipif(not DATA.is_dir(), reason="the clips are not available")
def test_recorded_speech_is_detected(detector: VoiceDetector) -> None:
    by_source: dict[str, Path] = {}
    with (DATA / "manifest.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            is_heard = row["label"] == "real" and row["has_audio"] == "1" and row["audio_in_sync"] == "yes"
            if is_heard and 3 <= float(row["seconds"]) <= 8:
                by_source.setdefault(row["source"], DATA / row["path"])
    sounds = [read_sound(path) for path in list(by_source.values())[:12]]
    shares = [float(detector.find_speech(sound).mean()) for sound in sounds if level_dbfs(sound) > -60]
    assert len(shares) >= 6
    assert min(shares) > 0.3  # the shortest sentences fill half of their clip
    assert np.median(shares) > 0.5
