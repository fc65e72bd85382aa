"""Compare two clips: which segments of a suspect follow which seconds of a recording."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.calibration.apply import to_note
from engine.calibration.records import Calibration
from engine.features.records import ClipFeatures
from engine.motion.evidence import MIN_CHANNELS, find_llr
from engine.motion.matches import MotionMatch, find_matches
from engine.motion.patterns import SENTENCES, Pattern, find_pattern
from engine.motion.signature import MotionSignature, describe_signature
from engine.style.embedder import StaticFace
from engine.types import FPS, CalibrationNote

LEAST_SCORE = 3.0  # of a segment where no calibration is in force
OTHER_FACE = 0.66  # cosine of the face shapes; 5 % of the pairs of takes of one person are lower


@dataclass(frozen=True, slots=True, eq=False)
class ClipMotion:
    """Motion of the faces of one clip."""

    name: str
    sha256: str
    duration_s: float
    signatures: tuple[MotionSignature, ...]  # one for each face track
    features: ClipFeatures

    @property
    def is_still(self) -> bool:
        """Whether no face moves enough to be compared."""
        return all(one.motion.sum() < MIN_CHANNELS for one in self.signatures)


@dataclass(frozen=True, slots=True)
class FollowedRegion:
    """One region over a segment."""

    region: str
    follows: bool
    correlation: float
    judged: bool  # False: too still on one of both sides


@dataclass(frozen=True, slots=True)
class SourceSegment:
    """A segment of the suspect and the seconds of the recording that it follows."""

    face: int  # number of the suspect's face track from 0
    source_face: int
    from_s: float
    to_s: float
    source_from_s: float
    source_to_s: float
    offset_s: float  # seconds of the recording less those of the suspect, at the start of the segment
    speed: float  # seconds of the recording per second of the suspect
    mirrored: bool
    correlation: float
    score: float
    llr: float | None  # log10 likelihood ratio within the bounds; None without a calibration
    regions: tuple[FollowedRegion, ...]
    face_similarity: float | None  # cosine of the face shapes; None where they were not measured
    pattern: Pattern

    @property
    def sentence(self) -> str:
        """Sentence for the reader."""
        return SENTENCES[self.pattern]


@dataclass(frozen=True, slots=True, eq=False)
class SourceComparison:
    """What of a suspect follows one recording."""

    name: str
    sha256: str
    duration_s: float
    segments: tuple[SourceSegment, ...]  # those that are supported, in the order of the suspect
    best_llr: float | None  # of the best stretch, supported or not; None where nothing is judged
    best_score: float | None
    is_still: bool  # no face of it moves enough to be compared

    @property
    def seconds(self) -> float:
        """Seconds of the suspect in its segments."""
        return sum(one.to_s - one.from_s for one in self.segments)


@dataclass(frozen=True, slots=True, eq=False)
class SourceSearch:
    """Result of `wayspeak source`: the recordings, the one with most evidence first."""

    name: str
    sha256: str
    duration_s: float
    recipe: str
    calibration: CalibrationNote | None
    is_still: bool
    recordings: tuple[SourceComparison, ...]


def describe_clip(features: ClipFeatures) -> ClipMotion:
    """Compute the motion signatures of every face of a clip."""
    signatures = tuple(describe_signature(track) for track in features.tracks)
    return ClipMotion(features.name, features.sha256, features.duration_s, signatures, features)


def search_sources(
    suspect: ClipMotion, recordings: Sequence[ClipMotion], recipe: str, calibration: Calibration | None
) -> SourceSearch:
    """Compare a suspect with each recording."""
    found = [compare_clips(suspect, one, calibration) for one in recordings]
    found.sort(key=lambda one: -float("inf") if one.best_score is None else one.best_score, reverse=True)
    note = None if calibration is None else to_note(calibration, suspect.duration_s)
    return SourceSearch(suspect.name, suspect.sha256, suspect.duration_s, recipe, note, suspect.is_still, tuple(found))


def compare_clips(suspect: ClipMotion, recording: ClipMotion, calibration: Calibration | None) -> SourceComparison:
    """Align every face of the suspect with every face of the recording."""
    matches = [
        (face, other, match, None if calibration is None else find_llr(calibration, match))
        for face, one in enumerate(suspect.signatures)
        for other, two in enumerate(recording.signatures)
        for match in find_matches(one, two)
        if match.channels >= MIN_CHANNELS
    ]
    segments = [
        _build_segment(suspect, recording, face, other, match, llr)
        for face, other, match, llr in matches
        if _is_supported(match, llr, calibration)
    ]
    return SourceComparison(
        name=recording.name,
        sha256=recording.sha256,
        duration_s=recording.duration_s,
        segments=tuple(sorted(segments, key=lambda one: (one.from_s, one.face))),
        best_llr=max((llr for *_, llr in matches if llr is not None), default=None),
        best_score=max((match.score for _, _, match, _ in matches), default=None),
        is_still=recording.is_still,
    )


def _is_supported(match: MotionMatch, llr: float | None, calibration: Calibration | None) -> bool:
    if calibration is None:
        return match.score >= LEAST_SCORE
    return llr is not None and llr >= calibration.policy.supported_llr


def _build_segment(
    suspect: ClipMotion, recording: ClipMotion, face: int, other: int, match: MotionMatch, llr: float | None
) -> SourceSegment:
    first, last = (match.line.speed * edge + match.line.offset for edge in (match.first, match.last))
    similarity = _compare_faces(suspect, recording, face, other)
    return SourceSegment(
        face=face,
        source_face=other,
        from_s=match.first / FPS,
        to_s=match.last / FPS,
        source_from_s=first / FPS,
        source_to_s=last / FPS,
        offset_s=(first - match.first) / FPS,
        speed=match.line.speed,
        mirrored=match.line.mirrored,
        correlation=match.correlation,
        score=match.score,
        llr=llr,
        regions=tuple(
            FollowedRegion(one.region.value, one.follows, one.correlation, one.moves) for one in match.regions
        ),
        face_similarity=similarity,
        pattern=find_pattern(match.regions, similarity is not None and similarity < OTHER_FACE),
    )


def _compare_faces(suspect: ClipMotion, recording: ClipMotion, face: int, other: int) -> float | None:
    """Return the cosine of the face shapes; None without face crops."""
    sides = ((suspect.features, face), (recording.features, other))
    if any(features.tracks[number].faces is None for features, number in sides):
        return None
    one, two = (StaticFace().embed(features, features.tracks[number]) for features, number in sides)
    return None if one is None or two is None else float(one.vector @ two.vector)
