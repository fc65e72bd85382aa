"""Build trials with known truth from real clips: own voices, swapped voices, windows, planted offsets, a control.

Nothing is padded or stretched: face and audio of a trial are cut to the shorter of the two.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.calibration.qualities import SpeechQuality, measure_quality
from engine.consistency.offsets import find_offset
from engine.types import Encoded, Evidence

Encode = Callable[[np.ndarray, np.ndarray, Evidence], Encoded]
"""`encode(lips (T, ...), speech (T, S), evidence) -> Encoded`: subtract the means over time and embed both."""
Compare = Callable[[Encoded, Evidence], tuple[float, int] | None]
"""`compare(encoded, evidence) -> (score, offset in frames)`; None if there are too few frames to compare."""

SHIFTS = tuple(range(-12, 13))  # frames
MIN_FRAMES = 25
WHOLE = slice(None)
NOT_MEASURED = SpeechQuality()


@dataclass(frozen=True, slots=True, eq=False)
class TrialClip:
    """One face track with the audio of the same time."""

    name: str  # of the file; windows of a file share it
    speaker: str  # swapped voices are of other speakers
    source: str
    group: str  # resampled together by the bootstrap
    lips: np.ndarray  # (T, ...): visual input of the model, landmarks or images
    speech: np.ndarray  # (T, S) float32
    evidence: Evidence  # frames to compare
    encoded: Encoded  # of the same frames
    voiced: np.ndarray | None = None  # (T,) bool: VAD; None: not computed
    face_px: float = 0.0  # median face width; 0: not measured
    gap: np.ndarray | None = None  # (T,) between the lips, over the distance of the eye corners; None: not measured

    def __post_init__(self) -> None:
        if not len(self.lips) == len(self.speech) == len(self.evidence.lips) == len(self.encoded.lips):
            raise ValueError(f"{self.name}: lips, speech, evidence and encoded rows differ in length")

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.lips)


@dataclass(frozen=True, slots=True)
class Trial:
    """The score of a face and a voice."""

    face: str  # name of its clip
    voice: str
    group: str  # of the face
    score: float
    offset: int  # frames; positive: audio is late
    voice_group: str = ""  # of the voice
    quality: SpeechQuality = NOT_MEASURED  # of the compared frames, voiced ones if `voiced` is known


@dataclass(frozen=True, slots=True)
class PlantedOffset:
    """A planted AV offset and the estimated ones."""

    name: str
    group: str
    planted: int  # frames; positive: audio is late
    own: int  # estimated for the unchanged clip
    found: int

    @property
    def error(self) -> int:
        """Absolute error in frames, assuming that the clip itself has no offset."""
        return abs(self.found - self.planted)

    @property
    def own_error(self) -> int:
        """Absolute error in frames, relative to the estimated offset of the clip itself."""
        return abs(self.found - self.planted - self.own)


def score_own_voices(clips: Sequence[TrialClip], compare: Compare = find_offset) -> list[Trial]:
    """Score every face with its own voice; clips with too few frames to compare are left out."""
    return [trial for clip in clips if (trial := _score(clip, clip, compare)) is not None]


def score_other_voices(
    clips: Sequence[TrialClip], compare: Compare = find_offset, per_face: int = 10, seed: int = 0
) -> list[Trial]:
    """Score every face with the voices of up to `per_face` clips of other speakers, drawn at random.

    The source may be the same. Both clips are encoded whole, so their means are those of the whole clips; the
    encodings are cut to the shorter length, from the start. Trials have at least MIN_FRAMES frames.
    """
    rng, trials = np.random.default_rng(seed), []
    for face in clips:
        others = [clip for clip in clips if clip.speaker != face.speaker]
        drawn = rng.permutation(len(others))[:per_face]
        trials += [trial for which in drawn if (trial := _score(face, others[which], compare)) is not None]
    return trials


def cut_windows(clips: Sequence[TrialClip], n_frames: int, encode: Encode) -> list[TrialClip]:
    """Cut every clip into consecutive full windows of `n_frames`.

    Each window is encoded by itself, so that nothing outside it (such as the mean of the clip) leaks in.
    """
    return [
        cut_segment(clip, slice(first, first + n_frames), slice(first, first + n_frames), encode)
        for clip in clips
        for first in range(0, len(clip) - n_frames + 1, n_frames)
    ]


def shuffle_faces(clips: Sequence[TrialClip], encode: Encode, seed: int = 0) -> list[TrialClip]:
    """Shuffle the frames of every face: mouth shapes stay, motion is lost.

    A control: an AUC of own against other voices above 0.5 comes from means and variances of the embeddings.
    """
    rng, shuffled = np.random.default_rng(seed), []
    for clip in clips:
        lips = clip.lips[rng.permutation(len(clip.lips))]
        shuffled.append(replace(clip, lips=lips, encoded=encode(lips, clip.speech, clip.evidence)))
    return shuffled


def plant_offsets(
    clips: Sequence[TrialClip],
    encode: Encode,
    shifts: Sequence[int] = SHIFTS,
    compare: Compare = find_offset,
) -> Iterator[PlantedOffset]:
    """Shift the audio of every clip by each shift, encode the overlap again, and estimate the offset.

    Clips with an overlap below MIN_FRAMES frames, or with too few frames to compare, are left out.
    """
    longest = max(map(abs, shifts), default=0)
    for clip in clips:
        own = compare(clip.encoded, clip.evidence)
        if own is None or len(clip) - longest < MIN_FRAMES:
            continue
        for shift in shifts:
            shifted = shift_sound(clip, shift, encode)
            found = compare(shifted.encoded, shifted.evidence)
            if found is not None:
                yield PlantedOffset(clip.name, clip.group, shift, own[1], found[1])


def shift_sound(clip: TrialClip, shift: int, encode: Encode) -> TrialClip:
    """Delay the audio by `shift` frames (negative: advance it) and cut both sides to the overlap."""
    length = len(clip) - abs(shift)
    face, sound = max(0, shift), max(0, -shift)
    return cut_segment(clip, slice(face, face + length), slice(sound, sound + length), encode)


def cut_segment(clip: TrialClip, face: slice, sound: slice, encode: Encode) -> TrialClip:
    """Cut a segment of the face and an equally long one of the audio, encoded by itself."""
    lips, speech = clip.lips[face], clip.speech[sound]
    evidence = Evidence(clip.evidence.lips[face], clip.evidence.speech[sound])
    return replace(
        clip,
        lips=lips,
        speech=speech,
        evidence=evidence,
        encoded=encode(lips, speech, evidence),
        voiced=None if clip.voiced is None else clip.voiced[sound],
        gap=None if clip.gap is None else clip.gap[face],
    )


def pair_evidence(face: TrialClip, voice: TrialClip) -> tuple[Evidence, np.ndarray]:
    """Return the evidence of a face and a voice over the shorter of both, and (T,) bool: the frames with speech."""
    length = min(len(face), len(voice))
    evidence = Evidence(face.evidence.lips[:length], voice.evidence.speech[:length])
    both: np.ndarray = evidence.lips & evidence.speech
    return evidence, both if voice.voiced is None else both & voice.voiced[:length]


def measure_pair(face: TrialClip, voice: TrialClip, segment: slice = WHOLE) -> SpeechQuality:
    """Measure the speech of a face and a voice that is compared, over the shorter of both or a segment of it."""
    _, spoken = pair_evidence(face, voice)
    gap = np.zeros(len(spoken)) if face.gap is None else face.gap[: len(spoken)]
    return measure_quality(spoken[segment], gap[segment], face.face_px)


def _score(face: TrialClip, voice: TrialClip, compare: Compare) -> Trial | None:
    length = min(len(face), len(voice))
    if length < MIN_FRAMES:
        return None
    paired = Encoded(
        0,
        face.encoded.lips[:length],
        voice.encoded.speech[:length],
        face.encoded.lips_weight[:length],
        voice.encoded.speech_weight[:length],
    )
    found = compare(paired, pair_evidence(face, voice)[0])
    if found is None:
        return None
    return Trial(face.name, voice.name, face.group, *found, voice.group, measure_pair(face, voice))
