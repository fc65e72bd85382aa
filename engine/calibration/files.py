"""Calibration record files, and the fixed rules that approve the shipped records.

The approver must not be the author, who chooses clips, options and texts. For a release these rules approve: they
check held-out metrics only, which the author's choices do not affect, and do not assess fitness for a use. Casework
needs a calibration on recordings of the case and the approval of a person.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from engine.calibration.records import ALL, Calibration, Metric, from_json, to_json
from engine.errors import Code, FolderUnwritable

SHIPPED = Path(__file__).parent / "shipped"
"""Shipped approved records; their drafts are in `docs/calibration-drafts`."""


def read_record(path: Path) -> Calibration:
    """Read a record; BAD_CALIBRATION for a missing, invalid or modified file."""
    try:
        text = path.read_text("utf-8")
    except OSError as cause:
        raise Code.BAD_CALIBRATION(f"The record {path} cannot be read: {cause.strerror}.", "Check its name.") from cause
    except UnicodeDecodeError as cause:
        raise Code.BAD_CALIBRATION(
            f"The record {path} is not UTF-8 text.", "Make it with `wayspeak calibrate`."
        ) from cause
    return from_json(text)


def write_record(record: Calibration, path: Path) -> None:
    """Write a record; FolderUnwritable on a file error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(record), encoding="utf-8")
    except OSError as cause:
        raise FolderUnwritable(f"{path} cannot be written: {cause.strerror}.", "Choose another folder.") from cause


@cache
def list_shipped() -> tuple[Calibration, ...]:
    """Read the shipped records once, in the order of their file names."""
    return tuple(read_record(path) for path in sorted(SHIPPED.glob("*.json")))


APPROVER = "Wayspeak release rules 1"
MIN_PEOPLE = 15
MAX_MISCALIBRATION = 0.05  # bits: lower end of the interval of Cllr_cal
RATIOS = (10, 100)


def approve_by_rules(record: Calibration, created: str = "") -> Calibration:
    """Return the approved record; BAD_CALIBRATION names every broken rule."""
    broken = list(find_broken_rules(record))
    if broken:
        raise Code.BAD_CALIBRATION(
            f"The calibration {record.id[:12]} breaks the release rules: {'; '.join(broken)}.",
            "Calibrate on more people, or let a person review and approve it.",
        )
    return record.approve(APPROVER, created)


def find_broken_rules(record: Calibration) -> Iterator[str]:
    """Describe each rule that a record breaks, on all held-out trials together."""
    found = {one.name: one for one in record.metrics if one.condition == ALL}
    if not record.population or not record.note:
        yield "population or limitations are missing"
    if record.counts.people < MIN_PEOPLE:
        yield f"it has {record.counts.people} people, fewer than {MIN_PEOPLE}"
    if not _high(found, "cllr") < 1:
        yield "Cllr may be 1 or more: no better than no calibration"
    if not _low(found, "cllr_cal") <= MAX_MISCALIBRATION:
        yield f"Cllr_cal is significantly above {MAX_MISCALIBRATION}"
    for ratio in RATIOS:
        for name, side in (
            (f"different_lr_from_{ratio}", "for the first"),
            (f"same_lr_to_1/{ratio}", "for the second"),
        ):
            if not _low(found, name) <= 1 / ratio:
                yield f"ratios of {ratio} and more {side} hypothesis mislead in more than 1 of {ratio}"


def _high(found: dict[str, Metric], name: str) -> float:
    """Upper end of the interval; infinite without one, so that a missing metric breaks the rule."""
    metric = found.get(name)
    return float("inf") if metric is None or metric.high is None else metric.high


def _low(found: dict[str, Metric], name: str) -> float:
    metric = found.get(name)
    return float("inf") if metric is None or metric.low is None else metric.low
