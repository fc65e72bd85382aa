"""Records of the gallery, and the consent notice with its version; importing them does not import torch.

Times are time-zone-aware UTC; `D` is the width of an embedding.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

import numpy as np

from engine.types import DynamicEmbedding

MAX_TERM_DAYS = 1095  # three years: Illinois' BIPA, 740 ILCS 14/15(a), the shortest term of the laws considered
MAX_THUMBNAIL = 64 * 1024  # bytes
MAX_TEXT = 500  # characters of a purpose, a reason, a file name
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Basis(StrEnum):
    """Legal basis for keeping embeddings of a person (GDPR, articles 6, 9 and 85)."""

    CONSENT = "consent"
    LEGAL_CLAIM = "legal_claim"
    JOURNALISM = "journalism"
    PUBLIC_INTEREST = "public_interest"
    RESEARCH = "research"


class RejectionReason(StrEnum):
    """Reason why a sample is not enrolled."""

    SAME_SOURCE = "SAME_SOURCE"  # this file is enrolled for this speaker already
    OUTLIER = "OUTLIER"  # not this speaker, compared with the other samples
    DISAGREEMENT = "DISAGREEMENT"  # two samples that disagree, without a majority
    NOT_NATURAL = "NOT_NATURAL"  # the motion was tampered with
    DUPLICATE_OF_ANOTHER = "DUPLICATE_OF_ANOTHER"  # too close to another enrolled speaker
    CONSENT_LAPSED = "CONSENT_LAPSED"  # its term has ended; only in imports


class SearchReason(StrEnum):
    """Reason why a search or verification reports less evidence."""

    UNCALIBRATED = "UNCALIBRATED"  # raw similarities: no speaker is supported or not supported
    GALLERY_EMPTY = "GALLERY_EMPTY"
    NOT_NATURAL = "NOT_NATURAL"  # the motion was tampered with: no candidate
    AMBIGUOUS_TOP2 = "AMBIGUOUS_TOP2"  # the first two are too close: neither is supported
    PROBE_TOO_SHORT = "PROBE_TOO_SHORT"  # less than 4 s of the face, shorter than all calibration samples
    ENROL_TOO_SHORT = "ENROL_TOO_SHORT"  # the first candidate's enrolment is limited
    OTHER_RECIPE = "OTHER_RECIPE"  # some speakers are enrolled in other recipes only: not compared


class NameConflict(StrEnum):
    """Action of an import for a name that exists."""

    REFUSE = "refuse"
    MERGE = "merge"  # add the samples to the speaker of that name
    RENAME = "rename"  # enrol under `NAME (2)`, `NAME (3)`, ...


def _check_text(what: str, text: str, least: int = 1) -> None:
    if not least <= len(text.strip()) <= MAX_TEXT:
        raise ValueError(f"{what} has {len(text.strip())} characters, wanted {least} to {MAX_TEXT}")


def _check_sha256(what: str, text: str) -> None:
    if not _SHA256.fullmatch(text):
        raise ValueError(f"{what} is {text[:70]!r}, wanted a SHA-256 in 64 lower-case hexadecimal digits")


def _check_time(what: str, time: datetime) -> None:
    if time.utcoffset() != timedelta(0):
        raise ValueError(f"{what} is {time}, wanted a time-zone-aware time in UTC")


@dataclass(frozen=True, slots=True)
class Consent:
    """Legal basis, purpose and term for keeping embeddings; none is stored without it."""

    basis: Basis
    purpose: str
    term_days: int  # 1 to 1095
    notice_version: str  # of the text the person was shown
    collector: str  # who asked for the consent
    given_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    release_sha256: str | None = None  # of the signed release, where there is one

    def __post_init__(self) -> None:
        Basis(self.basis)
        for what in ("purpose", "notice_version", "collector"):
            _check_text(what, getattr(self, what))
        if not 1 <= self.term_days <= MAX_TERM_DAYS:
            raise ValueError(f"a term of {self.term_days} days, wanted 1 to {MAX_TERM_DAYS}")
        _check_time("given_at", self.given_at)
        if self.release_sha256 is not None:
            _check_sha256("release_sha256", self.release_sha256)

    @property
    def expires_at(self) -> datetime:
        """Time by which the data of this consent must be erased."""
        return self.given_at + timedelta(days=self.term_days)


@dataclass(frozen=True, slots=True, eq=False)
class NewSample:
    """Clip of a speaker to enrol."""

    source_hash: str  # SHA-256 of the file
    source_name: str  # file name, without its folders
    session: str  # shared by the samples of one recording occasion
    embedding: DynamicEmbedding
    face_px: float | None = None  # median face width in pixels
    thumbnail: bytes | None = None  # JPEG, 64 kB at most

    def __post_init__(self) -> None:
        _check_sha256("source_hash", self.source_hash)
        _check_text("source_name", self.source_name)
        _check_text("session", self.session, least=0)
        if self.thumbnail is not None and not (
            self.thumbnail.startswith(b"\xff\xd8") and len(self.thumbnail) <= MAX_THUMBNAIL
        ):
            raise ValueError(f"thumbnail of {len(self.thumbnail)} bytes, wanted a JPEG of {MAX_THUMBNAIL} at most")
        if self.face_px is not None and not (np.isfinite(self.face_px) and self.face_px > 0):
            raise ValueError(f"a face {self.face_px} pixels wide, wanted a finite number above 0")


@dataclass(frozen=True, slots=True)
class Speaker:
    """Enrolled speaker."""

    id: int  # never reused
    name: str
    n_samples: int
    seconds: float  # of all samples
    is_limited: bool  # less than 20 s, or a single clip
    created_at: datetime
    expires_at: datetime | None  # when the first of their consents lapses; None without samples


@dataclass(frozen=True, slots=True, eq=False)
class StoredSample:
    """Enrolled clip of a speaker in one recipe."""

    id: int
    speaker_id: int
    source_hash: str
    source_name: str
    session: str
    embedding: DynamicEmbedding
    consent: Consent
    created_at: datetime
    face_px: float | None = None
    thumbnail: bytes | None = None  # None also if it was not read

    def to_new(self) -> NewSample:
        """Return the sample to enrol it again."""
        return NewSample(self.source_hash, self.source_name, self.session, self.embedding, self.face_px, self.thumbnail)


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """All stored data of one speaker, as exported."""

    name: str
    created_at: datetime
    samples: tuple[StoredSample, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Neighbour:
    """Template of another speaker near a new sample."""

    speaker_id: int
    name: str
    vector: np.ndarray = field(repr=False)  # (D,) float32, unit length; never logged


@dataclass(frozen=True, slots=True)
class Rejection:
    """Rejected sample with the reason."""

    source_name: str
    source_hash: str
    reason: RejectionReason
    text: str  # shown to the user


@dataclass(frozen=True, slots=True, eq=False)
class EnrolmentCheck:
    """Result of checking new samples before an enrolment."""

    accepted: np.ndarray  # (n,) bool, one per new sample
    rejections: tuple[Rejection, ...]  # one per rejected sample
    warnings: tuple[str, ...]
    is_limited: bool  # of the speaker with the accepted samples

    def __post_init__(self) -> None:
        if self.accepted.dtype != np.bool_ or self.accepted.ndim != 1:
            raise ValueError(f"accepted is {self.accepted.dtype} {self.accepted.shape}, wanted bool (n,)")
        if len(self.rejections) != int((~self.accepted).sum()):
            raise ValueError(f"{len(self.rejections)} rejections, wanted one for each sample that is not accepted")
        self.accepted.flags.writeable = False


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Result of an enrolment."""

    speaker: Speaker  # after the enrolment
    is_new: bool
    sample_ids: tuple[int, ...]  # of the accepted
    rejected: tuple[Rejection, ...]
    warnings: tuple[str, ...]

    @property
    def is_limited(self) -> bool:
        """Whether the speaker still has less than 20 s or two clips."""
        return self.speaker.is_limited


@dataclass(frozen=True, slots=True)
class Candidate:
    """Candidate speaker of a search or verification."""

    speaker_id: int
    name: str
    similarity: float  # cosine to the speaker's template, in [-1, 1]
    score: float  # the input of the calibration: the similarity
    llr: float | None  # log10 likelihood ratio; None without a calibration
    n_samples: int
    seconds: float
    is_limited: bool


@dataclass(frozen=True, slots=True)
class Search:
    """Result of a 1:N identification."""

    candidates: tuple[Candidate, ...]  # best first, each speaker once
    is_supported: bool | None  # of the first; False: none is supported; None: not decided, see `reasons`
    reasons: tuple[SearchReason, ...]
    n_speakers: int  # searched
    recipe: str
    calibration_id: str | None
    backend: str

    @property
    def supported(self) -> tuple[Candidate, ...]:
        """The first candidate if it is supported, else empty."""
        return self.candidates[:1] if self.is_supported else ()


@dataclass(frozen=True, slots=True)
class SampleSimilarity:
    """Similarity of one enrolled sample to the probe."""

    sample_id: int
    source_name: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of a 1:1 verification."""

    speaker: Speaker
    similarity: float | None  # cosine to the template; None where the motion is not natural
    score: float | None
    llr: float | None
    is_supported: bool | None
    reasons: tuple[SearchReason, ...]
    samples: tuple[SampleSimilarity, ...]  # closest first
    recipe: str
    calibration_id: str | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """Receipt of an erasure: removed data, and copies that it cannot reach."""

    subject: str  # pseudonym in the audit log; it cannot be linked to a person
    forgotten_at: datetime
    removed: dict[str, int]  # rows per table, and items per cache
    is_erased: bool  # the bytes are also overwritten in every database file
    remaining: tuple[str, ...]  # places of possible copies: backups, exports, an open reader


@dataclass(frozen=True, slots=True)
class RecipeStats:
    """Statistics of one recipe."""

    recipe: str
    n_speakers: int
    n_vectors: int
    backend: str
    recall: None = None  # kept as a JSON key; every search is exact


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of the gallery."""

    n_speakers: int
    n_samples: int
    seconds: float
    n_overdue: int  # speakers with an expired consent
    recipes: tuple[RecipeStats, ...]
    database: str  # its URL, without a password
    bytes_on_disk: int
    version: str  # of the schema
    generation: int


@dataclass(frozen=True, slots=True)
class Check:
    """Result of an integrity check."""

    mended: tuple[str, ...]
    problems: tuple[str, ...]  # not repaired

    @property
    def is_sound(self) -> bool:
        """Whether no problem remains."""
        return not self.problems


class Calibration(Protocol):
    """Interface of a calibration: from scores to log10 likelihood ratios."""

    @property
    def id(self) -> str:
        """Id reported with every search and verification."""
        ...

    @property
    def recipe(self) -> str:
        """Recipe of the embeddings that are compared."""
        ...

    @property
    def threshold_llr(self) -> float:
        """Least log10 LR of a supported candidate."""
        ...

    @property
    def qualities(self) -> Sequence[str]:
        """Names from `scoring.QUALITIES`, in column order."""
        ...

    def llrs(self, scores: np.ndarray, qualities: np.ndarray | None = None, *, gallery_size: int = 0) -> np.ndarray:
        """Return log10 LRs (N,) of scores (N,) with qualities (N, Q); `gallery_size` is the N of 1:N, 0 for 1:1."""
        ...


VERSION = "1"
TEXT = """\
Notice 1 to whoever is enrolled. From the clips that show you speaking Wayspeak computes numbers that tell how your face
moves, and keeps them with your name, a small picture of your face, the names and checksums of the files, and this
consent. They are used for the stated purpose alone: to compare them with other clips. They may count as biometric data.
They stay on this machine, are not sold or passed on, and are erased when the purpose is met or the term ends, three
years at most. You may see them, take them with you, and withdraw your consent at any time, without giving a reason:
they are erased then (`wayspeak forget`)."""
