"""Calibration records as files.

Who approves the records that come with the program: fixed rules, since no second person looks at them.

The author chooses clips, options and words; whoever approves must be somebody else. For a release that is this file: it
looks at held-out figures alone, which the author's choices cannot argue with, and it is no judgement of whether a
record suits a use. Whoever relies on ratios in earnest calibrates on recordings of their own and has a person approve.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from engine.calibration.records import Calibration, Metric, from_json, to_json
from engine.calibration.validation import ALL
from engine.errors import Code, FolderUnwritable

SHIPPED = Path(__file__).parent / "shipped"
"""Approved records that come with the program; the drafts they were approved from are in `docs/calibration-drafts`."""


def read_record(path: Path) -> Calibration:
    """Read a record; BAD_CALIBRATION where there is none, or it was changed since it was sealed."""
    try:
        text = path.read_text("utf-8")
    except OSError as cause:
        raise Code.BAD_CALIBRATION(f"The record {path} cannot be read: {cause.strerror}.", "Check its name.") from cause
    except UnicodeDecodeError as cause:
        raise Code.BAD_CALIBRATION(
            f"The record {path} is no text in UTF-8.", "Make it with `wayspeak calibrate`."
        ) from cause
    return from_json(text)


def write_record(record: Calibration, path: Path) -> None:
    """Write a record, or say why that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(record), encoding="utf-8")
    except OSError as cause:
        raise FolderUnwritable(f"{path} cannot be written: {cause.strerror}.", "Choose another place.") from cause


@cache
def list_shipped() -> tuple[Calibration, ...]:
    """Read the records that come with the program once, in the order of their file names."""
    return tuple(read_record(path) for path in sorted(SHIPPED.glob("*.json")))


APPROVER = "Wayspeak release rules 1"
MIN_PEOPLE = 15
MAX_MISCALIBRATION = 0.05  # bits: what is lost by calibration, told as the lower end of its interval
RATIOS = (10, 100)


def approve_by_rules(record: Calibration, created: str = "") -> Calibration:
    """Give the approved record; BAD_CALIBRATION names every rule that it does not keep."""
    broken = list(find_broken_rules(record))
    if broken:
        raise Code.BAD_CALIBRATION(
            f"The calibration {record.id[:12]} does not keep the rules of a release: {'; '.join(broken)}.",
            "Calibrate on more people, or let a person look at it and approve it.",
        )
    return record.approve(APPROVER, created)


def find_broken_rules(record: Calibration) -> Iterator[str]:
    """Say in words which rules a record does not keep, on all held-out trials together."""
    found = {one.name: one for one in record.metrics if one.condition == ALL}
    if not record.population or not record.note:
        yield "it does not say whom it stands for and where it is weak"
    if record.counts.people < MIN_PEOPLE:
        yield f"it is of {record.counts.people} people, wanted {MIN_PEOPLE} at least"
    if not _high(found, "cllr") < 1:
        yield "Cllr may be 1 or more: as good as saying nothing"
    if not _low(found, "cllr_cal") <= MAX_MISCALIBRATION:
        yield f"Cllr_cal is surely above {MAX_MISCALIBRATION}"
    for ratio in RATIOS:
        for name, what in (
            (f"different_lr_from_{ratio}", "for the first"),
            (f"same_lr_to_1/{ratio}", "for the second"),
        ):
            if not _low(found, name) <= 1 / ratio:
                yield f"ratios of {ratio} and more {what} hypothesis mislead in more than 1 of {ratio}"


def _high(found: dict[str, Metric], name: str) -> float:
    """Upper end of the interval; infinite where there is none, so that no rule is kept by silence."""
    metric = found.get(name)
    return float("inf") if metric is None or metric.high is None else metric.high


def _low(found: dict[str, Metric], name: str) -> float:
    metric = found.get(name)
    return float("inf") if metric is None or metric.low is None else metric.low
