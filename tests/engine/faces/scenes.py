"""Scenes of rectangles instead of faces, and networks that see them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from engine.faces.landmarker import LEFT_EYE, N_LANDMARKS, RIGHT_EYE, Detection, Mesh, Region
from engine.faces.tracking import FaceNets, FaceOptions, Faces, track_faces
from engine.types import FaceTrack, Frame

HEIGHT, WIDTH = 180, 320
Box = tuple[float, float, float]  # centre x, centre y, side; all pixels
Scene = list[list[Box]]  # for every frame the faces that can be seen


class RectangleNets:
    """Sees the rectangles of a scene; the number of the frame stands in the picture's first pixel."""

    runs_batches = False

    def __init__(self, scene: Scene):
        self.scene = scene
        self.calls = {"find": 0, "place": 0, "read": 0}

    def find_faces(self, image: np.ndarray, min_score: float = 0.5, closely: bool = False) -> list[Detection]:
        """Every face of the frame, the last first, in a box a little smaller than that of the landmarks."""
        self.calls["find"] += 1
        return [self._detect(face) for face in reversed(self._faces(image))]

    def place_landmarks(self, image: np.ndarray, region: Region) -> Mesh:
        """The face nearest to the middle of the region, absent where none is in its inner half."""
        self.calls["place"] += 1
        faces = self._faces(image)
        apart = [float(np.abs(np.array(face[:2]) - region.centre).max()) for face in faces]
        if not apart or min(apart) > region.side_px / 2:
            return Mesh(0.0, draw_landmarks((*region.centre, region.side_px / 1.5)))
        return Mesh(1.0, draw_landmarks(faces[int(np.argmin(apart))]))

    def place_landmarks_batch(self, images: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Mesh]:
        """The same as one by one."""
        return [self.place_landmarks(image, region) for image, region in zip(images, regions, strict=True)]

    def read_blendshapes(self, landmarks: np.ndarray) -> np.ndarray:
        """How far left the face is, in every place."""
        self.calls["read"] += 1
        return np.full(52, landmarks[:, 0].min() / WIDTH, np.float32)

    def read_blendshapes_batch(self, landmarks: np.ndarray) -> np.ndarray:
        """The same as one by one."""
        return np.stack([self.read_blendshapes(one) for one in landmarks])

    def _faces(self, image: np.ndarray) -> list[Box]:
        return self.scene[int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])]

    def _detect(self, face: Box) -> Detection:
        x, y, side = face[0], face[1] + 0.05 * face[2], 0.9 * face[2]
        box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2])
        eyes = np.array([[x - side / 4, y - side / 8], [x + side / 4, y - side / 8]])
        return Detection(0.9, box, eyes)


def draw_landmarks(face: tuple[float, ...]) -> np.ndarray:
    x, y, side = face
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (N_LANDMARKS, 3))
    points[0], points[1] = (-0.5, -0.5, 0), (0.5, 0.5, 0)
    points[RIGHT_EYE], points[LEFT_EYE] = (-0.25, -0.1, 0), (0.25, -0.1, 0)
    return (points * side + np.array([x, y, 0])).astype(np.float32)


def draw_frames(n_frames: int, held: Iterable[int] = (), shade: Callable[[int], int] = lambda i: 90) -> list[Frame]:
    """Plain pictures that carry their number; a held one carries that of the picture before."""
    held, frames, shown = set(held), [], 0
    for index in range(n_frames):
        shown = shown if index in held else index
        image = np.full((HEIGHT, WIDTH, 3), shade(shown), np.uint8)
        image[0, 0, :2] = shown % 256, shown // 256
        frames.append(Frame(index, image, index not in held))
    return frames


def track(scene: Scene, frames: list[Frame] | None = None, **options: Any) -> Faces:
    return track_with(RectangleNets(scene), draw_frames(len(scene)) if frames is None else frames, **options)


def track_with(nets: RectangleNets, frames: list[Frame], **options: Any) -> Faces:
    return track_faces(frames, cast(FaceNets, nets), replace(FaceOptions(), **options))


def spans(faces: Faces) -> list[tuple[int, int]]:
    return [(one.start, one.end) for one in faces.tracks]


def middles(one: FaceTrack) -> np.ndarray:
    return (one.boxes[:, :2] + one.boxes[:, 2:]) / 2


def sides(one: FaceTrack) -> np.ndarray:
    return one.boxes[:, 2] - one.boxes[:, 0]


def hide(scene: Scene, first: int, count: int) -> Scene:
    return [[] if first <= i < first + count else faces for i, faces in enumerate(scene)]


def stand(n_frames: int, face: Box = (160.0, 90.0, 60.0)) -> Scene:
    return [[face]] * n_frames


def stroll(n_frames: int, speed: float = 2.0) -> Scene:
    return [[(60.0 + speed * i, 80.0, 60.0)] for i in range(n_frames)]
