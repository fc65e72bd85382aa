"""Trials with a known answer, made from real clips: own voices, swapped voices, windows, planted offsets, a control.

Nothing is padded or stretched to make one: what must be of one length is cut to the shorter.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.consistency.offsets import find_offset
from engine.types import FPS, Encoded

Encode = Callable[[np.ndarray, np.ndarray], Encoded]
"""`encode(lips (T, ...), speech (T, S)) -> Encoded`: what takes the rows' means out and embeds them."""
Compare = Callable[[Encoded, np.ndarray], tuple[float, int] | None]
"""`compare(encoded, mask (T,) bool) -> (score, offset in frames)`; None where there is too little to compare."""

SHIFTS = tuple(range(-12, 13))  # frames
MIN_FRAMES = 25


@dataclass(frozen=True, slots=True, eq=False)
class TrialClip:
    """One face with the sound of its time."""

    name: str  # of the file; windows of one file share it
    speaker: str  # never compared with a voice of the same
    source: str
    group: str  # of clips that an interval keeps together
    lips: np.ndarray  # (T, ...): what the model reads of the face, numbers or pictures
    speech: np.ndarray  # (T, S) float32
    mask: np.ndarray  # (T,) bool: frames that are compared
    encoded: Encoded  # of these very rows
    voiced: np.ndarray | None = None  # (T,) bool: somebody is heard to speak; None: was not listened for
    face_px: float = 0.0  # median width of the face; 0: was not measured

    def __post_init__(self) -> None:
        if not len(self.lips) == len(self.speech) == len(self.mask) == len(self.encoded.lips):
            raise ValueError(f"{self.name}: lips, speech, mask and encoded rows are not of one length")


@dataclass(frozen=True, slots=True)
class Trial:
    """A face held against a voice."""

    face: str  # name of the clip it is from
    voice: str
    group: str  # the face's
    score: float
    offset: int  # frames; positive: the sound comes late
    voice_group: str = ""  # the voice's
    speech_s: float = 0.0  # heard while face and sound are compared; without `voiced`: compared at all
    face_px: float = 0.0


@dataclass(frozen=True, slots=True)
class PlantedOffset:
    """A clip whose sound was moved, and what was found."""

    name: str
    group: str
    planted: int  # frames; positive: the sound comes late
    own: int  # found in the clip as it is
    found: int

    @property
    def error(self) -> int:
        """Frames from the planted offset, as if the clip itself had none."""
        return abs(self.found - self.planted)

    @property
    def own_error(self) -> int:
        """Frames from the planted offset on top of the clip's own."""
        return abs(self.found - self.planted - self.own)


def try_own_voices(clips: Sequence[TrialClip], compare: Compare = find_offset) -> list[Trial]:
    """Hold every face against its own voice; clips with too little to compare give no trial."""
    return [trial for clip in clips if (trial := _try(clip, clip, compare)) is not None]


def try_other_voices(
    clips: Sequence[TrialClip], compare: Compare = find_offset, per_face: int = 10, seed: int = 0
) -> list[Trial]:
    """Hold every face against the voices of up to `per_face` clips of other speakers, drawn at random.

    The source may be the same. Both clips are encoded whole, so their means are those of the whole clips, and the
    encodings are cut to the shorter length, from the start; a trial is never of less than MIN_FRAMES frames.
    """
    rng, trials = np.random.default_rng(seed), []
    for face in clips:
        others = [clip for clip in clips if clip.speaker != face.speaker]
        drawn = rng.permutation(len(others))[:per_face]
        trials += [trial for which in drawn if (trial := _try(face, others[which], compare)) is not None]
    return trials


def cut_windows(clips: Sequence[TrialClip], n_frames: int, encode: Encode) -> list[TrialClip]:
    """Cut every clip into its whole windows of `n_frames`, one after the other.

    Each is encoded by itself: nothing of the clip around it, not even its mean, leaks in.
    """
    return [
        cut_span(clip, slice(first, first + n_frames), slice(first, first + n_frames), encode)
        for clip in clips
        for first in range(0, len(clip.mask) - n_frames + 1, n_frames)
    ]


def shuffle_faces(clips: Sequence[TrialClip], encode: Encode, seed: int = 0) -> list[TrialClip]:
    """Put the frames of every face in a random order: shapes stay, motion goes, and so must the ability to tell.

    What an AUC of own against other voices keeps above 0.5 here, means and spreads of the embeddings gave away.
    """
    rng, shuffled = np.random.default_rng(seed), []
    for clip in clips:
        lips = clip.lips[rng.permutation(len(clip.lips))]
        shuffled.append(replace(clip, lips=lips, encoded=encode(lips, clip.speech)))
    return shuffled


def plant_offsets(
    clips: Sequence[TrialClip],
    encode: Encode,
    shifts: Sequence[int] = SHIFTS,
    compare: Compare = find_offset,
) -> Iterator[PlantedOffset]:
    """Move every clip's sound by each shift, encode anew what is left, and search for the offset.

    Clips that would be left with less than MIN_FRAMES frames, or with too few to compare, give nothing.
    """
    longest = max(map(abs, shifts), default=0)
    for clip in clips:
        own = compare(clip.encoded, clip.mask)
        if own is None or len(clip.mask) - longest < MIN_FRAMES:
            continue
        for shift in shifts:
            moved = move_sound(clip, shift, encode)
            found = compare(moved.encoded, moved.mask)
            if found is not None:
                yield PlantedOffset(clip.name, clip.group, shift, own[1], found[1])


def move_sound(clip: TrialClip, shift: int, encode: Encode) -> TrialClip:
    """Let the sound come `shift` frames later (earlier where negative), both sides cut by as much."""
    length = len(clip.mask) - abs(shift)
    face, sound = max(0, shift), max(0, -shift)
    return cut_span(clip, slice(face, face + length), slice(sound, sound + length), encode)


def cut_span(clip: TrialClip, face: slice, sound: slice, encode: Encode) -> TrialClip:
    """Give a piece of the face beside an equally long piece of the sound, encoded by itself."""
    lips, speech = clip.lips[face], clip.speech[sound]
    return replace(
        clip,
        lips=lips,
        speech=speech,
        mask=clip.mask[face] & clip.mask[sound],
        encoded=encode(lips, speech),
        voiced=None if clip.voiced is None else clip.voiced[sound],
    )


def _try(face: TrialClip, voice: TrialClip, compare: Compare) -> Trial | None:
    length = min(len(face.mask), len(voice.mask))
    if length < MIN_FRAMES:
        return None
    paired = Encoded(
        0,
        face.encoded.lips[:length],
        voice.encoded.speech[:length],
        face.encoded.lips_weight[:length],
        voice.encoded.speech_weight[:length],
    )
    mask = face.mask[:length] & voice.mask[:length]
    found = compare(paired, mask)
    if found is None:
        return None
    spoken = mask if voice.voiced is None else mask & voice.voiced[:length]
    return Trial(face.name, voice.name, face.group, *found, voice.group, int(spoken.sum()) / FPS, face.face_px)
