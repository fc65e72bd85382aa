"""Find the quarter turn that makes the faces of a recording upright, from a sample of its frames.

A file without rotation metadata may be stored turned. The detector and the mesh find few faces in it, or none.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from engine.faces.landmarker import LEFT_EYE, RIGHT_EYE, FaceNets
from engine.types import Frame

MAX_SAMPLE = 16  # frames kept
FIRST_STEP = 10  # frames between those kept of a short clip
MAX_PX = 720  # of the longer side
MIN_SHARE = 0.5  # of the sampled frames that show an upright face after the turn
MIN_GAIN = 1.5  # against the frames that show one before
MIN_PRESENCE = 0.5  # of the mesh
TURNS = (0, 180, 90, 270)  # degrees clockwise, the likeliest first


class FrameSample:
    """At most `MAX_SAMPLE` frames of a clip, evenly spaced and downscaled, taken while its segments stream."""

    def __init__(self, n_frames: int) -> None:
        self._found: dict[int, np.ndarray] = {}
        self._step = FIRST_STEP
        while n_frames > MAX_SAMPLE * self._step:
            self._step *= 2

    @property
    def images(self) -> list[np.ndarray]:
        """The frames kept, in order."""
        return [self._found[index] for index in sorted(self._found)]

    def take(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Yield all frames, and keep some; several threads may take at a time."""
        for frame in frames:
            if frame.index % self._step == 0:
                self._found[frame.index] = _shrink(frame.image)
            yield frame


def _shrink(image: np.ndarray) -> np.ndarray:
    scale = min(1.0, MAX_PX / max(image.shape[:2]))
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image.copy()


def turn_image(image: np.ndarray, degrees: int) -> np.ndarray:
    """Turn an image (H, W, 3) clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(image, -degrees // 90))


def find_turn(images: Sequence[np.ndarray], nets: FaceNets) -> int:
    """Return the clockwise turn in degrees after which most images show an upright face; 0 without a clear gain."""
    counts = {turn: sum(_has_upright_face(turn_image(image, turn), nets) for image in images) for turn in TURNS}
    best = max(TURNS, key=lambda turn: counts[turn])
    gains = counts[best] >= max(1.0, MIN_SHARE * len(images)) and counts[best] >= MIN_GAIN * counts[0]
    return best if gains else 0


def _has_upright_face(image: np.ndarray, nets: FaceNets) -> bool:
    return any(
        find_upright(mesh.landmarks[None])[0]
        for detection in nets.find_faces(image)[:1]
        if (mesh := nets.place_landmarks(image, detection.region())).presence >= MIN_PRESENCE
    )


def find_upright(landmarks: np.ndarray) -> np.ndarray:
    """Return (T,) bool for landmarks (T, 478, 3): the eyes are level within 45 degrees, the right eye to the left."""
    across, down = (landmarks[:, LEFT_EYE] - landmarks[:, RIGHT_EYE])[:, :2].T
    upright: np.ndarray = across > np.abs(down)
    return upright
