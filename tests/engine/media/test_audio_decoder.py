"""Segments and runs of the audio of one track: gaps, jitter and restarts of its timestamps."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine.errors import Code
from engine.media.audio import AudioSegment, SegmentBuilder
from engine.media.audio_decoder import AudioDecoder
from engine.settings import MediaLimits
from engine.types import SAMPLE_RATE
from tests.raising import raises


def write_sound(path: Path, rate: int, starts: list[int], count: int = 1000) -> Path:
    """Chunks of a tone that begin at these samples, 16-bit, on their own timestamps."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate, layout="mono")
        for start in starts:
            tone = 0.5 * np.sin(2 * np.pi * 440 * (start + np.arange(count)) / rate)
            frame = av.AudioFrame.from_ndarray((tone * 32767).astype(np.int16)[None], "s16", "mono")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_sound(path: Path, limits: MediaLimits | None = None) -> tuple[AudioSegment, ...]:
    limits = limits or MediaLimits(max_duration_s=60.0)
    builder = SegmentBuilder(limits.max_duration_s)
    reader = AudioDecoder(builder.add, limits)
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.audio[0]):
            reader.add(packet)
    reader.finish()
    return tuple(segment for _, segment in builder.finish())


@pytest.mark.parametrize("rate", [8000, 44_101, 48_000, 96_000, 192_000])
def test_any_rate_comes_out_at_its_pitch_and_length(tmp_path: Path, rate: int) -> None:
    (stretch,) = read_sound(write_sound(tmp_path / "tone.mkv", rate, list(range(0, rate, 1000))))
    assert len(stretch.samples) == pytest.approx(np.ceil(rate / 1000) * 1000 / rate * SAMPLE_RATE, abs=30)
    spectrum = np.abs(np.fft.rfft(stretch.samples[:SAMPLE_RATE]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=1)


def test_rounded_timestamps_are_no_gap(tmp_path: Path) -> None:
    starts = [1000 * number + (number % 2) * 300 for number in range(40)]  # off by 6 ms, every other one
    assert len(read_sound(write_sound(tmp_path / "tone.mkv", 48_000, starts))) == 1


def test_a_jump_of_the_timestamps_begins_a_new_stretch(tmp_path: Path) -> None:
    starts = [*range(0, 24_000, 1000), *range(48_000, 72_000, 1000)]
    first, second = read_sound(write_sound(tmp_path / "tone.mkv", 48_000, starts))
    assert (first.start_s, first.end_s) == pytest.approx((0.0, 0.5), abs=1e-3)
    assert (second.start_s, second.end_s) == pytest.approx((1.0, 1.5), abs=1e-3)


def test_more_sound_than_allowed_is_refused(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "tone.mkv", 16_000, list(range(0, 16_000 * 14, 1000)))
    assert read_sound(path, MediaLimits(max_duration_s=13.0))
    with raises(Code.TOO_LONG, match="12 seconds allowed"):
        read_sound(path, MediaLimits(max_duration_s=12.0))


@pytest.mark.parametrize("limits", [MediaLimits(max_channels=0), MediaLimits(max_sound_hz=15_999)])
def test_sound_that_changes_to_more_than_allowed_is_refused_while_decoding(tmp_path: Path, limits: MediaLimits) -> None:
    with raises(Code.SOUND_TOO_LARGE, match="1 channels at 16000 Hz"):
        read_sound(write_sound(tmp_path / "tone.mkv", 16_000, [0]), limits)


def test_jitter_that_returns_is_no_gap(tmp_path: Path) -> None:
    """The times swing by 30 ms around the sound, which itself has no gap."""
    swing = [round(1440 * np.sin(2 * np.pi * number / 12)) for number in range(96)]
    starts = [1000 * number + off for number, off in enumerate(swing)]
    found = read_sound(write_sound(tmp_path / "tone.mkv", 48_000, starts))
    assert len(found) == 1
    assert len(found[0].samples) == 32_000


def test_a_small_gap_that_stays_is_a_gap(tmp_path: Path) -> None:
    starts = [*range(0, 48_000, 1000), *range(52_800, 100_800, 1000)]  # 100 ms are missing
    first, second = read_sound(write_sound(tmp_path / "tone.mkv", 48_000, starts))
    assert (first.end_s, second.start_s) == pytest.approx((1.0, 1.1), abs=2e-3)
    assert second.end_s == pytest.approx(2.1, abs=2e-3)


def test_each_of_many_lost_frames_is_a_gap(tmp_path: Path) -> None:
    """Every third frame is missing, as in a damaged stream: what is there keeps its time."""
    starts = [1000 * number for number in range(60) if number % 3]
    found = read_sound(write_sound(tmp_path / "tone.mkv", 48_000, starts))
    assert sum(len(segment.samples) for segment in found) == pytest.approx(len(starts) * SAMPLE_RATE / 48, abs=40)
    assert [segment.start_s for segment in found] == pytest.approx([start / 48_000 for start in starts[::2]], abs=3e-3)


def test_a_restart_of_the_timestamps_begins_a_run(tmp_path: Path) -> None:
    limits = MediaLimits()
    builder = SegmentBuilder(60.0)
    decoder = AudioDecoder(builder.add, limits)
    path = write_sound(tmp_path / "tone.mkv", 48_000, [*range(0, 96_000, 1000)])
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.size]
        second = packets[48].pts
        for number, packet in enumerate(packets):
            if number >= 48:  # the second half begins at zero again
                packet.pts -= second
            decoder.add(packet, number)
        decoder.finish()
    segments = builder.finish()
    assert [run for run, _ in segments] == [0, 1]
    assert [segment.start_s for _, segment in segments] == pytest.approx([0.0, 0.0], abs=2e-3)
    bounds = [time for run in decoder.runs for time in (run.start_s, run.end_s)]
    assert bounds == pytest.approx([0.0, 1.0, 0.0, 1.0], abs=2e-3)
    assert [run.position for run in decoder.runs] == [0, 48]
