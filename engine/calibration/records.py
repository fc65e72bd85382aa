"""Calibration record: parameters that turn scores of one recipe into log10 LRs, with metrics and provenance.

Records are immutable: approval or retirement writes a new record that supersedes the old one. The id is the hash of
the content, so a modified record is refused. Importing this imports neither torch nor scikit-learn.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, with_config

from engine.calibration.calibrators import Isotonic, Logistic
from engine.calibration.lengths import LengthBounds, clip_by_length, find_range
from engine.errors import Code
from engine.json_fields import explain

SCHEMA, BY_LENGTH_SCHEMA = 1, 2  # of records with one pair of LR bounds, and with bounds by length of speech
MAX_CHARS = 4_000_000  # of a document
MAX_TEXT = 20_000  # characters of one text in it
ALL = "all"  # condition of a metric of all trials
VERSION = re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}")
HASH = re.compile(r"[0-9a-f]{64}")


class Task(StrEnum):
    """Question that the scores answer."""

    CONSISTENCY = "consistency"  # do this face and this voice belong to the same speech?
    SPANS = "spans"  # does this stretch of speech belong to this face, at the offset of its clip?
    VERIFICATION = "verification"  # are these two samples of one person's way of speaking?
    IDENTIFICATION = "identification"  # is the first candidate of a search the person in the probe?
    SOURCE = "source"  # did this recording drive the motion of this face?


class CalibratorKind(StrEnum):
    """Kind of calibrator."""

    LOGISTIC = "logistic"
    ISOTONIC = "isotonic"


class CalibrationStatus(StrEnum):
    """Only an approved record is applied, until it is retired."""

    DRAFT = "draft"
    APPROVED = "approved"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Bounds:
    """LR bounds that the data support; log10 LRs are clipped to them."""

    lower_llr: float
    upper_llr: float
    method: str  # that set the bounds

    def __post_init__(self) -> None:
        if not self.lower_llr <= 0 <= self.upper_llr:
            raise ValueError(f"bounds from {self.lower_llr} to {self.upper_llr} do not include 0")


@dataclass(frozen=True, slots=True)
class Policy:
    """Thresholds of the three zones: supported, inconclusive, against."""

    supported_llr: float
    against_llr: float
    false_support: float  # target rate of second-hypothesis trials reported as supported
    false_against: float  # target rate of first-hypothesis trials reported as against

    def __post_init__(self) -> None:
        if not self.against_llr < self.supported_llr:
            raise ValueError(
                f"the against threshold {self.against_llr} is not below the supported one {self.supported_llr}"
            )
        if not (0 < self.false_support < 1 and 0 < self.false_against < 1):
            raise ValueError("a target error rate is not between 0 and 1")


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of the data behind a calibration."""

    same: int  # trials of the first hypothesis
    different: int
    people: int
    sources: int  # held out in turn
    clips: int
    abstained: int  # clips or samples refused by the gates
    gallery_size: int  # people in each search; 0: no search


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of held-out trials."""

    name: str
    condition: str  # `all`, or a condition of the trials
    value: float
    low: float | None  # 95 % interval; None where it cannot be estimated
    high: float | None
    over: str  # resampled units: people or sources; empty without an interval
    n_same: int
    n_different: int


@dataclass(frozen=True, slots=True)
class Stratum:
    """Scores of real clips within a range of speech length, one per person."""

    from_s: float
    to_s: float | None  # None: no end
    scores: tuple[float, ...]  # rising

    @property
    def smallest_p(self) -> float:
        """Smallest possible p-value of this stratum."""
        return 1 / (len(self.scores) + 1)


@dataclass(frozen=True, slots=True)
class Conformal:
    """Scores of real clips by length of speech, for finite-sample p-values."""

    strata: tuple[Stratum, ...]


@with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, str_max_length=MAX_TEXT))
@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration record; `llrs` applies it, `approve` and `retire` return the record that supersedes it."""

    id: str  # SHA-256 of the other fields
    version: str  # 1.2.3, of the task
    task: Task
    recipe: str  # of the scores
    scored_by: str  # text: the weights of the recipe, or substitutes of the same training
    population: str  # text: population of the second hypothesis
    calibrator: CalibratorKind
    parameters: Logistic | Isotonic
    effective_prior: float  # of the first hypothesis in fitting; its log-odds are subtracted
    qualities: tuple[str, ...]  # names of the covariates that `llrs` requires
    bounds: Bounds
    policy: Policy
    counts: Counts
    metrics: tuple[Metric, ...]
    conformal: Conformal | None  # consistency only
    manifest_sha256: str
    code_version: str
    seed: int
    author: str
    approver: str  # empty before approval; never the author
    status: CalibrationStatus
    created: str  # ISO 8601, UTC
    supersedes: str  # id of the previous record; empty for the first
    notebook_sha256: str  # empty without a notebook
    note: str
    bounds_by_length: tuple[LengthBounds, ...] = ()
    """LR bounds by seconds of speech; `bounds` are the widest. Empty: `bounds` hold for every length."""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def is_approved(self) -> bool:
        """Whether the record may be applied."""
        return self.status == CalibrationStatus.APPROVED

    @property
    def threshold_llr(self) -> float:
        """Least log10 LR reported as supported."""
        return self.policy.supported_llr

    def llrs(
        self,
        scores: np.ndarray,
        qualities: np.ndarray | None = None,
        *,
        recipe: str | None = None,
        gallery_size: int = 0,
        speech_s: np.ndarray | None = None,
    ) -> np.ndarray:
        """(N,) log10 LR within the bounds, of scores (N,) with covariates (N, Q) in the order of `self.qualities`.

        A record with bounds by length requires the seconds of speech (N,), `speech_s`. In a gallery larger than the
        calibration's, a wrong first candidate is more frequent by at most the ratio of the sizes (Boole's inequality):
        its log10 is subtracted. A smaller gallery changes nothing. Raises RECIPE_MISMATCH for scores of another
        `recipe`, ValueError for wrong shapes or non-finite numbers.
        """
        if recipe is not None:
            self.check_recipe(recipe)
        values = np.asarray(scores, np.float64)
        covariates = np.zeros((len(values), 0)) if qualities is None else np.asarray(qualities, np.float64)
        if values.ndim != 1 or covariates.shape != (len(values), len(self.qualities)):
            raise ValueError(
                f"scores {values.shape} with qualities {covariates.shape}, expected (N, {len(self.qualities)})"
            )
        if not (np.isfinite(values).all() and np.isfinite(covariates).all()):
            raise ValueError("a score or a quality is not a finite number")
        llrs = self.parameters.apply(values, covariates)
        if self.counts.gallery_size and gallery_size > self.counts.gallery_size:
            llrs = llrs - math.log10(gallery_size / self.counts.gallery_size)
        return self._clip(llrs, speech_s)

    def bounds_at(self, speech_s: float) -> tuple[float, float]:
        """Return the LR bounds for a length of speech; both 0 where no trial was that short."""
        if not self.bounds_by_length:
            return self.bounds.lower_llr, self.bounds.upper_llr
        found = find_range(self.bounds_by_length, speech_s)
        return (found.lower_llr, found.upper_llr) if found else (0.0, 0.0)

    def check_recipe(self, recipe: str) -> None:
        """Raise RECIPE_MISMATCH for scores of another recipe."""
        if recipe != self.recipe:
            raise Code.RECIPE_MISMATCH(
                f"The calibration is for scores of {self.recipe}, these are of {recipe}.",
                "Use a calibration of the same recipe, or make one with `wayspeak calibrate`.",
            )

    def approve(self, approver: str, created: str = "") -> "Calibration":
        """Return the approved record; BAD_CALIBRATION where it is no draft or the approver is the author."""
        self._expect(CalibrationStatus.DRAFT, "approved")
        if not approver.strip() or _fold(approver) == _fold(self.author):
            raise Code.BAD_CALIBRATION(
                f"A calibration by {self.author} cannot be approved by {approver.strip() or 'an empty name'}.",
                "Let another person review and approve it.",
            )
        return self._succeed(status=CalibrationStatus.APPROVED, approver=approver.strip(), created=created)

    def retire(self, note: str, created: str = "") -> "Calibration":
        """Return the retired record with the reason; results keep the id of the approved one."""
        self._expect(CalibrationStatus.APPROVED, "retired")
        return self._succeed(status=CalibrationStatus.RETIRED, note=note, created=created)

    def _clip(self, llrs: np.ndarray, speech_s: np.ndarray | None) -> np.ndarray:
        if not self.bounds_by_length:
            return np.clip(llrs, self.bounds.lower_llr, self.bounds.upper_llr)
        if speech_s is None or speech_s.shape != llrs.shape:
            raise ValueError("the record has LR bounds by length: the seconds of speech of every score are required")
        return clip_by_length(llrs, speech_s, self.bounds_by_length)

    def _expect(self, status: CalibrationStatus, action: str) -> None:
        if self.status != status:
            raise Code.BAD_CALIBRATION(
                f"A calibration that is {self.status} cannot be {action}.", f"Use one that is {status}."
            )

    def _succeed(self, **changes: Any) -> "Calibration":
        changes["created"] = changes["created"] or utc_now()
        return seal(replace(self, id="", supersedes=self.id, **changes))


def seal(record: Calibration) -> Calibration:
    """Return the record with its id, and with numbers of the types that a file has."""
    plain = _build(asdict(record))
    return replace(plain, id=_hash(plain))


def to_json(record: Calibration) -> str:
    """Serialise a record deterministically."""
    schema = BY_LENGTH_SCHEMA if record.bounds_by_length else SCHEMA
    return json.dumps({"schema": schema} | _list_fields(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str) -> Calibration:
    """Read the output of `to_json`; BAD_CALIBRATION for any other or a modified text."""
    hint = "Make a new calibration with `wayspeak calibrate`."
    try:
        if len(text) > MAX_CHARS:
            raise ValueError(f"it is {len(text)} characters long, more than {MAX_CHARS}")
        found = json.loads(text, object_pairs_hook=_refuse_doubled)
        schema = found.pop("schema", None) if isinstance(found, dict) else None
        if schema not in (SCHEMA, BY_LENGTH_SCHEMA) or (schema == BY_LENGTH_SCHEMA) != bool(
            found.get("bounds_by_length")
        ):
            raise ValueError(f"it is neither of schema {SCHEMA} nor, with bounds by length, of {BY_LENGTH_SCHEMA}")
        record = _build(found)
    except (ValueError, TypeError, OverflowError, RecursionError) as cause:
        raise Code.BAD_CALIBRATION(f"The calibration record cannot be read: {explain(cause)}.", hint) from cause
    if record.id != _hash(record):
        raise Code.BAD_CALIBRATION("The calibration record was changed after it was sealed: its id does not fit.", hint)
    return record


def utc_now() -> str:
    """Return the current UTC time, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def choose_current(records: Iterable[Calibration], task: Task, recipe: str) -> Calibration | None:
    """Return the newest approved, not superseded record of a task and recipe; None where there is none."""
    known = list(records)
    superseded = {one.supersedes for one in known}
    found = [
        one
        for one in known
        if (one.task, one.recipe) == (task, recipe)
        and one.status == CalibrationStatus.APPROVED
        and one.id not in superseded
    ]
    return max(found, key=lambda one: (datetime.fromisoformat(one.created), one.id), default=None)


def _build(found: dict[str, Any]) -> Calibration:
    """Validate as JSON: lists become tuples and strings enum members, and no other type is converted."""
    return RECORD.validate_json(json.dumps(found))


def _refuse_doubled(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name[:40]!r} is repeated")
        found[name] = value
    return found


def _hash(record: Calibration) -> str:
    """SHA-256 of a record without its id."""
    content = _list_fields(record)
    del content["id"]
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _list_fields(record: Calibration) -> dict[str, Any]:
    """Return the fields that a file of the record holds and its id covers: records of schema 1 keep theirs."""
    content = asdict(record)
    if not record.bounds_by_length:
        del content["bounds_by_length"]
    return content


def _check(record: Calibration) -> None:
    kind = Logistic if record.calibrator == CalibratorKind.LOGISTIC else Isotonic
    if not isinstance(record.parameters, kind):
        raise ValueError(f"a {record.calibrator} calibration with {type(record.parameters).__name__} parameters")
    wanted = len(record.parameters.weights) if isinstance(record.parameters, Logistic) else 0
    ranges = record.bounds_by_length
    if any(one.to_s != later.from_s for one, later in pairwise(ranges)):
        raise ValueError("the ranges of the bounds by length do not follow each other")
    if any(not record.bounds.lower_llr <= one.lower_llr <= one.upper_llr <= record.bounds.upper_llr for one in ranges):
        raise ValueError("bounds of a length beyond the bounds of the record")
    if len(record.qualities) != wanted:
        raise ValueError(f"{len(record.qualities)} qualities named, {wanted} fitted")
    approved = record.status != CalibrationStatus.DRAFT
    if approved != bool(record.approver) or (approved and _fold(record.approver) == _fold(record.author)):
        raise ValueError(f"status {record.status}, by {record.author!r}, approved by {record.approver!r}")
    if not record.author.strip() or not record.recipe:
        raise ValueError("a calibration needs an author and a recipe")
    if not VERSION.fullmatch(record.version) or not HASH.fullmatch(record.manifest_sha256):
        raise ValueError(f"version {record.version!r} of manifest {record.manifest_sha256!r}")
    if any(one and not HASH.fullmatch(one) for one in (record.id, record.supersedes, record.notebook_sha256)):
        raise ValueError("an id or a hash is not a SHA-256")
    if datetime.fromisoformat(record.created).tzinfo is None:
        raise ValueError(f"created at {record.created!r}, expected a time with a zone")


def _fold(name: str) -> str:
    """Normalise case and spaces, to compare names of people."""
    return " ".join(name.casefold().split())


RECORD = TypeAdapter(Calibration)
