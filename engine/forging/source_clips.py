"""Source clips of forgeries: main face at the native frame rate, audio, shape at rest and motion.

Shape and motion are in head axes, in units of the outer eye distance, so that the motion of one face fits the shape of
another.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from engine.datasets.manifest import Row
from engine.errors import NotForgeable
from engine.faces.landmark_features import HeadPoses, find_poses
from engine.faces.landmarker import BLENDSHAPES, FaceNets
from engine.faces.tracking import track_faces
from engine.forging.audio import SpeechClip
from engine.media.clip import SourceRateFrames, open_at_source_rate, open_clip, read_ahead
from engine.settings import MediaLimits
from engine.synthesis.portrait import LOWER_LIDS, N_MESH, OVAL, UPPER_LIDS, Portrait
from engine.types import SAMPLE_RATE, SAMPLES_PER_FRAME, FaceTrack, Frame

N_NEUTRAL = 15  # frames in the median shape at rest
_FINE = 200.0  # pixels per eye distance for closing the lips, a method for images
_MOUTH_SHAPES = ("jawOpen", "mouthFunnel", "mouthPucker", "mouthSmileLeft", "mouthSmileRight", "mouthPressLeft")
_LID_SHAPES = ("eyeBlinkLeft", "eyeBlinkRight")


@dataclass(frozen=True, slots=True, eq=False)
class FaceShape:
    """Face at rest: lips just closed, eyes open."""

    points: np.ndarray  # (468, 3) float64, head axes, eye distances
    lids: np.ndarray  # (14, 3): from each point of the lower lids to its partner above

    def move(self, deform: np.ndarray, lids: np.ndarray) -> np.ndarray:
        """(468, 3): the face displaced by (468, 3), its eyes open to shares (14,) of their width at rest."""
        moved = self.points + deform
        moved[UPPER_LIDS] = moved[LOWER_LIDS] + self.lids * lids[:, None]
        return moved


@dataclass(frozen=True)  # not slotted: what follows from the fields is kept
class HeadMotion:
    """Motion of head and face, one row per frame."""

    deform: np.ndarray  # (T, 468, 3): displacement from the shape at rest, head axes, eye distances
    lids: np.ndarray  # (T, 14): 0 shut, 1 as open as at rest
    turn: np.ndarray  # (T, 3) rotation vectors in the picture's axes, radians, about the mean pose
    shift: np.ndarray  # (T, 2) eye distances, in the picture, from the mean place
    size: np.ndarray  # (T,) over the mean size

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.size)

    @cached_property
    def linear(self) -> np.ndarray:
        """(T, 3, 3): turn and size as right-hand factors of points."""
        return Rotation.from_rotvec(self.turn).as_matrix() * self.size[:, None, None]

    def weigh(self, weights: np.ndarray) -> "HeadMotion":
        """Return weighted means (S, T) of the rows: slowed, smoothed or reordered motion."""
        fields = (self.deform, self.lids, self.turn, self.shift, self.size)
        return HeadMotion(*(np.tensordot(weights, field, axes=1) for field in fields))


def measure_deviation(track: FaceTrack, poses: HeadPoses) -> np.ndarray:
    """(T,) deviation from a frontal face at rest with open eyes (0); 1 is a turn of 15 degrees or half a blink."""
    mouth, lids = (
        track.blendshapes[:, [BLENDSHAPES.index(name) for name in names]].astype(np.float64)
        for names in (_MOUTH_SHAPES, _LID_SHAPES)
    )
    unrest: np.ndarray = measure_turn(poses) / 15 + mouth.sum(1) + 2 * lids.mean(1) + 100 * ~track.seen
    return unrest


def measure_turn(poses: HeadPoses) -> np.ndarray:
    """(T,) degrees between the line of sight and the facing direction."""
    turned: np.ndarray = np.degrees(np.arccos(np.clip(poses.rotation[:, 2, 2], -1, 1)))
    return turned


def find_shape(aligned: np.ndarray) -> FaceShape:
    """Shape at rest of neutral frames (K, 478, 3) in head axes: the median with closed lips."""
    median = np.median(aligned, axis=0)
    closed = Portrait(np.zeros((1, 1, 3), np.uint8), median * _FINE).rest / _FINE
    points = np.column_stack([closed, median[:N_MESH, 2]])
    return FaceShape(points, points[UPPER_LIDS] - points[LOWER_LIDS])


def measure_motion(landmarks: np.ndarray, shape: FaceShape) -> HeadMotion:
    """Motion of landmarks (T, 478, 3) in pixels away from a shape at rest."""
    poses = find_poses(landmarks)
    aligned = poses.align(landmarks)[:, :N_MESH]
    to_picture = Rotation.from_matrix(poses.rotation.transpose(0, 2, 1))  # head axes to the picture's, from the right
    turn = Rotation.from_matrix(
        np.einsum("ij,tjk->tik", to_picture.mean().as_matrix().T, to_picture.as_matrix())
    ).as_rotvec()
    eye_px = 1 / poses.scale
    centre = poses.centre[:, 0, :2]
    return HeadMotion(
        deform=aligned - shape.points,
        lids=_measure_lids(aligned, shape),
        turn=turn,
        shift=(centre - centre.mean(0)) / eye_px.mean(),
        size=eye_px / eye_px.mean(),
    )


def _measure_lids(aligned: np.ndarray, shape: FaceShape) -> np.ndarray:
    """(T, 14): how far each lid is open, over how far it is at rest, along the opening at rest."""
    opening = aligned[:, UPPER_LIDS] - aligned[:, LOWER_LIDS]
    widths = np.maximum(np.square(shape.lids).sum(1), 1e-6)
    return np.clip((opening * shape.lids).sum(2) / widths, 0.0, 1.5)


MIN_S, MAX_S = 1.0, 60.0  # longer faces are cut
MIN_SEEN = 0.9  # of its frames
MIN_FACE_PX = 40.0  # width
MIN_LENT_PX, MAX_UNREST = 60.0, 2.4  # of a source face
MAX_TURN_DEG = 35.0  # median of a face that is rendered or used as a source
SMOOTH_FRAMES = 0.5  # deviation of a Gaussian: reduces tracker jitter, keeps closures and blinks


@dataclass(frozen=True)  # not slotted: what follows from the fields is kept
class SourceClip:
    """Segment of a clip with its main face."""

    row: Row
    size_px: tuple[int, int]
    rate: Fraction  # pictures a second
    pictures: SourceRateFrames
    track: FaceTrack  # of the main face, at most MAX_S long
    faces: tuple[FaceTrack, ...]  # all of the clip
    sound: SpeechClip | None  # of the span; None: the clip has none in it

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.track.boxes)

    @property
    def seconds(self) -> float:
        """Length of the span."""
        return float(len(self) / self.rate)

    @cached_property
    def landmarks(self) -> np.ndarray:
        """(T, 478, 3) float64, pixels, smoothed lightly in time."""
        return smooth(self.track.landmarks)

    @cached_property
    def poses(self) -> HeadPoses:
        """Head pose in each frame."""
        return find_poses(self.landmarks)

    @cached_property
    def unrest(self) -> np.ndarray:
        """(T,) deviation from a frontal face at rest with open eyes."""
        return measure_deviation(self.track, self.poses)

    @cached_property
    def neutral(self) -> np.ndarray:
        """(T,) frame numbers, the most frontal and neutral first."""
        return np.argsort(self.unrest, kind="stable")

    @cached_property
    def shape(self) -> FaceShape:
        """Face at rest."""
        return find_shape(self.poses.align(self.landmarks)[self.neutral[:N_NEUTRAL]])

    @cached_property
    def motion(self) -> HeadMotion:
        """Motion of head and face."""
        return measure_motion(self.landmarks, self.shape)

    @cached_property
    def still(self) -> Portrait:
        """The most frontal and neutral frame with its landmarks."""
        best = int(self.neutral[0])
        image = next(image for number, image in enumerate(self.read_images()) if number == best)
        return Portrait(image, self.landmarks[best].astype(np.float32))

    def read_frames(self) -> Iterator[Frame]:
        """Stream the frames of the segment, numbered as in the clip; each call restarts."""
        for frame in read_ahead(self.pictures.read_frames()):
            if frame.index >= self.track.end:
                return
            if frame.index >= self.track.start:
                yield frame

    def read_images(self) -> Iterator[np.ndarray]:
        """Stream the images of the segment, (H, W, 3) uint8 RGB, read-only."""
        for frame in self.read_frames():
            yield frame.image

    def outline_faces(self) -> list[np.ndarray]:
        """(36, 2) pixels: outline of every face in every frame of the segment."""
        return [
            points[OVAL, :2]
            for face in self.faces
            for row, points in enumerate(face.landmarks, start=face.start)
            if self.track.start <= row < self.track.end
        ]

    def check_frontal(self) -> None:
        """Raise NotForgeable for too large a head turn."""
        turned = float(np.median(measure_turn(self.poses)))
        if turned > MAX_TURN_DEG:
            raise NotForgeable(
                f"The face of {self.row.written} is turned away by {turned:.0f} degrees; "
                f"at most {MAX_TURN_DEG:.0f} can be drawn.",
                "Use a clip that shows the face from the front.",
            )


def check_donor(source: SourceClip) -> None:
    """Raise NotForgeable where no frame is good enough for a source face."""
    source.check_frontal()
    width = float(np.median(source.track.boxes[:, 2] - source.track.boxes[:, 0]))
    if width < MIN_LENT_PX:
        raise NotForgeable(f"The face of {source.row.written} is {width:.0f} pixels wide, too small for a donor.")
    if source.unrest.min() > MAX_UNREST:
        raise NotForgeable(f"No frame of {source.row.written} shows the face from the front, at rest, its eyes open.")


def load_source_clip(row: Row, nets: FaceNets, limits: MediaLimits | None = None) -> SourceClip:
    """Load a clip with its main face; NotForgeable without a usable face, EngineError for an unusable file."""
    limits = limits or MediaLimits()
    clip, pictures = open_clip(row.path, limits), open_at_source_rate(row.path, limits)
    faces = track_faces(read_ahead(pictures.read_frames()), nets).tracks
    if not faces:
        raise NotForgeable(f"No face is seen in {row.written}.", "Use a clip that shows one from the front.")
    track = max((_cut(face, pictures.rate) for face in faces), key=_weigh)
    _check_track(track, pictures.rate, row)
    sound = None
    if clip.has_audio:
        present = np.repeat(clip.audio_present, SAMPLES_PER_FRAME)
        first, length = (round(count / pictures.rate * SAMPLE_RATE) for count in (track.start, len(track.boxes)))
        sound = SpeechClip(clip.audio, present).cut(first, length)
    return SourceClip(row, clip.size_px, pictures.rate, pictures, track, faces, sound)


def smooth(landmarks: np.ndarray) -> np.ndarray:
    """(T, 478, 3) float64: smoothed with a tenth of the neighbouring frames."""
    return gaussian_filter1d(landmarks.astype(np.float64), SMOOTH_FRAMES, axis=0, mode="nearest")


def _cut(track: FaceTrack, rate: Fraction) -> FaceTrack:
    length = min(len(track.boxes), int(MAX_S * rate))
    return FaceTrack(
        track.start,
        track.boxes[:length],
        track.landmarks[:length],
        track.blendshapes[:length],
        track.seen[:length],
        track.thumbnail,
    )


def _weigh(track: FaceTrack) -> float:
    """Weight of a face: sum of its widths over time."""
    return float((track.boxes[:, 2] - track.boxes[:, 0]).sum())


def _check_track(track: FaceTrack, rate: Fraction, row: Row) -> None:
    seconds, seen = float(len(track.boxes) / rate), float(track.seen.mean())
    width = float(np.median(track.boxes[:, 2] - track.boxes[:, 0]))
    if seconds < MIN_S:
        raise NotForgeable(f"A face is seen in {row.written} for {seconds:.2f} s; at least {MIN_S:g} s are needed.")
    if seen < MIN_SEEN:
        raise NotForgeable(f"The face of {row.written} is hidden in {1 - seen:.0%} of its frames.")
    if width < MIN_FACE_PX:
        raise NotForgeable(
            f"The face of {row.written} is {width:.0f} pixels wide; at least {MIN_FACE_PX:g} are needed."
        )
