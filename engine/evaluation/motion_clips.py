"""Motion signatures of the clips of a manifest, their true sources, and the recordings that are none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.datasets.manifest import Row, Skipped
from engine.errors import EngineError
from engine.evaluation.measurements import ReadOptions, choose_rows, name_disk_errors
from engine.features.cache import extract_cached
from engine.features.extractor import FeatureExtractor
from engine.features.records import FaceFeatures
from engine.motion.evidence import name_recipe
from engine.motion.signature import MotionSignature, describe_signature
from engine.settings import Settings
from engine.types import FPS, OnStep

MIN_TRACK = 2 * FPS  # frames
AUDIO_DRIVEN, LIP_SYNC = "audio-driven", "lipsync"  # in the method of a clip
PICTURE_KEPT = ("fake-audio", "desync")  # labels of clips with the picture of a real recording


@dataclass(frozen=True, slots=True, eq=False)
class MotionClip:
    """The most seen face of a clip."""

    row: Row
    face: FaceFeatures
    signature: MotionSignature

    @property
    def is_recording(self) -> bool:
        """Whether the picture is as recorded, so that it can be a source."""
        return self.row.is_real or self.row.label in PICTURE_KEPT

    @property
    def owner(self) -> str:
        """Person of the motion."""
        return self.row.motion_owner or self.row.face_owner or self.row.person

    @property
    def method(self) -> str:
        """Method, or the label for a real picture with other sound."""
        return self.row.method or self.row.label


@dataclass(frozen=True, slots=True, eq=False)
class MotionClips:
    """All clips of a manifest: each one is described or skipped."""

    clips: tuple[MotionClip, ...]
    skipped: tuple[Skipped, ...]
    recipe: str


def describe_clips(
    rows: Sequence[Row],
    settings: Settings,
    reading: ReadOptions,
    on_row: OnStep = lambda step, completed, total: None,
) -> MotionClips:
    """Describe the most seen face of every row; rows that cannot be read are skipped with a reason."""
    usable, skipped = choose_rows(rows, reading.limit, lambda row: None)
    extractor = FeatureExtractor.load(settings)
    store = reading.open_cache(settings, extractor.recipe)
    found: list[MotionClip] = []
    with name_disk_errors():
        reading.decode(usable, settings, extractor.face_options, store, on_row)
        for done, row in enumerate(usable):
            on_row("describe", done, len(usable))
            try:
                tracks = extract_cached(row.path, extractor, store).tracks
            except EngineError as error:
                skipped.append(Skipped(row.written, error.message))
                continue
            face = max(tracks, key=lambda track: int(track.seen.sum()), default=None)
            if face is None or face.seen.sum() < MIN_TRACK:
                skipped.append(Skipped(row.written, "no face is seen for two seconds"))
            else:
                found.append(MotionClip(row, face, describe_signature(face)))
        on_row("describe", len(usable), len(usable))
    return MotionClips(tuple(found), tuple(skipped), name_recipe(extractor.recipe))


def find_true_sources(clips: Sequence[MotionClip]) -> dict[int, list[int]]:
    """Return the true sources of each clip that has one: indices of recordings of the same `pair`.

    A driven face or a swap has the recordings of its motion owner; where the pair has none, other results of the same
    driver stand for it. A lip-sync or other sound over a picture has the recordings of its face owner. A face that
    sound alone drives has none.
    """
    pairs: dict[str, list[int]] = {}
    for number, clip in enumerate(clips):
        if clip.row.pair:
            pairs.setdefault(clip.row.pair, []).append(number)
    found: dict[int, list[int]] = {}
    for members in pairs.values():
        for number in members:
            if clips[number].row.is_real or AUDIO_DRIVEN in clips[number].method:
                continue
            others = [one for one in members if one != number]
            sources = [one for one in others if _is_source(clips[number], clips[one])]
            if sources:
                found[number] = sources
    return found


def _is_source(made: MotionClip, other: MotionClip) -> bool:
    """Return whether `other`, of the same pair, shows the motion of `made`."""
    if not other.is_recording:
        return bool(made.row.motion_owner) and made.row.motion_owner == other.row.motion_owner and _is_driven(made)
    if _is_driven(made) and other.row.motion_owner:
        return made.row.motion_owner == other.row.motion_owner
    return not made.row.face_owner or made.row.face_owner == other.row.face_owner


def _is_driven(clip: MotionClip) -> bool:
    """Return whether the whole motion is of the motion owner: not for a lip-sync, which has the head of the picture."""
    return bool(clip.row.motion_owner) and LIP_SYNC not in clip.method and not clip.is_recording


def find_wrong(clips: Sequence[MotionClip], number: int) -> np.ndarray:
    """Return the recordings (K,) that show other motion: of another pair, sample or file than the clip."""
    clip = clips[number]
    return np.array(
        [
            i
            for i, other in enumerate(clips)
            if i != number
            and other.is_recording
            and not (clip.row.pair and clip.row.pair == other.row.pair)
            and not (clip.row.sample and clip.row.sample == other.row.sample)
        ],
        int,
    )


def cut_face(clip: MotionClip, seconds: float | None) -> MotionClip | None:
    """Return the middle of a clip; None if it is shorter, itself where `seconds` is None."""
    if seconds is None:
        return clip
    n = round(seconds * FPS)
    first = (len(clip.face.seen) - n) // 2
    if first < 0:
        return None
    rows = slice(first, first + n)
    face = take_rows(clip.face, rows, clip.face.motion[rows])
    return replace(clip, face=face, signature=describe_signature(face))


def take_rows(face: FaceFeatures, rows: slice, motion: np.ndarray) -> FaceFeatures:
    """Return some rows of a face with this motion."""
    names = ("lips", "seen", "gap", "covered", "frozen")
    cut = {name: getattr(face, name)[rows] for name in names}
    return replace(face, start=face.start + rows.start, motion=motion, mouths=None, faces=None, **cut)
