"""Audio and mouth signals, and speaker turns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.consistency.gates import GateOptions
from engine.types import Model, TrackReport, Window
from tests.engine.evaluation.films import make_features
from tests.fakes import make_analysis, make_report
from tests.raising import raises
from tests.webapp.jobs.samples import make_traces
from webapp.analysis.signals import AROUND_S, FaceTrace, Gate, Traces, find_turns
from webapp.errors import WebCode


def test_signals_round_trip_unchanged(tmp_path: Path) -> None:
    traces = make_traces()
    traces.write(tmp_path / "t.safetensors")
    again = Traces.read(tmp_path / "t.safetensors")
    assert np.array_equal(again.bands, traces.bands) and again.bands.dtype == np.float16
    assert np.array_equal(again.voiced, traces.voiced) and len(again.faces) == 2
    assert np.array_equal(again.faces[1].opening, traces.faces[1].opening) and again.faces[1].start == 0


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x08\0\0\0\0\0\0\0{}      "])
def test_damaged_signals_are_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(content)
    with raises(WebCode.TRACES_UNREADABLE) as caught:
        Traces.read(path)
    assert "again" in caught.value.hint
    with raises(WebCode.TRACES_UNREADABLE):
        Traces.read(tmp_path / "nowhere")


def test_the_gate_covers_the_clip_without_gaps() -> None:
    voiced, present = np.ones(100, bool), np.ones(100, bool)
    voiced[40:50], present[90:] = False, False
    face = FaceTrace(25, np.zeros(50, np.float32), np.arange(50) >= 5)
    traces = Traces(np.zeros((400, 40), np.float16), voiced, present, (face,))
    assert traces.gate(0) == [
        (0.0, 1.2, Gate.NO_FACE),
        (1.2, 1.6, Gate.COMPARED),
        (1.6, 2.0, Gate.NO_SPEECH),
        (2.0, 3.0, Gate.COMPARED),
        (3.0, 3.6, Gate.NO_FACE),
        (3.6, 4.0, Gate.NO_SOUND),
    ]


def test_signals_of_a_part_keep_the_times_of_the_recording(tmp_path: Path) -> None:
    face = FaceTrace(25, np.zeros(50, np.float32), np.ones(50, bool))
    traces = Traces(np.zeros((400, 40), np.float16), np.ones(100, bool), np.ones(100, bool), (face,), 60.0)
    assert traces.gate(0) == [(60.0, 61.0, Gate.NO_FACE), (61.0, 63.0, Gate.COMPARED), (63.0, 64.0, Gate.NO_FACE)]
    traces.write(tmp_path / "traces.safetensors")
    assert Traces.read(tmp_path / "traces.safetensors").start_s == 60.0


def test_digital_silence_and_held_pictures_cannot_be_compared() -> None:
    features = make_features({"name": "a.mp4", "mouth": 1, "voice": 1, "late": 0, "seconds": 8}, "ab" * 32)
    at = np.arange(features.n_frames)
    audio = replace(features.audio, muted=at < 50)
    face = replace(features.tracks[0], frozen=at >= 150)
    traces = Traces.of(replace(features, audio=audio, tracks=(face,)))
    assert traces.gate(0) == [(0.0, 2.0, Gate.NO_SOUND), (2.0, 6.0, Gate.COMPARED), (6.0, 8.0, Gate.NO_FACE)]


def make_tracks(*scores: list[float]) -> tuple[TrackReport, ...]:
    """Make tracks with these scores, one two-second window per second."""
    analysis = make_analysis(*(make_report() for _ in scores))
    tracks = []
    for track, own in zip(analysis.tracks, scores, strict=True):
        windows = tuple(Window(float(at), at + 2.0, score, 0.0) for at, score in enumerate(own))
        report = replace(track.consistency, windows=windows)
        tracks.append(replace(track, start_s=0.0, end_s=len(own) + 1.0, consistency=report))
    return tuple(tracks)


def test_speaker_turns_follow_mouth_motion() -> None:
    first, second = [0.7] * 10 + [0.1] * 10, [0.1] * 10 + [0.7] * 10
    turns = find_turns(make_tracks(first, second), Model.COMPACT)
    assert turns is not None
    (one,), (other,) = turns
    assert one[0] == 0.0 and one[1] == pytest.approx(10.5, abs=AROUND_S)
    assert other[0] == pytest.approx(10.5, abs=AROUND_S) and other[0] >= one[1] and other[1] == pytest.approx(21.0)


def test_no_speaker_turn_where_none_or_two_faces_match() -> None:
    options = GateOptions()
    weak, close = options.clear_score - 0.05, options.clear_score + 0.2
    for scores in ([[weak] * 8, [0.0] * 8], [[close] * 8, [close - options.clear_margin / 2] * 8]):
        assert find_turns(make_tracks(*scores), Model.COMPACT) == [[], []]


def test_absent_face_does_not_compete_for_turns() -> None:
    turns = find_turns(make_tracks([0.6] * 10, [0.6] * 2), Model.COMPACT)
    assert turns is not None and turns[1] == []
    assert turns[0][-1][1] == pytest.approx(11.0) and turns[0][0][0] == pytest.approx(3.0, abs=0.3)
    assert np.isclose(sum(end - start for start, end in turns[0]), 8.0, atol=0.3)


def test_there_is_nothing_to_choose_of_one_face_or_without_bounds() -> None:
    assert find_turns(make_tracks([0.6] * 10), Model.COMPACT) is None
    assert find_turns(make_tracks([0.6] * 10, [0.1] * 10), Model.AVHUBERT_BASE) is None
