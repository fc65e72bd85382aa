"""Run the three networks of Google's `face_landmarker.task`: detection, 478 landmarks, 52 blendshapes.

The arithmetic around them (anchors, regions of interest) follows MediaPipe (Apache-2.0):
BlazeFace (Bazarevsky et al. 2019), Attention Mesh (Grishchenko et al. 2020), Blendshapes V2 model card (2022).
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from engine.errors import WeightsDamaged
from engine.faces.litert_nets import LiteRTNetwork, Scale
from engine.faces.shots import shrink

DETECTOR_PX = 128
MESH_PX = 256
SMALL_TILE_PX, SMALL_TILE_SHARE = 320, 0.4  # the detector finds faces from an eighth of a tile on
N_LANDMARKS = 478
DETECTOR, MESH, SHAPES = "face_detector.tflite", "face_landmarks_detector.tflite", "face_blendshapes.tflite"
SCALES: dict[str, Scale] = {DETECTOR: lambda x: x / 127.5 - 1.0, MESH: lambda x: x / 255.0, SHAPES: lambda x: x}
"""The files of the bundle with what they take for uint8 pixels, and for landmarks in pixels."""
RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners, of the person's right and left eye

BLENDSHAPES = tuple(
    """_neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
    cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
    eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight
    jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight
    mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
    mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft
    mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight""".split()
)

BLENDSHAPE_LANDMARKS = np.array(
    """0 1 4 5 6 7 8 10 13 14 17 21 33 37 39 40 46 52 53 54 55 58 61 63 65 66 67 70 78 80 81 82 84 87 88 91 93 95
    103 105 107 109 127 132 133 136 144 145 146 148 149 150 152 153 154 155 157 158 159 160 161 162 163 168 172
    173 176 178 181 185 191 195 197 234 246 249 251 263 267 269 270 276 282 283 284 285 288 291 293 295 296 297
    300 308 310 311 312 314 317 318 321 323 324 332 334 336 338 356 361 362 365 373 374 375 377 378 379 380 381
    382 384 385 386 387 388 389 390 397 398 400 402 405 409 415 454 466 468 469 470 471 472 473 474 475 476
    477""".split(),
    dtype=np.int64,
)


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Rotated square of the image, the input of the mesh network."""

    centre: np.ndarray  # (2,) float, pixels
    side_px: float
    angle: float  # radians, of the line from the person's right to left eye

    def to_image(self) -> np.ndarray:
        """Return the (2, 3) affine map from mesh input pixels to image pixels."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        linear = np.array([[cos, -sin], [sin, cos]]) * (self.side_px / MESH_PX)
        shift = self.centre - linear @ np.array([MESH_PX / 2, MESH_PX / 2])
        return np.column_stack([linear, shift])


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One detected face, in image pixels."""

    score: float
    box: np.ndarray  # (4,) x0 y0 x1 y1
    eyes: np.ndarray  # (2, 2) the person's right and left eye

    def region(self) -> Region:
        """Return the mesh input region: 1.5 times the box, rotated upright by the eyes."""
        side = 1.5 * float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))
        centre = (self.box[:2] + self.box[2:]) / 2
        return Region(centre, side, _angle(self.eyes[0], self.eyes[1]))


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Landmarks of one face in image pixels."""

    presence: float  # [0, 1]
    landmarks: np.ndarray  # (478, 3) float32, z on the scale of x

    def box(self) -> np.ndarray:
        """Return the bounding box (4,) float32 x0 y0 x1 y1."""
        x, y = self.landmarks[:, 0], self.landmarks[:, 1]  # a fifth of the time of a minimum over an axis
        return np.array([x.min(), y.min(), x.max(), y.max()], np.float32)

    def region(self) -> Region:
        """Return the mesh input region of the next frame: 1.5 times the box in face axes."""
        points = self.landmarks[:, :2].astype(np.float64)
        angle = _angle(points[RIGHT_EYE], points[LEFT_EYE])
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, sin], [-sin, cos]])
        upright = points @ turn.T
        low, high = upright.min(0), upright.max(0)
        return Region(turn.T @ ((low + high) / 2), 1.5 * float((high - low).max()), angle)


class FaceNetwork(Protocol):
    """One of the three networks, on a device."""

    runs_batches: bool
    """A batch runs at once, in less time than its items."""

    def run(self, values: np.ndarray, /) -> list[np.ndarray]:
        """Return each output for a batch (B, ...) as (B, n) float32, the outputs with the most values first."""
        ...


class FaceNets:
    """The three networks; thread-safe."""

    def __init__(self, detector: FaceNetwork, mesh: FaceNetwork, blendshapes: FaceNetwork):
        self._detector, self._mesh, self._blendshapes = detector, mesh, blendshapes
        self._anchors = _anchors()

    @property
    def runs_batches(self) -> bool:
        """Return whether a batch of landmarks runs at once, so that threads need not divide it."""
        return self._mesh.runs_batches

    @classmethod
    def load(cls, task_path: Path, threads: int = 1, device: str = "cpu", compiles: bool = False) -> "FaceNets":
        """Load the networks from the bundle: on the CPU by LiteRT, on another device by PyTorch.

        Raises WeightsDamaged if the bundle does not hold them. `compiles` runs them on that device by torch.compile.
        """
        try:
            with zipfile.ZipFile(task_path) as bundle:
                models = {name: bundle.read(name) for name in SCALES}
            if device == "cpu":
                return cls(*(LiteRTNetwork(models[name], scale, threads) for name, scale in SCALES.items()))
        except (zipfile.BadZipFile, KeyError, ValueError) as cause:
            raise WeightsDamaged(
                f"{task_path.name} does not contain the three face networks", "Reinstall the landmark package."
            ) from cause
        return cls.load_torch(models, device, compiles)

    @classmethod
    def load_torch(cls, models: dict[str, bytes], device: str, compiles: bool = False) -> "FaceNets":
        """Load the networks from the files of the bundle, as PyTorch modules; raises WeightsDamaged."""
        from engine.faces.torch_nets import TorchNetwork  # only where it is used

        return cls(
            *(
                TorchNetwork(models[name], scale, device, is_half=name == MESH, compiles=compiles)
                for name, scale in SCALES.items()
            )
        )

    def find_faces(self, image: np.ndarray, min_score: float = 0.5, closely: bool = False) -> list[Detection]:
        """Detect faces of an RGB image, best first, in the whole and in overlapping squares.

        `closely` adds smaller squares, in which faces of 48 pixels are found.
        """
        size = image.shape[1], image.shape[0]
        tiles = _tiles(*size) + (_small_tiles(*size) if closely else [])
        canvases = np.stack([_letterbox(_cut(image, tile)) for tile in tiles])
        raw, logits = self._detector.run(canvases)
        scores = _sigmoid_array(logits)
        found = [
            detection
            for i, tile in enumerate(tiles)
            for detection in self._read_detections(raw[i], scores[i], tile, max(_cut(image, tile).shape[:2]))
        ]
        found = [detection for detection in found if detection.score >= min_score]
        return _suppress(sorted(found, key=lambda detection: -detection.score))

    def place_landmarks(self, image: np.ndarray, region: Region) -> Mesh:
        """Return the landmarks of the face in a region of an RGB image."""
        return self.place_landmarks_batch([image], [region])[0]

    def place_landmarks_batch(self, images: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Mesh]:
        """Return the landmarks of the face in `regions[i]` of the RGB image `images[i]`, for every i."""
        if not regions:
            return []
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        maps = [region.to_image() for region in regions]
        crops = [
            cv2.warpAffine(image, to_image, (MESH_PX, MESH_PX), flags=flags)
            for image, to_image in zip(images, maps, strict=True)
        ]
        points, presences = self._mesh.run(np.stack(crops))[:2]
        return [
            _to_mesh(one.reshape(N_LANDMARKS, 3), float(presence[0]), region, to_image)
            for one, presence, region, to_image in zip(points, presences, regions, maps, strict=True)
        ]

    def read_blendshapes(self, landmarks: np.ndarray) -> np.ndarray:
        """Return (52,) float32 in [0, 1] for (478, 3) landmarks in pixels, in the order of `BLENDSHAPES`."""
        return self.read_blendshapes_batch(landmarks[None])[0]

    def read_blendshapes_batch(self, landmarks: np.ndarray) -> np.ndarray:
        """Return (B, 52) float32 in [0, 1] for (B, 478, 3) landmarks in pixels."""
        if not len(landmarks):
            return np.zeros((0, len(BLENDSHAPES)), np.float32)
        return self._blendshapes.run(landmarks[:, BLENDSHAPE_LANDMARKS, :2])[0]

    def _read_detections(
        self, raw: np.ndarray, scores: np.ndarray, tile: tuple[int, int, int], longest_px: int
    ) -> list[Detection]:
        """Read the detector's outputs (896 * 16,) and (896,) for a tile into image pixels."""
        keep = np.flatnonzero(scores >= 0.3)
        boxes = raw.reshape(-1, 16)[keep]
        centres = boxes[:, :2] + self._anchors[keep]
        eyes = boxes[:, 4:8].reshape(-1, 2, 2) + self._anchors[keep][:, None]
        origin, scale = np.array(tile[:2], dtype=np.float64), longest_px / DETECTOR_PX
        return [
            Detection(float(score), _box_around(centre * scale + origin, size * scale), pair * scale + origin)
            for score, centre, size, pair in zip(scores[keep], centres, boxes[:, 2:4], eyes, strict=True)
        ]


def _cut(image: np.ndarray, tile: tuple[int, int, int]) -> np.ndarray:
    x0, y0, side = tile
    return image[y0 : y0 + side, x0 : x0 + side]


def _to_mesh(points: np.ndarray, logit: float, region: Region, to_image: np.ndarray) -> Mesh:
    """Map the landmarks (478, 3) of a mesh input region to the image."""
    planar = points[:, :2] @ to_image[:, :2].T + to_image[:, 2]
    depth = points[:, 2:] * (region.side_px / MESH_PX)
    return Mesh(_sigmoid(logit), np.hstack([planar, depth]).astype(np.float32))


def _anchors() -> np.ndarray:
    """Return (896, 2) anchor centres in detector pixels: 16x16 cells of 2 and 8x8 cells of 6."""
    grids = []
    for cells, repeats in ((16, 2), (8, 6)):
        y, x = np.divmod(np.arange(cells * cells), cells)
        grids.append(np.repeat(np.column_stack([x + 0.5, y + 0.5]) / cells, repeats, axis=0))
    return np.concatenate(grids) * DETECTOR_PX


def _tiles(width: int, height: int) -> list[tuple[int, int, int]]:
    """Return (x0, y0, side) of the whole frame and, if it is far from square, of overlapping squares."""
    long, short = max(width, height), min(width, height)
    whole = [(0, 0, long)]
    if long < 1.2 * short:
        return whole
    starts = np.unique(np.linspace(0, long - short, 1 + int(np.ceil(2 * (long - short) / short))).astype(int))
    return whole + [(int(s), 0, short) if width > height else (0, int(s), short) for s in starts]


def _small_tiles(width: int, height: int) -> list[tuple[int, int, int]]:
    """Return (x0, y0, side) of a grid of squares, each a third over its neighbours; empty for a small frame."""
    short = min(width, height)
    side = max(SMALL_TILE_PX, round(SMALL_TILE_SHARE * short))
    if side >= short:
        return []
    across, down = (
        np.unique(np.linspace(0, length - side, 1 + int(np.ceil(1.5 * (length - side) / side))).astype(int))
        for length in (width, height)
    )
    return [(int(x), int(y), side) for y in down for x in across]


def _letterbox(image: np.ndarray) -> np.ndarray:
    """Scale the image into the top left of a black 128x128 square."""
    height, width = image.shape[:2]
    scale = DETECTOR_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = np.zeros((DETECTOR_PX, DETECTOR_PX, 3), np.uint8)
    canvas[: size[1], : size[0]] = shrink(image, size)
    return canvas


def _suppress(detections: list[Detection], max_overlap: float = 0.3) -> list[Detection]:
    kept: list[Detection] = []
    for detection in detections:
        if all(overlap(detection.box, other.box) < max_overlap for other in kept):
            kept.append(detection)
    return kept


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two x0 y0 x1 y1 boxes."""
    inner = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (inner <= 0).any():
        return 0.0
    shared = float(inner.prod())
    return shared / (float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared)


def _box_around(centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.concatenate([centre - size / 2, centre + size / 2])


def _angle(right_eye: np.ndarray, left_eye: np.ndarray) -> float:
    return float(np.arctan2(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0]))


def _sigmoid(x: float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.clip(x, -80.0, 80.0))))


def _sigmoid_array(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(x.astype(np.float64), -80.0, 80.0)))
