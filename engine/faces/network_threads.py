"""Run the face networks of one tracker in threads."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from engine.faces.landmarker import Detection, FaceNets, Mesh, Region
from engine.faces.occlusion import CoverDetector, CoverTrace
from engine.faces.regions import measure_shift
from engine.faces.shots import shrink

SEARCHED_PX = 256  # least short side of a downscaled image for detection: twice the input of the detector
MAX_SHIFT = 0.01  # of a region, up to which its mesh is settled: of centre over side, of log side, of angle in radians


class Shapes(Protocol):
    """Blendshapes of one row, awaited at the end."""

    def result(self) -> np.ndarray:
        """Return (52,) float32."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _BatchRow:
    """One row of a batch of blendshapes."""

    batch: Future[np.ndarray]  # (B, 52)
    row: int

    def result(self) -> np.ndarray:
        return self.batch.result()[self.row]


class NetworkThreads:
    """The networks and the threads that run them.

    Landmarks settle until they depend on no earlier region; detections serve for nothing but a first region.
    """

    def __init__(self, nets: FaceNets, cover: CoverDetector | None, threads: int):
        self._nets, self._cover, self._threads = nets, cover, threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="faces")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def find(self, image: np.ndarray, closely: bool = False) -> list[Detection]:
        """Detect faces in a downscaled image: two thirds of the time at 720p."""
        (height, width), factor = image.shape[:2], min(image.shape[:2]) // SEARCHED_PX
        if closely or factor < 2:
            return self._nets.find_faces(image, closely=closely)
        small = shrink(image, (width // factor, height // factor))
        scale = np.array([width / small.shape[1], height / small.shape[0]])
        found = self._nets.find_faces(small)
        return [Detection(one.score, one.box * np.tile(scale, 2), one.eyes * scale) for one in found]

    def place_all(self, image: np.ndarray, regions: Sequence[Region]) -> list[Mesh]:
        """Place the landmarks of several faces as a batch; of one face in this thread."""
        if len(regions) < 2:
            return [self._nets.place_landmarks(image, region) for region in regions]
        return self.place_batch([image] * len(regions), regions)

    def place_detected(self, image: np.ndarray, detection: Detection, min_presence: float) -> Mesh:
        """Place the landmarks of a new face."""
        return self.settle(image, [detection.region()], min_presence)[0]

    def settle(self, image: np.ndarray, regions: Sequence[Region], min_presence: float) -> list[Mesh]:
        """Place landmarks, and once more from their own regions where these differ clearly from the given ones.

        An absent face is not placed again: the mesh takes its own hallucination for a face.
        """
        meshes = self.place_all(image, regions)
        own = [mesh.region() for mesh in meshes]
        moved = [
            i
            for i, region in enumerate(regions)
            if meshes[i].presence >= min_presence and measure_shift(region, own[i]) > MAX_SHIFT
        ]
        for i, mesh in zip(moved, self.place_all(image, [own[i] for i in moved]), strict=True):
            meshes[i] = mesh
        return meshes

    def place_batch(self, images: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Mesh]:
        """Place the landmarks of one region per image; threads divide a batch that the network cannot run at once."""
        size = -(-len(regions) // (1 if self._nets.runs_batches else self._threads))
        starts = range(0, len(regions), size)
        parts = [(images[start : start + size], regions[start : start + size]) for start in starts]
        placed = self._pool.map(lambda part: self._nets.place_landmarks_batch(*part), parts)
        return [mesh for batch in placed for mesh in batch]

    def read(self, mesh: Mesh) -> Shapes:
        """Start computing the blendshapes of a mesh."""
        return self._pool.submit(self._nets.read_blendshapes, mesh.landmarks)

    def read_batch(self, meshes: Sequence[Mesh]) -> list[Shapes]:
        """Start computing the blendshapes of several meshes."""
        landmarks = np.stack([mesh.landmarks for mesh in meshes])
        batch = self._pool.submit(self._nets.read_blendshapes_batch, landmarks)
        return [_BatchRow(batch, row) for row in range(len(meshes))]

    def detect_cover(self, trace: CoverTrace, row: int, image: np.ndarray, mesh: Mesh) -> None:
        """Start detecting whether the mouth of a row is covered; do nothing without the network."""
        if self._cover is not None:
            trace.add(row, image, mesh.landmarks, self._cover, self._pool)

    def finish_cover(self, trace: CoverTrace, length: int) -> np.ndarray:
        """Return the log-odds (length,) float32 that the mouth is covered, NaN in the rows without a patch."""
        return trace.finish(length, self._cover, self._pool)
