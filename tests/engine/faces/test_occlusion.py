"""Covered mouths: the patch, smoothing over time, and the shipped network on covered and clear portraits."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from skimage import data

from engine.errors import WeightsDamaged
from engine.faces.landmarker import FaceNets, Mesh
from engine.faces.mouth_cover import MouthCover, load_mouth_cover
from engine.faces.occlusion import BATCH, COVER_EVERY, MARGIN, MIN_CLEAR, CoverTrace, cut_lower_face, mark_covered
from engine.faces.tracking import track_faces
from engine.types import Frame
from engine.weights import registry

LIPS = (61, 291, 0, 17)
Paint = Callable[[np.ndarray, np.ndarray, float], None]
"""Paint over an image, at the middle of the mouth, by the distance of the outer eye corners."""


@pytest.fixture(scope="module")
def nets() -> FaceNets:
    return FaceNets.load(registry.face_landmarker())


@pytest.fixture(scope="module")
def cover() -> MouthCover:
    return load_mouth_cover(registry.mouth_cover())


def draw_portrait(scale: float = 1.0, brightness: float = 1.0) -> np.ndarray:
    image = np.clip(data.astronaut()[:300, 60:400] * brightness, 0, 255).astype(np.uint8)
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def place(nets: FaceNets, image: np.ndarray) -> Mesh:
    (detection,) = nets.find_faces(image)
    mesh = nets.place_landmarks(image, detection.region())
    return nets.place_landmarks(image, mesh.region())


def paint_mask(image: np.ndarray, mouth: np.ndarray, eyes: float) -> None:
    x, y = mouth
    corners = [(-0.75, -0.4), (0, -0.5), (0.75, -0.4), (0.6, 0.5), (0, 0.75), (-0.6, 0.5)]
    points = np.array([(x + u * eyes, y + v * eyes) for u, v in corners], np.int32)
    cv2.fillPoly(image, [points], (140, 180, 205), cv2.LINE_AA)
    for k in range(3):
        height = int(y + (k * 0.2 - 0.2) * eyes)
        cv2.line(image, (int(x - 0.6 * eyes), height), (int(x + 0.6 * eyes), height), (120, 160, 190), 1, cv2.LINE_AA)


def paint_hand(image: np.ndarray, mouth: np.ndarray, eyes: float) -> None:
    skin = np.array(image[int(mouth[1] - 0.6 * eyes), int(mouth[0] - 0.35 * eyes)], float)
    for k in range(4):
        y = mouth[1] + (k * 0.24 - 0.36) * eyes
        left, right = (
            (int(mouth[0] - 1.2 * eyes), int(y)),
            (int(mouth[0] + (0.6 - 0.05 * k) * eyes), int(y + 0.1 * eyes)),
        )
        for width, shade in ((0.26, 0.75), (0.2, 0.95)):
            cv2.line(image, left, right, (skin * shade).tolist(), max(1, round(width * eyes)), cv2.LINE_AA)


def paint_microphone(image: np.ndarray, mouth: np.ndarray, eyes: float) -> None:
    x, y = (int(value) for value in (mouth[0], mouth[1] + 0.05 * eyes))
    cv2.line(image, (x, y), (int(x + 0.3 * eyes), int(y + 2 * eyes)), (30, 30, 32), round(0.2 * eyes), cv2.LINE_AA)
    for radius, grey in ((0.36, 35), (0.3, 50), (0.15, 70)):
        cv2.circle(image, (x, y), round(radius * eyes), (grey, grey, grey + 3), -1, cv2.LINE_AA)


def paint_scarf(image: np.ndarray, mouth: np.ndarray, eyes: float) -> None:
    top = int(mouth[1] - 0.3 * eyes)
    left, right = max(0, int(mouth[0] - 1.5 * eyes)), int(mouth[0] + 1.5 * eyes)
    columns = np.arange(left, min(right, image.shape[1]))
    stripes = np.where((columns // max(2, int(0.12 * eyes)) % 2 == 0)[None, :, None], (150, 40, 40), (210, 190, 160))
    image[top : int(mouth[1] + 1.5 * eyes), columns] = stripes


COVERS: dict[str, Paint] = {
    "mask": paint_mask,
    "hand": paint_hand,
    "microphone": paint_microphone,
    "scarf": paint_scarf,
}


def cover_portrait(nets: FaceNets, paint: Paint, image: np.ndarray) -> np.ndarray:
    points = place(nets, image).landmarks[:, :2]
    painted = image.copy()
    paint(painted, points[list(LIPS)].mean(0), float(np.linalg.norm(points[263] - points[33])))
    return painted


@pytest.mark.parametrize("scale", [0.7, 1.0, 3.0])
@pytest.mark.parametrize("brightness", [0.35, 1.0])
def test_a_clear_mouth_is_not_covered(nets: FaceNets, cover: MouthCover, scale: float, brightness: float) -> None:
    image = draw_portrait(scale, brightness)
    assert cover.detect(cut_lower_face(image, place(nets, image).landmarks)[None])[0] < 0


@pytest.mark.parametrize("scale", [0.7, 1.0, 3.0])
@pytest.mark.parametrize("kind", COVERS)
def test_a_covered_mouth_is_found(nets: FaceNets, cover: MouthCover, kind: str, scale: float) -> None:
    clear = draw_portrait(scale)
    covered = cover_portrait(nets, COVERS[kind], clear)
    mesh = nets.place_landmarks(covered, place(nets, clear).region())
    assert cover.detect(cut_lower_face(covered, mesh.landmarks)[None])[0] > 0


@pytest.mark.parametrize("kind", COVERS)
def test_a_track_marks_the_frames_in_which_the_mouth_is_covered(nets: FaceNets, cover: MouthCover, kind: str) -> None:
    clear = draw_portrait()
    covered = cover_portrait(nets, COVERS[kind], clear)
    images = [covered if 60 <= i < 120 else clear for i in range(180)]
    frames = [Frame(i, image, True) for i, image in enumerate(images)]
    (track,) = track_faces(frames, nets, cover=cover).tracks
    assert track.covered[60:120].all()
    assert not track.covered[:48].any() and not track.covered[132:].any()


def test_without_the_network_no_mouth_is_covered(nets: FaceNets) -> None:
    image = cover_portrait(nets, paint_mask, draw_portrait())
    (track,) = track_faces([Frame(i, image, True) for i in range(12)], nets).tracks
    assert track.covered.shape == (12,) and not track.covered.any()


def test_the_patch_of_a_turned_and_scaled_face_is_the_same(nets: FaceNets) -> None:
    image = draw_portrait()
    points = place(nets, image).landmarks
    patch = cut_lower_face(image, points)
    turned = points.copy()
    turned[:, 0], turned[:, 1] = image.shape[0] - 1 - points[:, 1], points[:, 0]
    again = cut_lower_face(np.rot90(image, -1).copy(), turned)
    assert np.abs(patch.astype(int) - again).mean() < 3
    double = cut_lower_face(cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), points * 2)
    assert np.abs(patch.astype(int) - double).mean() < 5


def covered_spans(log_odds: list[float]) -> list[tuple[int, int]]:
    rows = np.full(5 * len(log_odds), np.nan, np.float32)
    rows[::5] = log_odds
    marked = mark_covered(rows)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def test_one_or_two_covered_patches_are_noise_and_three_are_a_cover() -> None:
    clear, hidden = [-3.0] * 20, [3.0]
    assert covered_spans([*clear, *hidden * 2, *clear]) == []
    assert covered_spans([*clear, *hidden * 3, *clear]) == [(100 - MARGIN, 110 + MARGIN + 1)]


def test_a_short_clear_time_between_covers_is_no_evidence() -> None:
    hidden, clear = [3.0] * 10, [-3.0]
    long = MIN_CLEAR // 5 + 4
    assert covered_spans([*hidden, *clear * 6, *hidden]) == [(0, 130)]
    assert len(covered_spans([*hidden, *clear * long, *hidden])) == 2
    assert covered_spans([*clear * 6, *hidden, *clear * 30])[0][0] == 0, "a short clear start"


def test_no_patch_is_no_cover() -> None:
    assert mark_covered(np.full(12, np.nan, np.float32)).tolist() == [False] * 12


class Counting:
    """Records the sizes of the batches; every mouth is covered."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def detect(self, patches: np.ndarray) -> np.ndarray:
        self.sizes.append(len(patches))
        return np.ones(len(patches))


def test_patches_are_due_every_few_rows_and_run_in_batches(nets: FaceNets) -> None:
    image, trace, detector = draw_portrait(), CoverTrace(), Counting()
    points = place(nets, image).landmarks
    n_rows = COVER_EVERY * (BATCH + 3)
    with ThreadPoolExecutor(1) as pool:
        for row in range(n_rows):
            trace.add(row, image, points, detector, pool)
        log_odds = trace.finish(n_rows - 1, detector, pool)
    assert log_odds.shape == (n_rows - 1,)
    np.testing.assert_array_equal(np.flatnonzero(log_odds == 1), range(0, n_rows - 1, COVER_EVERY))
    assert np.isnan(np.delete(log_odds, range(0, n_rows - 1, COVER_EVERY))).all()
    assert detector.sizes == [BATCH, 3]


def test_damaged_weights_are_refused(tmp_path) -> None:
    (tmp_path / "mouth_cover.safetensors").write_bytes(registry.mouth_cover().read_bytes()[:500])
    with pytest.raises(WeightsDamaged):
        load_mouth_cover(tmp_path / "mouth_cover.safetensors")
