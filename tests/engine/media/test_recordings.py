"""A few hundred combinations of clocks, tracks and holes: every picture and its sound keep their time in the source."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from engine.media.audio import torchaudio
from engine.media.clip import open_clip
from engine.types import FPS, SAMPLE_RATE, AudioSignal, Clip, Reason
from tests.clips import Film, draw_picture, read_time
from tests.engine.media.test_transport import make_list, make_packet
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


def test_a_declared_duration_that_lies_is_not_believed(tmp_path: Path) -> None:
    """The header says an hour, as where subtitles outlast the pictures or a recorder wrote a guess."""
    path = make_case(SOURCE, Plan(".mkv"), tmp_path).path
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3  # the duration of the segment: a double, in milliseconds
    assert struct.unpack(">d", data[at : at + 8])[0] == pytest.approx(5000, abs=100)
    data[at : at + 8] = struct.pack(">d", 3_600_000.0)
    path.write_bytes(data)
    clip = open_clip(path)
    assert (clip.n_frames, clip.reasons) == (125, ())


def make_checksum(data: bytes) -> bytes:
    """CRC-32 of a table section (ISO/IEC 13818-1, annex A)."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register >> 31 else 0)) & 0xFFFFFFFF
    return register.to_bytes(4, "big")


def write_programme(path: Path, pid: int, number: int, with_pictures: bool) -> list[bytes]:
    """Write a transport stream of one programme; return its packets without the list of programmes."""
    options = {
        "mpegts_start_pid": str(pid),
        "mpegts_pmt_start_pid": str(4096 + number),
        "mpegts_service_id": str(number),
    }
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream("libx264", FPS) if with_pictures else None
        audio = container.add_stream("aac", RATE, layout="mono")
        if video is not None:
            video.width, video.height = FILM.size_px
            for index, picture in enumerate(SOURCE.pictures):
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FPS)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        sound = SOURCE.sound if with_pictures else np.roll(SOURCE.sound, RATE)
        for start in range(0, len(sound), 1024):
            piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None, start : start + 1024]), "fltp", "mono")
            piece.sample_rate, piece.pts, piece.time_base = RATE, start, Fraction(1, RATE)
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
    data = path.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    return [packet for packet in packets if packet[1] & 0x1F or packet[2] > 0x1F]


def test_the_sound_of_the_pictures_programme_is_taken(tmp_path: Path) -> None:
    """A radio programme comes first in a broadcast, with sound of its own."""
    radio = write_programme(tmp_path / "radio.ts", 0x300, 1, with_pictures=False)
    film = write_programme(tmp_path / "film.ts", 0x400, 2, with_pictures=True)
    section = make_list({1: 4097, 2: 4098})[:-4]
    table = make_packet(0, b"\0" + section + make_checksum(section))
    path = tmp_path / "broadcast.ts"
    path.write_bytes(table + b"".join(radio[:20]) + table + b"".join(film) + b"".join(radio[20:]))
    clip = open_clip(path)
    assert [track.program for track in clip.media.audio_tracks] == [1, 2]
    assert clip.media.audio_track == 2
    heard_s, alike = find_sound(clip.audio[SAMPLE_RATE : SAMPLE_RATE + round(WINDOW_S * SAMPLE_RATE)])
    assert (heard_s, alike > 0.9) == (pytest.approx(1.0, abs=0.05), True)
