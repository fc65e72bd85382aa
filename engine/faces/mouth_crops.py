"""Aligned mouth crops as AV-HuBERT and SpeechForensics read them.

Method: `align_mouth.py` of facebookresearch/av_hubert (from mpc001/Lipreading_using_Temporal_Convolutional_Networks),
which SpeechForensics uses too. Five points of the face, averaged over this and the next eleven frames, define a
similarity transform to a mean face on 256 x 256 pixels; the crop is 96 x 96 around the transformed mouth. Landmarks are
known before the second pass over the frames, so one frame is held at a time.

The method uses iBUG's 68 landmarks; `MESH_POINTS` maps them to the 478-point mesh.
"""

import itertools
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from engine.types import FaceTrack, Frame, MouthCrops

STABLE_POINTS = (33, 36, 39, 42, 45)  # base of the nose; right eye outer, inner; left eye inner, outer corner
LIP_POINTS = tuple(range(48, 68))
SUBSET = STABLE_POINTS + LIP_POINTS
"""The 25 used of the 68 points, in the order of `stable_points`."""

# The same points on MediaPipe's face mesh. Base of the nose and eye corners are single vertices. The lips have more
# vertices than iBUG has points; each point takes the nearest vertex along its contour (only their mean is used).
# fmt: off
MESH_POINTS = (
    2, 33, 133, 362, 263,
    61, 40, 37, 0, 267, 270, 291,  # 48-54: outer contour, upper lip, from the right corner to the left
    321, 314, 17, 84, 91,          # 55-59: outer contour, lower lip, back
    78, 81, 13, 311, 308,          # 60-64: inner contour, upper lip
    402, 14, 178,                  # 65-67: inner contour, lower lip, back
)
# fmt: on

# STABLE_POINTS on the mean face (`20words_mean_face.npy` of the method), pixels of the 256 x 256 square.
MEAN_FACE = np.array(
    [(128.87018, 137.30253), (92.52246, 94.36876), (112.77242, 94.94361), (145.52512, 94.535), (166.6771, 93.56562)]
)
SQUARE = 256
CROP = 96
LOOK_AHEAD = 12  # frames in the average of landmarks, this one included

AVHUBERT_CROP = 88
AVHUBERT_MEAN, AVHUBERT_DEVIATION = 0.421, 0.165


def crop_mouths(frames: Iterable[Frame], track: FaceTrack) -> MouthCrops:
    """Crop the mouth of `track` from the frames of its clip.

    `frames` may begin anywhere and are read up to the end of the track; ValueError if frames of the track are missing.
    """
    shot = itertools.takewhile(lambda frame: frame.index < track.end, frames)
    images = (frame.image for frame in shot if frame.index >= track.start)
    crops = np.empty((track.end - track.start, CROP, CROP), np.uint8)
    for row, crop in enumerate(_cut_mouths(images, stable_points(track.landmarks))):
        crops[row] = crop
    return MouthCrops(track.start, crops)


def stable_points(landmarks: np.ndarray) -> np.ndarray:
    """Return the points of `SUBSET` from mesh landmarks: (T, 478, 3) pixels to (T, 25, 2) float64 pixels."""
    return landmarks[:, MESH_POINTS, :2].astype(np.float64)


def interpolate_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Fill rows with NaN: linear in time between finite rows, the nearest finite row at the ends.

    (T, P, 2) to (T, P, 2) float64; ValueError if no row is finite.
    """
    known = np.flatnonzero(np.isfinite(landmarks).all(axis=(1, 2)))
    if len(known) == 0:
        raise ValueError(f"none of {len(landmarks)} rows of landmarks is finite, wanted at least one")
    times = np.arange(len(landmarks))
    columns = landmarks[known].reshape(len(known), -1).T
    filled = np.stack([np.interp(times, known, column) for column in columns], axis=1)
    return filled.reshape(landmarks.shape)


def normalise_for_avhubert(crops: np.ndarray) -> np.ndarray:
    """Convert crops (T, 96, 96) uint8 to AV-HuBERT video input (T, 88, 88) float32: centre crop, standardised."""
    margin = (CROP - AVHUBERT_CROP) // 2
    middle = crops[:, margin : margin + AVHUBERT_CROP, margin : margin + AVHUBERT_CROP].astype(np.float32)
    return (middle / 255 - np.float32(AVHUBERT_MEAN)) / np.float32(AVHUBERT_DEVIATION)


def place_mouths(points: np.ndarray) -> np.ndarray:
    """Return transforms (T, 2, 3) onto the crop for `points` (T, 25, 2) of `SUBSET` without gaps."""
    similarities = align_to_mean_face(_average_ahead(points[:, : len(STABLE_POINTS)]))  # (T, 2, 3)
    mouths = points[:, len(STABLE_POINTS) :].mean(axis=1)  # (T, 2), of this frame alone
    centres = np.einsum("tij,tj->ti", similarities[:, :, :2], mouths) + similarities[:, :, 2]
    # Near the border of the square the window is moved inside, as in the reference, and the mouth is off centre.
    corners = np.rint(np.clip(centres, CROP // 2, SQUARE - CROP // 2)) - CROP // 2
    similarities[:, :, 2] -= corners
    return similarities


def cut_mouth(image: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Crop one mouth: (H, W, 3) uint8 RGB and a (2, 3) of `place_mouths` to (96, 96) uint8 grey."""
    return cv2.cvtColor(cv2.warpAffine(image, transform, (CROP, CROP)), cv2.COLOR_RGB2GRAY)


def align_to_mean_face(points: np.ndarray) -> np.ndarray:
    """Estimate least-squares similarity transforms of stable points (T, 5, 2) to the mean face, (T, 2, 3).

    Umeyama 1991 in the plane: with points as complex numbers it is the regression `target = a * point + b`.
    """
    source, target = points @ (1, 1j), MEAN_FACE @ (1, 1j)  # (T, 5), (5,)
    centre = source.mean(axis=1, keepdims=True)
    spread = source - centre
    a = (spread.conj() @ (target - target.mean())) / np.square(np.abs(spread)).sum(axis=1)
    b = target.mean() - a * centre[:, 0]
    return np.stack([np.stack([a.real, -a.imag, b.real], -1), np.stack([a.imag, a.real, b.imag], -1)], axis=1)


def _cut_mouths(images: Iterable[np.ndarray], points: np.ndarray) -> Iterator[np.ndarray]:
    """Crop one mouth per image; `points` (T, 25, 2) have no gaps."""
    transforms, found = place_mouths(points), 0
    for found, image in enumerate(images, 1):
        if found > len(transforms):
            break
        yield cut_mouth(image, transforms[found - 1])
    if found != len(transforms):
        excess = " or more" if found > len(transforms) else ""
        raise ValueError(f"found {found}{excess} frames, wanted one for each of {len(transforms)} rows of landmarks")


def _average_ahead(points: np.ndarray) -> np.ndarray:
    """Average each row with the next 11, (T, P, 2) to (T, P, 2); the last 11 rows reuse the last full mean."""
    span = min(LOOK_AHEAD, len(points))
    means = np.lib.stride_tricks.sliding_window_view(points, span, axis=0).mean(axis=-1)  # (T - span + 1, P, 2)
    return np.concatenate([means, np.repeat(means[-1:], span - 1, axis=0)])
