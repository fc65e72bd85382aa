"""The records of the gallery: what is enrolled, found, verified and forgotten. Importing them imports no torch.

Times are UTC and know it; `D` is the width of an embedding. The seams between the files:

- `admission.judge(new, stored, others, allow_duplicate=...) -> Admission` with `new: Sequence[NewSample]`,
  `stored: Sequence[StoredSample]` of the speaker, none for a new one, and `others: Sequence[Neighbour]`, of one recipe;
- `portable.write_people(path, people)` and `portable.read_people(path) -> tuple[Person, ...]`: a file and its records,
  while `Gallery.export` and `Gallery.import_` read and write the database;
- `Calibration` is what `Gallery.search` needs of a calibration.

What somebody is told before they consent to being enrolled; its version is kept with the consent.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

import numpy as np

from engine.types import DynamicEmbedding

MAX_TERM_DAYS = 1095  # three years: Illinois' BIPA, 740 ILCS 14/15(a), the shortest of the laws looked at
MAX_THUMBNAIL = 64 * 1024  # bytes
MAX_TEXT = 500  # characters of a purpose, a reason, a file name
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Basis(StrEnum):
    """Why somebody's way of speaking may be kept (GDPR, articles 6, 9 and 85)."""

    CONSENT = "consent"
    LEGAL_CLAIM = "legal_claim"
    JOURNALISM = "journalism"
    PUBLIC_INTEREST = "public_interest"
    RESEARCH = "research"


class RejectionReason(StrEnum):
    """Why a sample is not enrolled."""

    SAME_SOURCE = "SAME_SOURCE"  # this file is enrolled for this speaker already
    OUTLIER = "OUTLIER"  # not this speaker, by the others
    DISAGREEMENT = "DISAGREEMENT"  # two samples that disagree, and no third to tell which is wrong
    NOT_NATURAL = "NOT_NATURAL"  # the motion was tampered with
    DUPLICATE_OF_ANOTHER = "DUPLICATE_OF_ANOTHER"  # too close to another enrolled speaker
    CONSENT_LAPSED = "CONSENT_LAPSED"  # its term is over; only an import meets it


class SearchReason(StrEnum):
    """Why a search or a verification says less than it could."""

    UNCALIBRATED = "UNCALIBRATED"  # similarities are raw: nobody is told to be supported or not
    GALLERY_EMPTY = "GALLERY_EMPTY"
    NOT_NATURAL = "NOT_NATURAL"  # the motion was tampered with, and names nobody
    AMBIGUOUS_TOP2 = "AMBIGUOUS_TOP2"  # the first two are too close to be told apart: neither is supported
    PROBE_TOO_SHORT = "PROBE_TOO_SHORT"  # less than 4 s of the face: no calibration was made of so little
    ENROL_TOO_SHORT = "ENROL_TOO_SHORT"  # the first candidate's enrolment is limited


class Clash(StrEnum):
    """What an import does with a name that is there already."""

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
        raise ValueError(f"{what} is {time}, wanted a time in UTC that says so")


@dataclass(frozen=True, slots=True)
class Consent:
    """Why, for what and for how long embeddings may be kept; none is stored without."""

    basis: Basis
    purpose: str
    term_days: int  # 1 to 1095
    notice_version: str  # of the text the person was shown
    collector: str  # who asked
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
        """When what was kept on it must be gone."""
        return self.given_at + timedelta(days=self.term_days)


@dataclass(frozen=True, slots=True, eq=False)
class NewSample:
    """One clip of a speaker, about to be enrolled."""

    source_hash: str  # SHA-256 of the file
    source_name: str  # file name, without its folders
    session: str  # samples of one recording occasion share it
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
    """Somebody who is enrolled."""

    id: int  # never handed out twice
    name: str
    n_samples: int
    seconds: float  # of all samples
    is_limited: bool  # less than 20 s, or one clip alone
    created_at: datetime
    expires_at: datetime | None  # when the first of their consents lapses; None without samples


@dataclass(frozen=True, slots=True, eq=False)
class StoredSample:
    """One clip of a speaker, as enrolled, in one recipe."""

    id: int
    speaker_id: int
    source_hash: str
    source_name: str
    session: str
    embedding: DynamicEmbedding
    consent: Consent
    created_at: datetime
    face_px: float | None = None
    thumbnail: bytes | None = None  # None also where it was not asked for

    def to_new(self) -> NewSample:
        """Give what would enrol it again."""
        return NewSample(self.source_hash, self.source_name, self.session, self.embedding, self.face_px, self.thumbnail)


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """All that is kept about one speaker: what an export carries."""

    name: str
    created_at: datetime
    samples: tuple[StoredSample, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Neighbour:
    """Another speaker's template that lies near a new sample."""

    speaker_id: int
    name: str
    vector: np.ndarray = field(repr=False)  # (D,) float32, unit length; in no log


@dataclass(frozen=True, slots=True)
class Rejection:
    """A sample that was not accepted, and why."""

    source_name: str
    source_hash: str
    reason: RejectionReason
    text: str  # for the person at the screen


@dataclass(frozen=True, slots=True, eq=False)
class Admission:
    """Which of the new samples may be enrolled."""

    accepted: np.ndarray  # (n,) bool, one per new sample
    rejections: tuple[Rejection, ...]  # one for each that is not
    warnings: tuple[str, ...]
    is_limited: bool  # of the speaker, once the accepted ones are in

    def __post_init__(self) -> None:
        if self.accepted.dtype != np.bool_ or self.accepted.ndim != 1:
            raise ValueError(f"accepted is {self.accepted.dtype} {self.accepted.shape}, wanted bool (n,)")
        if len(self.rejections) != int((~self.accepted).sum()):
            raise ValueError(f"{len(self.rejections)} rejections, wanted one for each sample that is not accepted")
        self.accepted.flags.writeable = False


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an enrolment did."""

    speaker: Speaker  # as it is now
    is_new: bool
    sample_ids: tuple[int, ...]  # of the accepted
    rejected: tuple[Rejection, ...]
    warnings: tuple[str, ...]

    @property
    def is_limited(self) -> bool:
        """Whether there is still less of the speaker than is asked for."""
        return self.speaker.is_limited


@dataclass(frozen=True, slots=True)
class Candidate:
    """A speaker who may be the one."""

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
    """Who among everyone it may be."""

    candidates: tuple[Candidate, ...]  # best first, each speaker once
    is_supported: bool | None  # of the first; False: none is supported; None: cannot be told, `reasons` says why
    reasons: tuple[SearchReason, ...]
    n_speakers: int  # that were searched
    recipe: str
    calibration_id: str | None
    backend: str

    @property
    def supported(self) -> tuple[Candidate, ...]:
        """The first candidate where it is supported; empty where none is, or where that cannot be told."""
        return self.candidates[:1] if self.is_supported else ()


@dataclass(frozen=True, slots=True)
class SampleSimilarity:
    """How close one enrolled sample is."""

    sample_id: int
    source_name: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Verification:
    """Is it this speaker?"""

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
    """What a forgetting removed, and what it could not reach."""

    subject: str  # the salted id that the audit keeps; it leads back to nobody
    forgotten_at: datetime
    removed: dict[str, int]  # rows per table, and what the cleaners of caches removed
    is_erased: bool  # the bytes are gone from every file of the database, too
    remaining: tuple[str, ...]  # where copies may still be: backups, exports, a reader that would not leave


@dataclass(frozen=True, slots=True)
class RecipeStats:
    """What is enrolled in one recipe, and how it is searched."""

    recipe: str
    n_speakers: int
    n_vectors: int
    backend: str
    recall: None = None  # a key of the JSON; every search is exact


@dataclass(frozen=True, slots=True)
class Stats:
    """How much there is, and where."""

    n_speakers: int
    n_samples: int
    seconds: float
    n_overdue: int  # speakers with a consent that has lapsed
    recipes: tuple[RecipeStats, ...]
    database: str  # its URL, without a password
    bytes_on_disk: int
    version: str  # of the schema
    generation: int


@dataclass(frozen=True, slots=True)
class Check:
    """What was found wrong with the gallery, and what of that was mended."""

    mended: tuple[str, ...]
    problems: tuple[str, ...]  # that could not be

    @property
    def is_sound(self) -> bool:
        """Nothing is wrong now."""
        return not self.problems


class Calibration(Protocol):
    """What a search needs of a calibration, to turn scores into evidence."""

    @property
    def id(self) -> str:
        """Named by every search and verification."""
        ...

    @property
    def recipe(self) -> str:
        """Of the embeddings, which the scores are made of."""
        ...

    @property
    def threshold_llr(self) -> float:
        """A candidate from here on is supported."""
        ...

    @property
    def qualities(self) -> Sequence[str]:
        """Of `evidence.QUALITIES`, in the order of the columns."""
        ...

    def llrs(self, scores: np.ndarray, qualities: np.ndarray | None = None, *, gallery_size: int = 0) -> np.ndarray:
        """Log10 LR (N,) of scores (N,) with qualities (N, Q); `gallery_size` of how many speakers, 0: 1 to 1."""
        ...


VERSION = "1"
TEXT = """\
Notice 1 to whoever is enrolled. From the clips that show you speaking Wayspeak computes numbers that tell how your face
moves, and keeps them with your name, a small picture of your face, the names and checksums of the files, and this
consent. They are used for the stated purpose alone: to compare them with other clips. They may count as biometric data.
They stay on this machine, are not sold or passed on, and are erased when the purpose is met or the term ends, three
years at most. You may see them, take them with you, and withdraw your consent at any time, without giving a reason:
they are erased then (`wayspeak forget`)."""
