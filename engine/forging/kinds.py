"""Kinds of manipulation, their labels, and the plan of a forgery."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import numpy as np

from engine.datasets.manifest import Row
from engine.errors import NotForgeable
from engine.forging.audio import SpeechClip
from engine.forging.source_clips import SourceClip


class Kind(StrEnum):
    """Manipulation or control of a clip."""

    FACE_SWAP = "face-swap"
    REENACTMENT = "reenactment"
    MOUTH_SWAP = "mouth-swap"
    AUDIO_SWAP = "audio-swap"
    TIME_SHIFT = "time-shift"
    VOICE_OVER = "voice-over"
    PARTIAL_FACE = "partial-face"
    PARTIAL_AUDIO = "partial-audio"
    EDIT_OTHER = "edit-other"
    EDIT_SAME = "edit-same"
    EDIT_SYNTHETIC = "edit-synthetic"
    UNTOUCHED = "untouched"
    FROZEN = "frozen"
    SHUFFLED = "shuffled"
    REVERSED = "reversed"
    FASTER = "faster"
    SLOWER = "slower"
    RERENDERED = "rerendered"
    SMOOTHED = "smoothed"
    SMOOTH_WARP = "smooth-warp"
    SMOOTH_SEGMENTS = "smooth-segments"
    SMOOTH_WALK = "smooth-walk"


CONTROLS = tuple(Kind)[tuple(Kind).index(Kind.UNTOUCHED) :]
FORGERIES = tuple(kind for kind in Kind if kind not in CONTROLS)
LABELS = dict.fromkeys(CONTROLS, "control") | dict.fromkeys(FORGERIES, "fake")
EDITS = (Kind.EDIT_OTHER, Kind.EDIT_SAME, Kind.EDIT_SYNTHETIC)
LABELS |= dict.fromkeys((Kind.AUDIO_SWAP, Kind.VOICE_OVER, Kind.PARTIAL_AUDIO, *EDITS), "fake-audio")
LABELS[Kind.TIME_SHIFT] = "desync"
NEED_VOICE = (Kind.AUDIO_SWAP, Kind.PARTIAL_AUDIO, Kind.EDIT_OTHER)


@dataclass(frozen=True, slots=True, eq=False)
class Forgery:
    """Plan of a forged clip, ready to render, with its labels."""

    kind: Kind
    driver: Row  # source of the motion
    face: Row  # source of the face
    voice: str  # speaker of the audio; empty: no audio
    size_px: tuple[int, int]
    rate: Fraction
    outlines: list[np.ndarray]  # (P, 2) pixels of every face in every frame, kept clear of the mark
    draw: Callable[[], Iterator[np.ndarray]]  # (H, W, 3) uint8 RGB frames without the mark
    sound: SpeechClip | None
    donor: Row | None = None  # donor of a face or voice
    offset_s: float | None = None  # positive: the audio is late
    edit_s: tuple[float, float] | None = None  # forged segment; None: the whole clip
    detail: str = ""  # text for the manifest


def check_other_person(one: Row, other: Row) -> None:
    """Raise NotForgeable unless two rows name different speakers."""
    for row in (one, other):
        if not row.speaker:
            raise NotForgeable(
                f"The speaker of {row.written} is unknown, so the donor could be the same person.",
                "Fill the column speaker.",
            )
    if one.person == other.person:
        raise NotForgeable(
            f"{one.written} and {other.written} are both of {one.speaker}.", "The other clip must be of another person."
        )


def describe(kind: Kind, source: SourceClip) -> Forgery:
    """Plan the clip without changes."""
    return Forgery(
        kind=kind,
        driver=source.row,
        face=source.row,
        voice=source.row.speaker if source.sound else "",
        size_px=source.size_px,
        rate=source.rate,
        outlines=source.outline_faces(),
        draw=source.read_images,
        sound=source.sound,
    )
