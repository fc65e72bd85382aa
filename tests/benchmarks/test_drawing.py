from pathlib import Path

import numpy as np
import pytest

from benchmarks.common import loop_file, write_portrait
from engine.faces.landmarker import FaceNets
from engine.media.clip import open_clip
from engine.weights import registry


@pytest.mark.parametrize("n_faces", [1, 2, 4])
def test_a_drawn_video_has_so_many_faces_that_are_found(tmp_path: Path, n_faces: int) -> None:
    write_portrait(tmp_path / "drawn.mp4", 0.2, n_faces=n_faces)
    frame = next(iter(open_clip(tmp_path / "drawn.mp4").read_frames()))
    found = FaceNets.load(registry.face_landmarker()).find_faces(frame.image)
    assert len(found) == n_faces
    assert len({tuple((one.box[:2] > np.array([640, 360])).tolist()) for one in found}) == n_faces or n_faces == 1


@pytest.mark.parametrize("height_px, wanted", [(360, (640, 360)), (480, (854, 480)), (1080, (1920, 1080))])
def test_a_drawn_video_has_the_size_that_is_asked_for(tmp_path: Path, height_px: int, wanted: tuple[int, int]) -> None:
    write_portrait(tmp_path / "drawn.mp4", 0.2, height_px)
    assert open_clip(tmp_path / "drawn.mp4").size_px == wanted


def test_a_long_video_repeats_a_short_one(tmp_path: Path) -> None:
    write_portrait(tmp_path / "short.mp4", 1.0, 360)
    loop_file(tmp_path / "short.mp4", tmp_path / "long.mp4", 3.0)
    clip = open_clip(tmp_path / "long.mp4")
    assert 3.0 <= clip.duration_s <= 4.5
    assert clip.reasons == ()
