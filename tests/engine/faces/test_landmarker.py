import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from engine.errors import WeightsDamaged
from engine.faces.landmarker import (
    BLENDSHAPE_LANDMARKS,
    BLENDSHAPES,
    LEFT_EYE,
    N_LANDMARKS,
    RIGHT_EYE,
    Detection,
    FaceNets,
    Mesh,
    Region,
    _anchors,
    _letterbox,
    _small_tiles,
    _suppress,
    _tiles,
    overlap,
)
from engine.weights import registry

# Read off the enlarged portrait by eye: right and left pupil, right and left corner of the mouth, tip of the chin.
KNOWN = (468, 473, 61, 291, 152)
KNOWN_PLACES = np.array([(203.5, 101.5), (246.0, 103.5), (203.0, 139.5), (246.5, 140.0), (222.0, 178.0)])
FACE_PX = 90


@pytest.fixture(scope="module")
def nets() -> FaceNets:
    return FaceNets.load(registry.face_landmarker())


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return data.astronaut()


def place_only_face(nets: FaceNets, image: np.ndarray) -> Mesh:
    (detection,) = nets.find_faces(image)
    return nets.place_landmarks(image, detection.region())


def random_mesh(seed: int) -> Mesh:
    points = np.random.default_rng(seed).uniform(-40, 40, (N_LANDMARKS, 3))
    points[RIGHT_EYE], points[LEFT_EYE] = (-20, -5, 0), (20, -5, 0)
    return Mesh(1.0, (points + np.array([300, 200, 0])).astype(np.float32))


def detect(score: float, *box: float) -> Detection:
    return Detection(score, np.array(box, float), np.zeros((2, 2)))


def test_names_and_numbers_of_blendshapes() -> None:
    assert len(BLENDSHAPES) == len(set(BLENDSHAPES)) == 52
    assert len(BLENDSHAPE_LANDMARKS) == 146
    assert (np.diff(BLENDSHAPE_LANDMARKS) > 0).all()
    assert BLENDSHAPE_LANDMARKS[0] >= 0
    assert BLENDSHAPE_LANDMARKS[-1] < N_LANDMARKS


def test_anchors_are_two_a_fine_cell_and_six_a_coarse_one() -> None:
    anchors = _anchors()
    assert anchors.shape == (16 * 16 * 2 + 8 * 8 * 6, 2) == (896, 2)
    np.testing.assert_allclose(anchors[[0, 1, 2, 32]], [(4, 4), (4, 4), (12, 4), (4, 12)])
    np.testing.assert_allclose(anchors[[511, 512, 517, 518, 895]], [(124, 124), (8, 8), (8, 8), (24, 8), (120, 120)])


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0, np.pi])
def test_region_maps_its_square_to_the_image_and_back(angle: float) -> None:
    region = Region(np.array([310.0, 220.0]), 128.0, angle)
    to_image = region.to_image()
    np.testing.assert_allclose(to_image @ (128, 128, 1), region.centre)
    along = to_image @ (256, 128, 1) - region.centre  # from the middle to the right edge
    np.testing.assert_allclose(along, 64 * np.array([np.cos(angle), np.sin(angle)]), atol=1e-9)
    back = cv2.invertAffineTransform(to_image)
    points = np.random.default_rng(0).uniform(0, 256, (20, 2))
    there = points @ to_image[:, :2].T + to_image[:, 2]
    np.testing.assert_allclose(there @ back[:, :2].T + back[:, 2], points, atol=1e-9)


def test_detection_asks_for_one_and_a_half_boxes_turned_by_the_eyes() -> None:
    region = Detection(0.9, np.array([100.0, 50.0, 140.0, 100.0]), np.array([[110.0, 60.0], [130.0, 80.0]])).region()
    np.testing.assert_allclose(region.centre, (120, 75))
    assert region.side_px == pytest.approx(75)
    assert region.angle == pytest.approx(np.pi / 4)


@pytest.mark.parametrize("degrees", [0, 30, -75, 160])
def test_mesh_asks_for_the_same_square_however_it_is_turned(degrees: float) -> None:
    upright = random_mesh(1)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = upright.landmarks.copy()
    landmarks[:, :2] = landmarks[:, :2] @ turn.T
    expected, found = upright.region(), Mesh(1.0, landmarks).region()
    assert found.side_px == pytest.approx(expected.side_px, rel=1e-5)
    assert found.angle == pytest.approx(angle, abs=1e-5)
    np.testing.assert_allclose(found.centre, turn @ expected.centre, atol=1e-3)


def test_mesh_region_holds_all_landmarks_with_a_margin() -> None:
    mesh = random_mesh(2)
    region = mesh.region()
    inside = np.abs(mesh.landmarks[:, :2] - region.centre).max()
    assert inside == pytest.approx(region.side_px / 3, rel=1e-5)


def test_overlap_is_intersection_over_union() -> None:
    box = np.array([0.0, 0.0, 10.0, 10.0])
    assert overlap(box, box) == pytest.approx(1.0)
    assert overlap(box, np.array([5.0, 0.0, 15.0, 10.0])) == pytest.approx(50 / 150)
    assert overlap(box, np.array([2.0, 2.0, 4.0, 4.0])) == pytest.approx(4 / 100)
    assert overlap(box, np.array([10.0, 0.0, 20.0, 10.0])) == 0.0
    assert overlap(box, np.array([15.0, 0.0, 25.0, 10.0])) == 0.0  # apart in one direction alone
    assert overlap(box, np.array([-20.0, -20.0, -10.0, -10.0])) == 0.0  # both sides negative: not an area


def test_suppression_keeps_the_best_of_each_face() -> None:
    best, again, beside = detect(0.9, 0, 0, 10, 10), detect(0.8, 1, 0, 11, 10), detect(0.7, 9, 0, 19, 10)
    assert _suppress([best, again, beside]) == [best, beside]
    assert _suppress([]) == []


@pytest.mark.parametrize(
    "size", [(1280, 720), (720, 1280), (1920, 800), (640, 640), (700, 640), (3000, 200), (31, 640)]
)
def test_tiles_cover_the_picture_and_overlap_by_half(size: tuple[int, int]) -> None:
    whole, *squares = _tiles(*size)
    assert whole == (0, 0, max(size))
    if max(size) < 1.2 * min(size):
        assert squares == []
        return
    axis, long, short = int(size[1] > size[0]), max(size), min(size)
    starts = [square[axis] for square in squares]
    assert {square[2] for square in squares} == {short}
    assert {square[1 - axis] for square in squares} == {0}
    assert (starts[0], starts[-1]) == (0, long - short)
    assert np.diff(starts).max() <= short / 2 + 1  # so a face of up to half a square is whole in one of them


def test_letterbox_keeps_proportions_and_pads_below() -> None:
    canvas = _letterbox(np.full((360, 640, 3), 200, np.uint8))
    assert canvas.shape == (128, 128, 3)
    assert (canvas[:72] == 200).all()
    assert (canvas[72:] == 0).all()
    assert (_letterbox(np.full((1, 5000, 3), 9, np.uint8))[0] == 9).all()  # a sliver still has one row


@pytest.mark.parametrize("content", [b"", b"no archive at all"])
def test_a_file_that_is_no_bundle_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(content)
    with pytest.raises(WeightsDamaged, match=r"face_landmarker\.task"):
        FaceNets.load(path)


@pytest.mark.parametrize("names", [(), ("face_detector.tflite",)])
def test_a_bundle_without_the_nets_is_damaged(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "face_landmarker.task"
    with zipfile.ZipFile(path, "w") as bundle:
        for name in names:
            bundle.writestr(name, b"not a model")
    with pytest.raises(WeightsDamaged):
        FaceNets.load(path)


def test_the_portrait_is_found_once_where_it_is(nets: FaceNets, portrait: np.ndarray) -> None:
    (detection,) = nets.find_faces(portrait)
    assert detection.score > 0.8
    np.testing.assert_allclose(detection.eyes, KNOWN_PLACES[:2], atol=8)  # the detector is rough, on 128 pixels
    mesh = nets.place_landmarks(portrait, detection.region())
    assert mesh.presence > 0.99
    np.testing.assert_allclose(mesh.landmarks[list(KNOWN), :2], KNOWN_PLACES, atol=4)


def test_no_face_where_there_is_none(nets: FaceNets, portrait: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 427, 3)).astype(np.uint8)
    assert nets.find_faces(noise) == []
    assert nets.find_faces(np.zeros((240, 427, 3), np.uint8)) == []
    suit = Region(np.array([256.0, 400.0]), 150.0, 0.0)
    assert nets.place_landmarks(portrait, suit).presence < 0.5


@dataclass(frozen=True, eq=False)
class Warp:
    """An affine change of the portrait, and where its places go."""

    matrix: np.ndarray  # (2, 3), from the portrait's pixels
    size_px: int = 512
    mirrors: bool = False

    def apply(self, image: np.ndarray) -> np.ndarray:
        scale = float(self.matrix[1, 1]) if self.size_px < 512 else 1.0
        soft = cv2.GaussianBlur(image, (0, 0), 0.4 / scale) if scale < 1 else image  # against aliasing
        return cv2.warpAffine(soft, self.matrix, (self.size_px, self.size_px))

    def carry(self, places: np.ndarray) -> np.ndarray:
        """Pupils and corners of the mouth change sides in a mirror."""
        moved = places @ self.matrix[:, :2].T + self.matrix[:, 2]
        return moved[[1, 0, 3, 2, 4]] if self.mirrors else moved


WARPS = {
    "turned left by 30 degrees": Warp(cv2.getRotationMatrix2D((256.0, 256.0), 30, 1.0)),
    "turned right by 30 degrees": Warp(cv2.getRotationMatrix2D((256.0, 256.0), -30, 1.0)),
    "mirrored": Warp(np.array([[-1.0, 0, 511], [0, 1, 0]]), mirrors=True),
    "at a third of the size": Warp(np.array([[1 / 3, 0, 0], [0, 1 / 3, 0]]), size_px=171),
}


@pytest.mark.parametrize("name", WARPS)
def test_landmarks_go_with_the_picture(nets: FaceNets, portrait: np.ndarray, name: str) -> None:
    warp = WARPS[name]
    before = place_only_face(nets, portrait).landmarks[list(KNOWN), :2]
    mesh = place_only_face(nets, warp.apply(portrait))
    scale = float(np.sqrt(abs(np.linalg.det(warp.matrix[:, :2]))))
    assert mesh.presence > 0.9
    apart = np.linalg.norm(mesh.landmarks[list(KNOWN), :2] - warp.carry(before), axis=1)
    assert apart.max() < 0.06 * FACE_PX * scale


@pytest.mark.parametrize(("size", "corner"), [((360, 1280), (100, 1000)), ((1280, 360), (1000, 100))])
def test_a_face_of_an_eighth_of_the_short_side_is_found_at_the_end_of_the_long_one(
    nets: FaceNets, portrait: np.ndarray, size: tuple[int, int], corner: tuple[int, int]
) -> None:
    picture = np.full((*size, 3), 90, np.uint8)
    picture[corner[0] : corner[0] + 256, corner[1] : corner[1] + 256] = cv2.resize(
        portrait, (256, 256), interpolation=cv2.INTER_AREA
    )
    mesh = place_only_face(nets, picture)
    expected = KNOWN_PLACES / 2 + np.array(corner[::-1])
    np.testing.assert_allclose(mesh.landmarks[list(KNOWN), :2], expected, atol=2.5)


def test_blendshapes_read_the_portrait_smiling(nets: FaceNets, portrait: np.ndarray) -> None:
    landmarks = place_only_face(nets, portrait).landmarks
    shapes = dict(zip(BLENDSHAPES, nets.read_blendshapes(landmarks), strict=True))
    assert min(shapes.values()) >= 0
    assert max(shapes.values()) <= 1
    assert min(shapes["mouthSmileLeft"], shapes["mouthSmileRight"]) > 0.5
    assert max(shapes["jawOpen"], shapes["mouthPucker"], shapes["mouthFunnel"]) < 0.3
    moved = dict(zip(BLENDSHAPES, nets.read_blendshapes(landmarks * 2 + 30), strict=True))
    assert moved["mouthSmileLeft"] == pytest.approx(shapes["mouthSmileLeft"], abs=0.02)  # wherever the face is


def test_concurrent_threads_get_the_same_landmarks(nets: FaceNets, portrait: np.ndarray) -> None:
    views = [np.ascontiguousarray(np.roll(portrait, 7 * i, axis=1)) for i in range(6)]

    def find_landmarks(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mesh = nets.place_landmarks(image, nets.find_faces(image)[0].region())
        return mesh.landmarks, nets.read_blendshapes(mesh.landmarks)

    alone = [find_landmarks(view) for view in views]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(find_landmarks, views))
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_a_batch_of_pictures_and_regions_is_each_of_them_alone(nets: FaceNets, portrait: np.ndarray) -> None:
    (detection,) = nets.find_faces(portrait)
    images = [np.ascontiguousarray(portrait[i:, 2 * i :]) for i in (0, 9, 40)]
    regions = [Region(detection.region().centre - (2 * i, i), 130.0 + i, 0.01 * i) for i in (0, 9, 40)]
    meshes = nets.place_landmarks_batch(images, regions)
    alone = [nets.place_landmarks(image, region) for image, region in zip(images, regions, strict=True)]
    for mesh, one in zip(meshes, alone, strict=True):
        np.testing.assert_array_equal(mesh.landmarks, one.landmarks)
        assert mesh.presence == one.presence > 0.9
    shapes = nets.read_blendshapes_batch(np.stack([mesh.landmarks for mesh in meshes]))
    np.testing.assert_array_equal(shapes, [nets.read_blendshapes(one.landmarks) for one in alone])


def test_a_batch_may_be_empty_and_needs_a_region_for_each_picture(nets: FaceNets, portrait: np.ndarray) -> None:
    assert nets.place_landmarks_batch([], []) == []
    assert nets.read_blendshapes_batch(np.zeros((0, N_LANDMARKS, 3), np.float32)).shape == (0, 52)
    with pytest.raises(ValueError, match="longer"):
        nets.place_landmarks_batch([portrait], [Region(np.array([224.0, 130.0]), 150.0, 0.0)] * 2)


@pytest.mark.parametrize(("width", "height"), [(640, 360), (1280, 720), (1080, 1920), (3840, 2160)])
def test_small_tiles_cover_the_frame_and_overlap_by_more_than_a_small_face(width: int, height: int) -> None:
    tiles = _small_tiles(width, height)
    side = tiles[0][2]
    assert side == max(320, round(0.4 * min(width, height)))
    for axis, length in ((0, width), (1, height)):
        starts = sorted({tile[axis] for tile in tiles})
        assert (starts[0], starts[-1]) == (0, length - side)
        assert max(np.diff(starts), default=0) <= side * 2 / 3 + 1


def test_a_small_frame_has_no_small_tiles() -> None:
    assert _small_tiles(320, 240) == []


@pytest.mark.parametrize(("columns", "rows", "size"), [(5, 2, (1280, 720)), (5, 5, (1920, 1080)), (7, 7, (1920, 1080))])
def test_every_face_of_a_dense_grid_is_found_closely(
    nets: FaceNets, columns: int, rows: int, size: tuple[int, int]
) -> None:
    width, height = size[0] // columns, size[1] // rows
    side = min(width, height)
    image = np.full((size[1], size[0], 3), 60, np.uint8)
    tile = cv2.resize(data.astronaut()[:256, 90:346], (side, side), interpolation=cv2.INTER_AREA)
    for i in range(columns * rows):
        x, y = i % columns * width, i // columns * height
        image[y : y + side, x : x + side] = tile
    centres = [(one.box[:2] + one.box[2:]) / 2 for one in nets.find_faces(image, closely=True)]
    assert {(int(x // width), int(y // height)) for x, y in centres} == {
        (i, j) for i in range(columns) for j in range(rows)
    }
