"""A few hundred combinations of clocks, tracks and holes: every picture and its sound keep their time in the source."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.media.audio import torchaudio
from engine.media.clip import open_clip
from engine.types import FPS, SAMPLE_RATE, AudioSignal, Clip, Reason
from tests.clips import Film, draw_picture, read_time
from tests.recordings import RATE, Case, Plan, Source, Span, draw_plan, make_case

FILM = Film(duration_s=5.0, size_px=(96, 72))
N_CASES, BATCH = 240, 20
WINDOW_S = 0.4  # of sound, found in the source by correlation


def make_source() -> Source:
    """Pictures that show their time, and sound that is nowhere like itself."""
    rng = np.random.default_rng(0)
    loudness = np.repeat(rng.uniform(0.2, 1, int(FILM.duration_s * 10)), RATE // 10)
    sound = 0.2 * loudness * rng.normal(size=len(loudness))
    smooth = np.convolve(sound, np.ones(8) / 8, mode="same")  # below 3 kHz, which every codec keeps
    pictures = np.stack([draw_picture(time, FILM) for time in FILM.picture_times_s])
    return Source(pictures, (3 * smooth).astype(np.float32))


SOURCE = make_source()
AT_16_KHZ = torchaudio.functional.resample(torch.from_numpy(SOURCE.sound), RATE, SAMPLE_RATE).numpy()


def find_sound(window: np.ndarray) -> tuple[float, float]:
    """Return the time of a window of sound in the source, and its correlation with the sound there."""
    size = 2 ** int(np.ceil(np.log2(len(AT_16_KHZ) + len(window))))
    products = np.fft.irfft(np.fft.rfft(AT_16_KHZ, size) * np.conj(np.fft.rfft(window, size)), size)
    products = products[: len(AT_16_KHZ) - len(window)]
    energy = np.convolve(AT_16_KHZ**2, np.ones(len(window)), "valid")[: len(products)]
    alike = np.abs(products) / np.sqrt(energy * np.sum(window**2) + 1e-9)
    return float(alike.argmax()) / SAMPLE_RATE, float(alike.max())


def read_own_track(clip: Clip, plan: Plan) -> AudioSignal:
    """Return the signal of the track with the source's sound, by the channel that the clip recommends."""
    number = plan.tracks.index("own") + 1
    signal = next(one for one in clip.signals if one.track == number)
    channels = clip.split.get(number, ())
    if len(channels) == 1 and signal.channel == "mix":
        assert clip.read_channel is not None
        return clip.read_channel(number, channels[0])
    return signal


def check_case(case: Case) -> None:
    """Check picture and sound in each stretch of the source."""
    clip = open_clip(case.path)
    frames = [frame.image for frame in clip.read_frames()]
    assert len(frames) == clip.n_frames
    signal = read_own_track(clip, case.plan)
    assert (Reason.CLOCK_RESET in clip.reasons) == bool(clip.media.seams)
    assert Reason.TRUNCATED not in clip.reasons
    slack_s = 0.045 + 0.06 * len(
        case.plan.steps_s
    )  # the last frame of sound of each part may go on behind its pictures
    for span in case.spans:
        for time_s in sample_times(span, case.plan):
            expected_s = span.source_s + time_s - span.case_s
            shown_s = read_time(frames[min(round(time_s * FPS), len(frames) - 1)], FILM)
            assert shown_s == pytest.approx(expected_s, abs=slack_s + 0.06), f"picture at {time_s}"
            if span.has_sound:
                window = signal.samples[round(time_s * SAMPLE_RATE) :][: round(WINDOW_S * SAMPLE_RATE)]
                heard_s, alike = find_sound(window)
                assert alike > 0.5, f"sound at {time_s}: {alike}"
                assert heard_s == pytest.approx(expected_s, abs=slack_s), f"sound at {time_s}"


def sample_times(span: Span, plan: Plan) -> Iterator[float]:
    """Yield moments that are far enough from the ends of the stretch and from the steps of the clock."""
    room_s = span.length_s - WINDOW_S - 0.3
    zero_s = max(plan.picture_from_s, plan.hidden_s)
    for share in (0.0, 0.35, 0.7, 1.0) if room_s > 0 else ():
        time_s = span.case_s + 0.15 + share * room_s
        if all(not -0.2 < cut_s - zero_s - time_s < WINDOW_S + 0.1 for cut_s in plan.cuts_s):
            yield time_s


@pytest.mark.parametrize("batch", range(N_CASES // BATCH))
def test_combinations_keep_time(tmp_path: Path, batch: int) -> None:
    for seed in range(BATCH * batch, BATCH * (batch + 1)):
        plan = draw_plan(seed, FILM.duration_s)
        try:
            check_case(make_case(SOURCE, plan, tmp_path))
        except AssertionError as cause:
            raise AssertionError(f"seed {seed}: {plan.describe()}: {cause}") from cause


def test_a_reader_that_mixes_parts_would_fail() -> None:
    """Control: the checks see sound that is a second late, and the wrong picture."""
    late = np.roll(AT_16_KHZ, SAMPLE_RATE)
    heard_s, alike = find_sound(late[2 * SAMPLE_RATE :][: round(WINDOW_S * SAMPLE_RATE)])
    assert (heard_s, alike > 0.9) == (pytest.approx(1.0, abs=0.01), True)
    assert read_time(SOURCE.pictures[50], FILM) == pytest.approx(2.0, abs=0.05)
