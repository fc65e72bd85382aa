from collections.abc import Iterator
from typing import cast

import numpy as np
import pytest

from engine.faces.landmarker import Detection, FaceNets, Mesh, Region
from engine.faces.network_threads import MAX_SHIFT, NetworkThreads
from tests.engine.faces.scenes import draw_landmarks

IMAGE = np.zeros((90, 160, 3), np.uint8)
FACE = (80.0, 40.0, 30.0)


class OneFaceNets:
    """Sees one face, drawn a little nearer to the region from which it is placed."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []
        self.regions: list[Region] = []
        self.batches: list[int] = []
        self.runs_batches = False

    def find_faces(self, image: np.ndarray, min_score: float = 0.5, closely: bool = False) -> list[Detection]:
        self.sizes.append(image.shape)
        height, width = image.shape[:2]
        return [
            Detection(0.9, np.array([0.25, 0.5, 0.5, 1.0]) * np.tile([width, height], 2), np.ones((2, 2)) * width / 4)
        ]

    def place_landmarks(self, image: np.ndarray, region: Region) -> Mesh:
        self.regions.append(region)
        x, y, side = FACE
        near = region.centre - (x, y)
        return Mesh(1.0, draw_landmarks((x + 0.1 * near[0], y + 0.1 * near[1], side)))

    def place_landmarks_batch(self, images: list[np.ndarray], regions: list[Region]) -> list[Mesh]:
        self.batches.append(len(regions))
        return [self.place_landmarks(image, region) for image, region in zip(images, regions, strict=True)]


@pytest.fixture
def nets() -> OneFaceNets:
    return OneFaceNets()


@pytest.fixture
def threads(nets: OneFaceNets) -> Iterator[NetworkThreads]:
    with NetworkThreads(cast(FaceNets, nets), None, 3) as networks:
        yield networks


def own_region(x_px: float) -> Region:
    own = Mesh(1.0, draw_landmarks(FACE)).region()
    return Region(own.centre + np.array([x_px, 0]), own.side_px, own.angle)


def test_only_a_mesh_of_a_moved_region_is_placed_again(nets: OneFaceNets, threads: NetworkThreads) -> None:
    side_px = own_region(0).side_px
    near, far = own_region(0.9 * MAX_SHIFT * side_px), own_region(3 * MAX_SHIFT * side_px)
    first, second = threads.settle(IMAGE, [near, far], 0.5)
    assert len(nets.regions) == 3
    again = nets.regions[2]
    np.testing.assert_allclose(
        again.centre - own_region(0).centre, 0.1 * (far.centre - own_region(0).centre), atol=1e-4
    )
    expected = nets.place_landmarks(IMAGE, near), nets.place_landmarks(IMAGE, again)
    for found, wanted in zip((first, second), expected, strict=True):
        np.testing.assert_array_equal(found.landmarks, wanted.landmarks)


def test_an_absent_face_is_not_placed_again(nets: OneFaceNets, threads: NetworkThreads) -> None:
    """From its own region the mesh may find what it imagined."""
    far = own_region(20.0)
    (mesh,) = threads.settle(IMAGE, [far], 1.1)
    assert len(nets.regions) == 1
    np.testing.assert_array_equal(mesh.landmarks, nets.place_landmarks(IMAGE, far).landmarks)


@pytest.mark.parametrize(
    ("count", "runs_batches", "batches"),
    [(1, False, [1]), (2, False, [1, 1]), (3, False, [1, 1, 1]), (8, False, [2, 3, 3]), (8, True, [8])],
)
def test_a_batch_keeps_its_order_however_it_is_divided(
    nets: OneFaceNets, threads: NetworkThreads, count: int, runs_batches: bool, batches: list[int]
) -> None:
    nets.runs_batches = runs_batches
    regions = [own_region(10.0 * i) for i in range(count)]
    meshes = threads.place_batch([IMAGE] * count, regions)
    assert sorted(nets.batches) == batches
    for mesh, region in zip(meshes, regions, strict=True):
        np.testing.assert_array_equal(mesh.landmarks, nets.place_landmarks(IMAGE, region).landmarks)


@pytest.mark.parametrize(
    ("size", "searched"),
    [((720, 1280), (360, 640)), ((1080, 1920), (270, 480)), ((511, 900), (511, 900)), ((905, 514), (452, 257))],
)
def test_detection_takes_a_downscaled_image(
    nets: OneFaceNets, threads: NetworkThreads, size: tuple[int, int], searched: tuple[int, int]
) -> None:
    image = np.zeros((*size, 3), np.uint8)
    (found,) = threads.find(image)
    threads.find(image, closely=True)
    (wanted,) = nets.find_faces(image)
    assert [shape[:2] for shape in nets.sizes] == [searched, size, size]
    np.testing.assert_allclose(found.box, wanted.box)
    assert found.eyes[0, 0] == pytest.approx(wanted.eyes[0, 0])
    assert found.score == wanted.score
