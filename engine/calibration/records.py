"""The record of a calibration: what turns scores of one recipe into log10 likelihood ratios, and what backs that.

Records are never changed: approving or retiring one writes another that supersedes it. Its id is the hash of all it
says, so a record that was tampered with is refused. Importing this imports neither torch nor scikit-learn.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, with_config

from engine.calibration.calibrators import Isotonic, Logistic
from engine.errors import Code
from engine.json_fields import explain

SCHEMA = 1
MAX_CHARS = 4_000_000  # of a document
MAX_TEXT = 20_000  # characters of one text in it
VERSION = re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}")
HASH = re.compile(r"[0-9a-f]{64}")


class Task(StrEnum):
    """What question the scores answer."""

    CONSISTENCY = "consistency"  # do this face and this voice belong to the same speech?
    VERIFICATION = "verification"  # are these two samples of one person's way of speaking?
    IDENTIFICATION = "identification"  # is the first candidate of a search the person looked for?


class CalibratorKind(StrEnum):
    """How scores become likelihood ratios."""

    LOGISTIC = "logistic"
    ISOTONIC = "isotonic"


class CalibrationStatus(StrEnum):
    """A draft judges nothing; an approved one does until it is retired."""

    DRAFT = "draft"
    APPROVED = "approved"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the data support: no log10 LR beyond is ever told."""

    lower_llr: float
    upper_llr: float
    method: str  # how each of the two came about

    def __post_init__(self) -> None:
        if not self.lower_llr <= 0 <= self.upper_llr:
            raise ValueError(f"bounds from {self.lower_llr} to {self.upper_llr}, wanted 0 between them")


@dataclass(frozen=True, slots=True)
class Policy:
    """Three zones: supported from one log10 LR on, against from another down, inconclusive between."""

    supported_llr: float
    against_llr: float
    false_support: float  # wished share of the second hypothesis's trials that are called supported
    false_against: float  # wished share of the first hypothesis's trials that are called against

    def __post_init__(self) -> None:
        if not self.against_llr < self.supported_llr:
            raise ValueError(
                f"against at {self.against_llr} and supported at {self.supported_llr}: wanted room between"
            )
        if not (0 < self.false_support < 1 and 0 < self.false_against < 1):
            raise ValueError("a wished rate is not between 0 and 1")


@dataclass(frozen=True, slots=True)
class Counts:
    """What stands behind a calibration."""

    same: int  # trials in which the first hypothesis holds
    different: int
    people: int
    sources: int  # that were held out in turn
    clips: int
    abstained: int  # clips or samples that the gates refused
    gallery_size: int  # people among whom each search was made; 0: no search


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure on trials whose sources were held out."""

    name: str
    condition: str  # `all`, or the trials that it is of
    value: float
    low: float | None  # 95 % interval; None where it cannot be told
    high: float | None
    over: str  # what was resampled: people, sources; empty without an interval
    n_same: int
    n_different: int


@dataclass(frozen=True, slots=True)
class Stratum:
    """Scores of real clips of about one length of speech, one of each person."""

    from_s: float
    to_s: float | None  # None: no end
    scores: tuple[float, ...]  # rising

    @property
    def smallest_p(self) -> float:
        """No clip can be told to be stranger than this."""
        return 1 / (len(self.scores) + 1)


@dataclass(frozen=True, slots=True)
class Conformal:
    """What real clips score, by length of speech: finite-sample p-values of being as real clips are."""

    strata: tuple[Stratum, ...]


@with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, str_max_length=MAX_TEXT))
@dataclass(frozen=True, slots=True)
class Calibration:
    """See the head of this file. `llrs` applies it; `approve` and `retire` give the record that supersedes it."""

    id: str  # SHA-256 of all the rest
    version: str  # 1.2.3, of the task
    task: Task
    recipe: str  # of the scores it is for
    scored_by: str  # words: the weights of the recipe, or others of the same training that stand for them
    population: str  # words: who and what the second hypothesis was drawn from
    calibrator: CalibratorKind
    parameters: Logistic | Isotonic
    effective_prior: float  # of the first hypothesis in fitting; its log-odds were taken off
    qualities: tuple[str, ...]  # names of the columns that `llrs` wants
    bounds: Bounds
    policy: Policy
    counts: Counts
    metrics: tuple[Metric, ...]
    conformal: Conformal | None  # for consistency alone
    manifest_sha256: str
    code_version: str
    seed: int
    author: str
    approver: str  # empty until it is approved; never the author
    status: CalibrationStatus
    created: str  # ISO 8601, UTC
    supersedes: str  # id of the record before; empty for the first
    notebook_sha256: str  # empty where no notebook made it
    note: str

    def __post_init__(self) -> None:
        _check(self)

    @property
    def is_approved(self) -> bool:
        """It judges."""
        return self.status == CalibrationStatus.APPROVED

    @property
    def threshold_llr(self) -> float:
        """From this log10 LR on the first hypothesis is supported."""
        return self.policy.supported_llr

    def llrs(
        self,
        scores: np.ndarray,
        qualities: np.ndarray | None = None,
        *,
        recipe: str | None = None,
        gallery_size: int = 0,
    ) -> np.ndarray:
        """(N,) log10 LR within the bounds, of scores (N,) with qualities (N, Q), by the names in `qualities`.

        Raises RECIPE_MISMATCH where the scores' `recipe` is told and another; ValueError for shapes or numbers that
        cannot be. In a gallery larger than the calibration's the first candidate is a stranger's more often, at most by
        as many times as there are more people (Boole's inequality): the log10 of that is taken off. A smaller one adds
        nothing.
        """
        if recipe is not None:
            self.check_recipe(recipe)
        values = np.asarray(scores, np.float64)
        told = np.zeros((len(values), 0)) if qualities is None else np.asarray(qualities, np.float64)
        if values.ndim != 1 or told.shape != (len(values), len(self.qualities)):
            raise ValueError(f"scores {values.shape} with qualities {told.shape}, wanted (N, {len(self.qualities)})")
        if not (np.isfinite(values).all() and np.isfinite(told).all()):
            raise ValueError("a score or a quality is not a finite number")
        llrs = self.parameters.apply(values, told)
        if self.counts.gallery_size and gallery_size > self.counts.gallery_size:
            llrs = llrs - math.log10(gallery_size / self.counts.gallery_size)
        return np.clip(llrs, self.bounds.lower_llr, self.bounds.upper_llr)

    def check_recipe(self, recipe: str) -> None:
        """Raise RECIPE_MISMATCH for scores of another recipe."""
        if recipe != self.recipe:
            raise Code.RECIPE_MISMATCH(
                f"The calibration is for scores of {self.recipe}, these are of {recipe}.",
                "Use a calibration of the same recipe, or make one with `wayspeak calibrate`.",
            )

    def approve(self, approver: str, created: str = "") -> "Calibration":
        """Give the approved record; BAD_CALIBRATION where it is no draft, or the approver is its author."""
        self._expect(CalibrationStatus.DRAFT, "approved")
        if not approver.strip() or _fold(approver) == _fold(self.author):
            raise Code.BAD_CALIBRATION(
                f"{approver.strip() or 'Nobody'} cannot approve a calibration by {self.author}.",
                "Let another person look at it and approve it.",
            )
        return self._succeed(status=CalibrationStatus.APPROVED, approver=approver.strip(), created=created)

    def retire(self, note: str, created: str = "") -> "Calibration":
        """Give the retired record, with the reason; results keep the id of the approved one."""
        self._expect(CalibrationStatus.APPROVED, "retired")
        return self._succeed(status=CalibrationStatus.RETIRED, note=note, created=created)

    def _expect(self, status: CalibrationStatus, what: str) -> None:
        if self.status != status:
            raise Code.BAD_CALIBRATION(
                f"A calibration that is {self.status} cannot be {what}.", f"Wanted one that is {status}."
            )

    def _succeed(self, **changes: Any) -> "Calibration":
        changes["created"] = changes["created"] or tell_time()
        return seal(replace(self, id="", supersedes=self.id, **changes))


def seal(record: Calibration) -> Calibration:
    """Give the record its id, with all numbers of the types that a file would give."""
    plain = _build(asdict(record))
    return replace(plain, id=_hash(plain))


def to_json(record: Calibration) -> str:
    """Write a record, the same text for the same record."""
    return json.dumps({"schema": SCHEMA} | asdict(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str) -> Calibration:
    """Read what `to_json` wrote; BAD_CALIBRATION where it is anything else, or was changed since it was sealed."""
    hint = "Make the calibration anew with `wayspeak calibrate`."
    try:
        if len(text) > MAX_CHARS:
            raise ValueError(f"it is {len(text)} characters long, more than {MAX_CHARS}")
        found = json.loads(text, object_pairs_hook=_refuse_doubled)
        if not isinstance(found, dict) or found.pop("schema", None) != SCHEMA:
            raise ValueError(f"it is not of schema {SCHEMA}")
        record = _build(found)
    except (ValueError, TypeError, OverflowError, RecursionError) as cause:
        raise Code.BAD_CALIBRATION(f"The calibration record cannot be read: {explain(cause)}.", hint) from cause
    if record.id != _hash(record):
        raise Code.BAD_CALIBRATION("The calibration record was changed after it was sealed: its id does not fit.", hint)
    return record


def tell_time() -> str:
    """Now, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def choose_current(records: Iterable[Calibration], task: Task, recipe: str) -> Calibration | None:
    """Give the newest approved record of a task and recipe that no other supersedes; None where there is none."""
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
    """Validate as JSON, where lists become tuples and strings enum members, and nothing else is converted."""
    return RECORD.validate_json(json.dumps(found))


def _refuse_doubled(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name[:40]!r} stands there twice")
        found[name] = value
    return found


def _hash(record: Calibration) -> str:
    """SHA-256 of all that a record says, its id apart."""
    said = asdict(record)
    del said["id"]
    return hashlib.sha256(json.dumps(said, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _check(record: Calibration) -> None:
    kind = Logistic if record.calibrator == CalibratorKind.LOGISTIC else Isotonic
    if not isinstance(record.parameters, kind):
        raise ValueError(f"a {record.calibrator} calibration with {type(record.parameters).__name__} parameters")
    wanted = len(record.parameters.weights) if isinstance(record.parameters, Logistic) else 0
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
        raise ValueError("an id or a hash is no SHA-256")
    if datetime.fromisoformat(record.created).tzinfo is None:
        raise ValueError(f"created at {record.created!r}, wanted a time with its zone")


def _fold(name: str) -> str:
    """One person under one name, however it is spaced or capitalised."""
    return " ".join(name.casefold().split())


RECORD = TypeAdapter(Calibration)
