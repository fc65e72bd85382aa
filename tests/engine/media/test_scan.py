"""Records come back as they were written; what no honest decoder would write is not taken."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from engine.media.scan import (
    AudioChunk,
    FrameGeometry,
    FramePlan,
    Scan,
    StreamEnd,
    TrackScan,
    VideoStart,
    find_reasons,
    read_audio_chunk,
    read_end,
    read_plan,
    read_scan,
    read_selection,
)
from engine.settings import MediaLimits
from engine.types import AudioTrack, ClockSeam, MediaSelection, Reason

LIMITS = MediaLimits()
SHAPE = FrameGeometry((160, 120), (0, 1, -1, 0))
TRACK = TrackScan(AudioTrack(2, "aac", ("FL", "FR"), "deu", "Ton", True, 7), True, (0.0, 5.5), False, "", ("FL", "FR"))
SCAN = Scan(
    np.array([0, 40, 80], np.int64),
    0.001,
    0.04,
    SHAPE,
    1,
    False,
    zero=40,
    start_s=0.02,
    start=VideoStart(1.5, 3),
    shifts=((0, 0), (50, 7200)),
    seams=(ClockSeam(5.0, 6.5, 1.5),),
    tracks=(TRACK, TrackScan(AudioTrack(1, "ac3", ()), False)),
    keys=np.array([[0, 0], [2, 80]], np.int64),
)


def test_a_turned_shape_swaps_its_sides() -> None:
    assert SHAPE.size_px == (120, 160)


def test_a_plan_comes_back() -> None:
    plan = FramePlan(
        "mov",
        1,
        SHAPE,
        7,
        np.array([0.0, 1 / 3]),
        0.02,
        9,
        24000 / 1001,
        1.2,
        VideoStart(3.0, 2),
        ((0, 0), (5, -40)),
        first=3,
        nearer=(VideoStart(2.0, 0), VideoStart(None, 12)),
    )
    back = read_plan(*plan.write())
    assert np.array_equal(back.times_s, plan.times_s)
    assert all(getattr(back, name) == getattr(plan, name) for name in FramePlan.__slots__ if name != "times_s")


def test_a_scan_comes_back() -> None:
    back = read_scan(*SCAN.write(), LIMITS)
    assert np.array_equal(back.times, SCAN.times) and back.shape == SHAPE and back.unit_s == 0.001
    assert np.array_equal(back.keys, SCAN.keys)
    rest = [name for name in Scan.__slots__ if name not in ("times", "keys")]
    assert [getattr(back, name) for name in rest] == [getattr(SCAN, name) for name in rest]


def test_a_selection_comes_back() -> None:
    selection = MediaSelection(1.0, 2.5, 2, "FR")
    assert read_selection({"selection": asdict(selection)}) == selection


@pytest.mark.parametrize("starts_s", [None, -0.02, 3.5])
def test_sound_comes_back(starts_s: float | None) -> None:
    piece = AudioChunk(np.array([0.5, -0.5], np.float32), 44_100, starts_s)
    back = read_audio_chunk(*piece.write(), LIMITS)
    assert back.samples.tolist() == [0.5, -0.5] and (back.rate_hz, back.starts_s) == (44_100, starts_s)


@pytest.mark.parametrize(
    "change",
    [
        {"unit_s": float("nan")},
        {"unit_s": 0.0},
        {"unit_s": "1"},
        {"start_s": float("inf")},
        {"zero": None},
        {"start": {"seek_s": float("nan"), "n_skipped": 0}},
        {"shifts": [[1]]},
        {"seams": [{"at_s": float("nan"), "before_s": 0.0, "after_s": 0.0}]},
        {"tracks": [{**asdict(TRACK), "shifts_s": [float("inf")]}]},
        {"tracks": [{**asdict(TRACK), "track": None}]},
        {"shape": {"scaled_px": [8192, 8192], "turn": [1, 0, 0, 1]}},
        {"shape": {"scaled_px": [-1, -1], "turn": [1, 0, 0, 1]}},
        {"shape": {"scaled_px": [160, 120], "turn": [1, 1, 1, 1]}},
        {"shape": {"scaled_px": [160], "turn": [1, 0, 0, 1]}},
        {"shape": None},
    ],
)
def test_a_scan_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    note, data = SCAN.write()
    with pytest.raises((ValueError, TypeError)):
        read_scan({**note, **change}, data, LIMITS)


def test_a_text_from_a_file_is_cut() -> None:
    note, data = SCAN.write()
    note["tracks"][0]["track"]["title"] = "x" * 10_000
    title = read_scan(note, data, LIMITS).tracks[0].track.title
    assert title is not None and len(title) == 80


@pytest.mark.parametrize("times", [[], [0, 0], [40, 0]])
def test_times_that_do_not_rise_are_refused(times: list[int]) -> None:
    note, data = replace(SCAN, times=np.array(times, np.int64)).write()
    with pytest.raises(ValueError, match="times"):
        read_scan(note, data, LIMITS)


@pytest.mark.parametrize("n_keys", [-1, 4, 10**9])
def test_a_wrong_number_of_key_frames_is_refused(n_keys: int) -> None:
    note, data = SCAN.write()
    with pytest.raises(ValueError, match="key frames"):
        read_scan({**note, "n_keys": n_keys}, data, LIMITS)


@pytest.mark.parametrize("packets", [[2, 0], [1, 1], [-1, 2]])
def test_key_frames_out_of_order_are_refused(packets: list[int]) -> None:
    keys = np.column_stack([packets, [0, 80]]).astype(np.int64)
    with pytest.raises(ValueError, match="not in order"):
        read_scan(*replace(SCAN, keys=keys).write(), LIMITS)


def test_the_counts_of_a_stream_come_back() -> None:
    end = StreamEnd(100, 7, 130, 2, True)
    assert read_end(asdict(end)) == end
    with pytest.raises(KeyError):
        read_end({})


def test_reasons_are_of_the_sum_of_all_ranges() -> None:
    fine, bad = StreamEnd(500, 0, 500, 0, False), StreamEnd(100, 90, 100, 5, False)
    assert find_reasons([bad]) == (Reason.FPS_VFR, Reason.TRUNCATED)
    assert find_reasons([fine, bad]) == ()
    assert find_reasons([fine, replace(fine, is_cut_off=True)]) == (Reason.TRUNCATED,)
    assert find_reasons([fine, replace(fine, n_copied=201)]) == (Reason.FPS_VFR,)


def test_more_times_than_allowed_are_refused() -> None:
    with pytest.raises(ValueError, match="3 times"):
        read_scan(*SCAN.write(), MediaLimits(max_source_frames=2))


@pytest.mark.parametrize("rate_hz", [0, -1, 191_999, 400_000])
def test_sound_at_a_rate_that_would_cost_too_much_is_refused(rate_hz: int) -> None:
    note, data = AudioChunk(np.zeros(2, np.float32), rate_hz, 0.0).write()
    with pytest.raises(ValueError, match="audio at"):
        read_audio_chunk(note, data, LIMITS)


def test_half_a_number_is_refused() -> None:
    note, data = SCAN.write()
    with pytest.raises(ValueError, match="buffer size"):
        read_scan(note, data[:-1], LIMITS)
