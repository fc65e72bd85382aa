"""Faces of public bug reports: turned, tiled, shown twice, covered; the drawn example is written as each of them."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.pipeline import Engine
from engine.types import Analysis, Reason, Status
from tests.engine.faces.test_occlusion import COVERS, LIPS
from tests.recordings import Plan, Source, make_case

pytestmark = pytest.mark.timeout(900)
FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "design" / "fixtures"
TILE_PX, SMALLEST_PX = 220, 200


def shrink(picture: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def analyse(engine: Engine, source: Source, pictures: np.ndarray, folder: Path) -> Analysis:
    return engine.analyse(make_case(replace(source, pictures=pictures), Plan(), folder).path)


def zones(analysis: Analysis) -> list[str | None]:
    return [track.consistency.zone for track in analysis.tracks]


def test_a_recording_upside_down_is_turned(engine: Engine, source: Source, tmp_path: Path) -> None:
    found = analyse(engine, source, source.pictures[:, ::-1, ::-1], tmp_path)
    assert zones(found) == ["supported"] and Reason.ROTATED in found.reasons
    assert (found.media.rotation_deg, found.status) == (180, Status.LIMITED)


@pytest.mark.parametrize("delay", [0, 4])
def test_one_person_mirrored_is_one_answer(engine: Engine, source: Source, tmp_path: Path, delay: int) -> None:
    mirrored = np.roll(source.pictures, delay, axis=0)[:, :, ::-1]
    found = analyse(engine, source, np.concatenate([source.pictures, mirrored], axis=2), tmp_path)
    shown = [track for track in found.tracks if track.end_s - track.start_s > 5]
    assert [track.consistency.zone for track in shown] == ["supported"] * 2
    assert {track.id: track.same_as for track in shown} == {0: None, 1: 0}
    assert not {Reason.MULTI_FACE, Reason.LISTENER} & {*found.reasons}


def test_the_smallest_of_six_tiles_speaks_and_comes_first(engine: Engine, source: Source, tmp_path: Path) -> None:
    still = shrink(source.pictures[0], TILE_PX)
    grid = np.tile(still, (2, 3, 1))
    margin = (TILE_PX - SMALLEST_PX) // 2
    pictures = np.repeat(grid[None], len(source.pictures), axis=0)
    tile = pictures[:, TILE_PX:, 2 * TILE_PX :]
    tile[:] = 128
    for shown, picture in zip(tile, source.pictures, strict=True):
        shown[margin : margin + SMALLEST_PX, margin : margin + SMALLEST_PX] = shrink(picture, SMALLEST_PX)
    found = analyse(engine, source, pictures, tmp_path)
    assert len(found.tracks) == 6 and found.media.faces_left_out == 0
    first, *others = found.tracks
    assert first.consistency.zone == "supported" and first.face_px == min(track.face_px for track in found.tracks)
    for track in others:
        assert track.consistency.zone != "against"
        assert {Reason.STILL_FACE, Reason.LISTENER} & {*track.consistency.reasons}


def test_ten_tiles_of_the_report(engine: Engine) -> None:
    path = FIXTURES / "R07_ten_tiles.mp4"
    if not path.is_file():
        pytest.skip("the files of the reports are not at hand")
    found = engine.analyse(path)
    assert len(found.tracks) == 10 and found.media.faces_left_out == 0
    first, *others = found.tracks
    assert first.consistency.zone == "supported" and first.face_px == min(track.face_px for track in found.tracks)
    assert all(track.consistency.zone != "against" and track.consistency.reasons for track in others)


def cover_frames(engine: Engine, pictures: np.ndarray, kind: str, first: int) -> np.ndarray:
    """Paint a cover that sways over the mouth of each picture from the first on."""
    nets, covered = engine.extractor.faces, pictures.copy()
    (detection,) = nets.find_faces(pictures[0])
    region = nets.place_landmarks(pictures[0], detection.region()).region()
    for number in range(first, len(pictures)):
        points = nets.place_landmarks(pictures[number], region).landmarks[:, :2]
        eyes = float(np.linalg.norm(points[263] - points[33]))
        sway = 0.03 * eyes * np.array([np.sin(number / 9), np.cos(number / 13)])
        COVERS[kind](covered[number], points[list(LIPS)].mean(0) + sway, eyes)
    return covered


@pytest.mark.parametrize("kind", COVERS)
def test_a_covered_mouth_is_refused(engine: Engine, source: Source, tmp_path: Path, kind: str) -> None:
    found = analyse(engine, source, cover_frames(engine, source.pictures, kind, 0), tmp_path)
    assert (found.status, zones(found)) == (Status.NOT_EVALUATED, [None])
    assert {Reason.OCCLUDED, Reason.FACE_LOST} & {*found.reasons}


def test_the_clear_part_of_a_covered_mouth_is_judged(engine: Engine, source: Source, tmp_path: Path) -> None:
    first = round(0.6 * len(source.pictures))
    found = analyse(engine, source, cover_frames(engine, source.pictures, "hand", first), tmp_path)
    assert (found.status, zones(found)) == (Status.LIMITED, ["supported"])
    assert Reason.OCCLUDED in found.reasons
    assert found.tracks[0].consistency.speech_s == pytest.approx(first / 25, abs=1.0)
