"""Mouths cut out upright, at one size and in one place, as AV-HuBERT and SpeechForensics read them.

Method: `align_mouth.py` of facebookresearch/av_hubert (from mpc001/Lipreading_using_Temporal_Convolutional_Networks),
whose crops SpeechForensics feeds to its network. Five points of the face, averaged over this and the next eleven
frames, give a similarity transform to a mean face on 256 x 256 pixels; 96 x 96 are cut around the transformed mouth.
The landmarks of a track are known before its frames are read again, so one frame is held at a time.

Landmarks are those of iBUG's 68 points. From the 478-point mesh they are taken as `MESH_POINTS` says.
"""

import itertools
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from engine.types import FaceTrack, Frame, MouthCrops

STABLE_POINTS = (33, 36, 39, 42, 45)  # base of the nose; right eye outer, inner; left eye inner, outer corner
LIP_POINTS = tuple(range(48, 68))
SUBSET = STABLE_POINTS + LIP_POINTS
"""The 25 of the 68 points that are used, in the order of `stable_points`."""

# The same places on MediaPipe's face mesh. Base of the nose and eye corners are single vertices there. The lips have
# more vertices than iBUG's points; every point takes the nearest one along its contour (only their mean is used).
# fmt: off
MESH_POINTS = (
    2, 33, 133, 362, 263,
    61, 40, 37, 0, 267, 270, 291,  # 48-54: outer contour, upper lip, from the right corner to the left
    321, 314, 17, 84, 91,          # 55-59: outer contour, lower lip, back
    78, 81, 13, 311, 308,          # 60-64: inner contour, upper lip
    402, 14, 178,                  # 65-67: inner contour, lower lip, back
)
# fmt: on

# Where STABLE_POINTS lie on the mean face (`20words_mean_face.npy` of the method), pixels of the 256 x 256 square.
MEAN_FACE = np.array(
    [(128.87018, 137.30253), (92.52246, 94.36876), (112.77242, 94.94361), (145.52512, 94.535), (166.6771, 93.56562)]
)
SQUARE = 256
CROP = 96
LOOK_AHEAD = 12  # frames whose landmarks are averaged, this one included

AVHUBERT_CROP = 88
AVHUBERT_MEAN, AVHUBERT_DEVIATION = 0.421, 0.165


def crop_mouths(frames: Iterable[Frame], track: FaceTrack) -> MouthCrops:
    """Cut the mouth of `track` out of the frames of its clip.

    `frames` are read from wherever they begin up to the end of the track; ValueError if some of the track are missing.
    """
    shot = itertools.takewhile(lambda frame: frame.index < track.end, frames)
    images = (frame.image for frame in shot if frame.index >= track.start)
    crops = np.empty((track.end - track.start, CROP, CROP), np.uint8)
    for row, crop in enumerate(_cut_mouths(images, stable_points(track.landmarks))):
        crops[row] = crop
    return MouthCrops(track.start, crops)


def stable_points(landmarks: np.ndarray) -> np.ndarray:
    """Take the points of `SUBSET` from mesh landmarks: (T, 478, 3) pixels to (T, 25, 2) float64 pixels."""
    return landmarks[:, MESH_POINTS, :2].astype(np.float64)


def align_mouths(frames: Iterable[np.ndarray], landmarks68: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a (96, 96) uint8 grey mouth for each (H, W, 3) uint8 RGB frame.

    `landmarks68` is (T, 68, 2) in pixels, a row of NaN where no face was found; ValueError if frames and rows differ
    in number or no row is known.
    """
    return _cut_mouths(frames, interpolate_landmarks(landmarks68)[:, SUBSET])


def interpolate_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Fill rows that hold NaN: linear in time between known rows, the nearest known row at the ends.

    (T, P, 2) to (T, P, 2) float64; ValueError if no row is known.
    """
    known = np.flatnonzero(np.isfinite(landmarks).all(axis=(1, 2)))
    if len(known) == 0:
        raise ValueError(f"none of {len(landmarks)} rows of landmarks is finite, wanted at least one")
    times = np.arange(len(landmarks))
    columns = landmarks[known].reshape(len(known), -1).T
    filled = np.stack([np.interp(times, known, column) for column in columns], axis=1)
    return filled.reshape(landmarks.shape)


def normalise_for_avhubert(crops: np.ndarray) -> np.ndarray:
    """AV-HuBERT's video input: (T, 96, 96) uint8 to (T, 88, 88) float32, the middle, centred on its training mean."""
    margin = (CROP - AVHUBERT_CROP) // 2
    middle = crops[:, margin : margin + AVHUBERT_CROP, margin : margin + AVHUBERT_CROP].astype(np.float32)
    return (middle / 255 - np.float32(AVHUBERT_MEAN)) / np.float32(AVHUBERT_DEVIATION)


def place_mouths(points: np.ndarray) -> np.ndarray:
    """Where each frame's mouth is: `points` (T, 25, 2) of `SUBSET`, no gaps, to transforms (T, 2, 3) onto the crop."""
    similarities = align_to_mean_face(_average_ahead(points[:, : len(STABLE_POINTS)]))  # (T, 2, 3)
    mouths = points[:, len(STABLE_POINTS) :].mean(axis=1)  # (T, 2), of this frame alone
    centres = np.einsum("tij,tj->ti", similarities[:, :, :2], mouths) + similarities[:, :, 2]
    # Near the border of the square the window is moved inside it, as in the reference, and the mouth is off its middle.
    corners = np.rint(np.clip(centres, CROP // 2, SQUARE - CROP // 2)) - CROP // 2
    similarities[:, :, 2] -= corners
    return similarities


def cut_mouth(image: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Cut one mouth: (H, W, 3) uint8 RGB and a (2, 3) of `place_mouths` to (96, 96) uint8 grey."""
    return cv2.cvtColor(cv2.warpAffine(image, transform, (CROP, CROP)), cv2.COLOR_RGB2GRAY)


def align_to_mean_face(points: np.ndarray) -> np.ndarray:
    """Least-squares similarity transforms of the stable points to the mean face, (T, 5, 2) to (T, 2, 3).

    Umeyama 1991 in the plane: with points as complex numbers it is the regression `target = a * point + b`.
    """
    source, target = points @ (1, 1j), MEAN_FACE @ (1, 1j)  # (T, 5), (5,)
    centre = source.mean(axis=1, keepdims=True)
    spread = source - centre
    a = (spread.conj() @ (target - target.mean())) / np.square(np.abs(spread)).sum(axis=1)
    b = target.mean() - a * centre[:, 0]
    return np.stack([np.stack([a.real, -a.imag, b.real], -1), np.stack([a.imag, a.real, b.imag], -1)], axis=1)


def _cut_mouths(images: Iterable[np.ndarray], points: np.ndarray) -> Iterator[np.ndarray]:
    """Cut one mouth per image; `points` (T, 25, 2) are without gaps."""
    transforms, found = place_mouths(points), 0
    for found, image in enumerate(images, 1):
        if found > len(transforms):
            break
        yield cut_mouth(image, transforms[found - 1])
    if found != len(transforms):
        excess = " or more" if found > len(transforms) else ""
        raise ValueError(f"found {found}{excess} frames, wanted one for each of {len(transforms)} rows of landmarks")


def _average_ahead(points: np.ndarray) -> np.ndarray:
    """Mean of each row and the next 11; the last 11 rows reuse the last full mean. (T, P, 2) to the same."""
    span = min(LOOK_AHEAD, len(points))
    means = np.lib.stride_tricks.sliding_window_view(points, span, axis=0).mean(axis=-1)  # (T - span + 1, P, 2)
    return np.concatenate([means, np.repeat(means[-1:], span - 1, axis=0)])
