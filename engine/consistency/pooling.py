"""Pool the tracks of one face that cuts or turns of the head split: all frame pairs at one common offset.

The score of three pooled pieces of 2 s is calibrated like that of 6 s (docs/calibration.md).
"""

from collections.abc import Sequence

import numpy as np

from engine.faces.landmark_features import CHIN, LIPS
from engine.features.records import ClipFeatures, FaceFeatures, FaceQuality, measure_track

N_SHAPE = 2 * len(LIPS + CHIN)  # columns of the points in the lip features
MAX_SHAPE = 0.018  # RMS distance of mean shapes; 1 in 100 pairs of two people: nearer, 2 in 3 halves of one take too
MIN_SEEN = 25  # frames for a mean shape, and for a score


def link_tracks(faces: Sequence[FaceFeatures], same_as: Sequence[int | None]) -> tuple[tuple[int, ...], ...]:
    """Return the numbers of two and more tracks taken for one face: never seen together, with one shape of the mouth.

    Each track joins the nearest group within MAX_SHAPE. A face shown twice counts once.
    """
    groups: list[list[int]] = []
    shapes = [_measure_shape(face) for face in faces]
    for number, face in enumerate(faces):
        if same_as[number] is not None or face.clear.sum() < MIN_SEEN:
            continue
        near = [
            (np.mean([_distance(shapes[number], shapes[one]) for one in group]), group)
            for group in groups
            if all(_is_apart(face, faces[one]) for one in group)
        ]
        distance, nearest = min(near, key=lambda one: one[0], default=(np.inf, []))
        if distance <= MAX_SHAPE:
            nearest.append(number)
        else:
            groups.append([number])
    return tuple(tuple(group) for group in groups if len(group) > 1)


def pool_quality(features: ClipFeatures, faces: Sequence[FaceFeatures]) -> FaceQuality:
    """Measure what the gates of one face check, over several tracks: sums of seconds, and the worst of the rest."""
    found = [measure_track(features, face) for face in faces]
    gap = _pool_gap(features, faces)
    return FaceQuality(
        length_s=sum(one.length_s for one in found),
        speech_s=sum(one.speech_s for one in found),
        mouth_seen=min(one.mouth_seen for one in found),
        face_px=min(one.face_px for one in found),
        mouth_motion=float(gap.std()) if len(gap) else 0.0,
        covered_s=sum(one.covered_s for one in found),
        frozen_s=sum(one.frozen_s for one in found),
    )


def _pool_gap(features: ClipFeatures, faces: Sequence[FaceFeatures]) -> np.ndarray:
    """Return the lip gap (N,) of the frames with speech of all tracks, each less its mean."""
    parts = [face.gap[face.clear & features.audio.voiced[face.start : face.end]] for face in faces]
    return np.concatenate([part - part.mean() for part in parts if len(part)] or [np.zeros(0, np.float32)])


def _measure_shape(face: FaceFeatures) -> np.ndarray:
    seen = face.clear if face.clear.any() else np.ones(len(face.clear), bool)
    shape: np.ndarray = face.lips[seen][:, :N_SHAPE].mean(axis=0)
    return shape


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2)))


def _is_apart(one: FaceFeatures, other: FaceFeatures) -> bool:
    (_, end), (start, _) = sorted([(one.start, one.end), (other.start, other.end)])
    return end <= start
