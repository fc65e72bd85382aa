"""Find the quarter turn that makes the faces of a recording upright, from a sample of its frames.

A file without rotation metadata may be stored turned. The detector and the mesh find few faces in it, or none.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from engine.faces.landmarker import LEFT_EYE, RIGHT_EYE, FaceNets
from engine.types import Frame

MAX_SAMPLE = 16  # frames kept
FIRST_STEP = 10  # frames between those kept first
MAX_PX = 720  # of the longer side
MIN_SHARE = 0.5  # of the sampled frames that show an upright face after the turn
MIN_GAIN = 1.5  # against the frames that show one before
MIN_PRESENCE = 0.5  # of the mesh
TURNS = (0, 180, 90, 270)  # degrees clockwise, the likeliest first


class FrameSample:
    """At most `MAX_SAMPLE` frames of a clip, evenly spaced and downscaled, taken while it streams."""

    def __init__(self) -> None:
        self.images: list[np.ndarray] = []
        self._step = FIRST_STEP

    def take(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Yield all frames, and keep some."""
        for frame in frames:
            if frame.index % self._step == 0:
                self.images.append(_shrink(frame.image))
            if len(self.images) > MAX_SAMPLE:
                self.images = self.images[::2]
                self._step *= 2
            yield frame


def _shrink(image: np.ndarray) -> np.ndarray:
    scale = min(1.0, MAX_PX / max(image.shape[:2]))
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image.copy()


def turn_image(image: np.ndarray, degrees: int) -> np.ndarray:
    """Turn an image (H, W, 3) clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(image, -degrees // 90))


def turn_frames(frames: Iterator[Frame], degrees: int) -> Iterator[Frame]:
    """Turn each frame clockwise by a multiple of 90 degrees."""
    return (Frame(frame.index, turn_image(frame.image, degrees), frame.is_new) for frame in frames)


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
