"""Plan the crops of the second pass over a clip: mouths for AV-HuBERT, aligned faces for the speaking style.

A plan keeps transforms and the requested points only, so that a long clip need not hold all its landmarks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.faces.face_crops import AlignedFaces, CropPlan, place_points, plan_faces
from engine.faces.mouth_crops import CROP, cut_mouth, interpolate_landmarks, place_mouths, stable_points
from engine.features.records import ClipFeatures, FaceFeatures
from engine.types import FPS, FaceTrack

MAX_FRAMES = 50 * FPS  # of video and of audio


def choose_first_face(tracks: Sequence[FaceFeatures], n_frames: int) -> np.ndarray:
    """Return (n_frames,) int: the track that is the first face of each frame, -1 where no face is visible."""
    chosen = np.full(n_frames, -1)
    for number in sorted(range(len(tracks)), key=lambda i: tracks[i].face_px * int(tracks[i].seen.sum())):
        track = tracks[number]
        chosen[track.start : track.end][track.seen] = number  # overwrites smaller faces
    return chosen


def join_rows(chosen: np.ndarray, starts: Sequence[int], rows: Sequence[np.ndarray]) -> np.ndarray:
    """Join the rows of the tracks, (T, ...) float64, interpolated linearly where no face is chosen.

    `chosen` (T,) of `choose_first_face` contains at least one face; `rows` holds one (T_i, ...) array per track, with
    row 0 at frame `starts[i]`.
    """
    joined = np.full((len(chosen), *rows[0].shape[1:]), np.nan)
    for number, (start, own) in enumerate(zip(starts, rows, strict=True)):
        frames = np.flatnonzero(chosen == number)
        joined[frames] = own[frames - start]
    return interpolate_landmarks(joined.reshape(len(chosen), -1, 1)).reshape(joined.shape)


@dataclass(frozen=True, slots=True, eq=False)
class PlannedCrops:
    """Crop plans of one clip; empty if it shows no face."""

    mouths: tuple[CropPlan, ...]  # of each face, then of the first face through the whole clip
    faces: tuple[CropPlan, ...]  # of each face
    points: tuple[np.ndarray, ...]  # (T, 108, 2) float32 of each face in its crops

    @property
    def plans(self) -> tuple[CropPlan, ...]:
        """All plans of the pass, mouths first."""
        return (*self.mouths, *self.faces)


def plan_crops(tracks: Sequence[FaceTrack], features: ClipFeatures, mouths: bool, faces: bool) -> PlannedCrops:
    """Plan the crops of the tracks that `features` came from."""
    plans = [(track, plan_faces(track)) for track in tracks if faces]
    points = tuple(place_points(track.landmarks, plan.transforms) for track, plan in plans)
    return PlannedCrops(
        tuple(_plan_mouths(tracks, features)) if mouths else (), tuple(plan for _, plan in plans), points
    )


def add_crops(features: ClipFeatures, planned: PlannedCrops, crops: Sequence[np.ndarray]) -> ClipFeatures:
    """Add the crops of `planned.plans` to the features they were planned for."""
    mouths, pictures = crops[: len(planned.mouths)], crops[len(planned.mouths) :]
    tracks = features.tracks
    if mouths:
        *own, first = mouths
        tracks = tuple(replace(track, mouths=crop) for track, crop in zip(tracks, own, strict=True))
        features = replace(features, first_mouths=first)
    if pictures:
        faces = [AlignedFaces(*pair) for pair in zip(pictures, planned.points, strict=True)]
        tracks = tuple(replace(track, faces=face) for track, face in zip(tracks, faces, strict=True))
    return replace(features, tracks=tracks)


def _plan_mouths(tracks: Sequence[FaceTrack], features: ClipFeatures) -> list[CropPlan]:
    """Plan the mouth of each face, then of the first face through the whole clip; empty without faces."""
    if not tracks:
        return []
    points = [stable_points(track.landmarks) for track in tracks]
    plans = [_plan_mouth(track.start, place_mouths(own)) for track, own in zip(tracks, points, strict=True)]
    chosen = choose_first_face(features.tracks, features.n_frames)
    first = place_mouths(join_rows(chosen, [track.start for track in tracks], points))
    return [*plans, _plan_mouth(0, first[:MAX_FRAMES])]


def _plan_mouth(start: int, transforms: np.ndarray) -> CropPlan:
    return CropPlan(start, transforms, (CROP, CROP), cut_mouth)
