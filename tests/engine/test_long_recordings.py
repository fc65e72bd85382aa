"""A long recording is read in parts of one time line, and its analyses are joined."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine import long_recordings
from engine.errors import Code
from engine.features.extractor import FeatureExtractor
from engine.features.records import ClipFeatures
from engine.long_recordings import join_analyses, plan_parts, read_parts
from engine.settings import MediaLimits
from engine.types import WHOLE, Analysis, ClockSeam, MediaReport, MediaSelection, Reason, Status
from tests.clips import Film, write_clip
from tests.fakes import FakeNets, FakeVoice, make_analysis, make_report
from tests.raising import raises

LIMITS = MediaLimits(max_duration_s=4 * 3600.0)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    film = Film(duration_s=10.0, size_px=(64, 48), picture_options=(("g", "25"),))
    return write_clip(tmp_path_factory.mktemp("long") / "ten.mp4", film)


def test_the_usual_limits_make_one_part_without_reading(tmp_path: Path) -> None:
    selection = MediaSelection(3.0, 5.0)
    assert plan_parts(tmp_path / "missing.mp4", MediaLimits(), selection) == (selection,)


def test_a_short_recording_is_one_part_also_where_long_ones_are_allowed(path: Path) -> None:
    assert plan_parts(path, LIMITS, MediaSelection()) == (MediaSelection(),)


@pytest.mark.parametrize(
    ("selection", "bounds"),
    [
        (MediaSelection(), [(0.0, 3.32), (3.32, 6.68), (6.68, None)]),
        (MediaSelection(1.0, 9.5, 2, "FL"), [(1.0, 3.84), (3.84, 6.68), (6.68, 9.5)]),
        (MediaSelection(6.0), [(6.0, None)]),
    ],
)
def test_parts_are_equal_and_cover_what_is_selected(
    path: Path, monkeypatch: pytest.MonkeyPatch, selection: MediaSelection, bounds: list[tuple[float, float | None]]
) -> None:
    monkeypatch.setattr(long_recordings, "PART_S", 4.0)
    parts = plan_parts(path, LIMITS, selection)
    assert [(part.from_s, part.to_s) for part in parts] == bounds
    assert {(part.audio_track, part.channel) for part in parts} == {(selection.audio_track, selection.channel)}


def test_more_than_allowed_is_refused_before_the_first_part(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_recordings, "PART_S", 4.0)
    with raises(Code.TOO_LONG, match="lasts 10 seconds; at most 9"):
        plan_parts(path, MediaLimits(max_duration_s=9.0), MediaSelection())


def read(path: Path, only_first: bool = False) -> list[ClipFeatures]:
    extractor = FeatureExtractor(FakeNets(), FakeVoice(), "drawn", limits=LIMITS)  # type: ignore[arg-type]
    steps: list[tuple[str, int, int]] = []
    parts = list(read_parts(extractor, path, WHOLE, lambda *step: steps.append(step), only_first=only_first))
    assert [step for step in steps if step[0] == "part"] == [("part", i, 3) for i in range(1 if only_first else 3)]
    return parts


def test_parts_follow_each_other_without_a_gap(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_recordings, "PART_S", 4.0)
    parts = read(path)
    assert [(part.media.from_s, part.media.to_s) for part in parts] == [(0.0, 3.32), (3.32, 6.68), (6.68, 10.0)]
    assert sum(part.n_frames for part in parts) == 250
    loudness = np.concatenate([part.audio.rows.mean(1) for part in parts])
    assert int(loudness.argmax()) in range(25, 28)  # the beep


def test_paper_mode_reads_the_first_part_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_recordings, "PART_S", 4.0)
    assert len(read(path, only_first=True)) == 1


def make_part(from_s: float, *scores: float | None, **changes: object) -> Analysis:
    analysis = make_analysis(
        *(make_report(score, 0, Reason.SILENT) if score is None else make_report(score) for score in scores)
    )
    seams = (ClockSeam(12.0, 30.0, 1.0),)
    return replace(analysis, media=MediaReport(from_s=from_s, to_s=from_s + 10, seams=seams), **changes)  # type: ignore[arg-type]


def test_one_part_is_its_analysis() -> None:
    part = make_part(0.0, 0.4)
    assert join_analyses([part]) is part


def test_joined_analyses_number_their_tracks_over_all_parts() -> None:
    first, second = make_part(0.0, 0.4, 0.5), make_part(10.0, 0.6, 0.7, duration_s=7.5)
    tracks = (second.tracks[0], replace(second.tracks[1], same_as=0))
    joined = join_analyses([first, replace(second, tracks=tracks)])
    assert [track.id for track in joined.tracks] == [0, 1, 2, 3]
    assert [track.same_as for track in joined.tracks] == [None, None, None, 2]
    assert [track.consistency.score for track in joined.tracks] == [0.4, 0.5, 0.6, 0.7]
    assert joined.duration_s == first.duration_s + 7.5
    assert (joined.media.from_s, joined.media.to_s, len(joined.media.seams)) == (0.0, 20.0, 1)
    assert joined.timings_s == {name: 2 * time for name, time in first.timings_s.items()}


def test_the_status_is_that_of_the_best_part() -> None:
    refused = replace(make_part(0.0, None), status=Status.NOT_EVALUATED, reasons=(Reason.SILENT,))
    limited = replace(make_part(10.0, 0.5), status=Status.LIMITED, reasons=(Reason.LOW_RES,))
    joined = join_analyses([refused, limited])
    assert (joined.status, joined.reasons) == (Status.LIMITED, (Reason.LOW_RES,))
