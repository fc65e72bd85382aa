"""What the lips did while speech was heard, as JSON and as lines for a terminal: told beside the score, not in it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from engine.consistency.lip_closures import (
    EXAMPLES,
    ArticulationReport,
    Gesture,
    Tally,
)
from engine.errors import Code
from engine.json_fields import explain
from engine.speech.phonemes import LANGUAGES

SCHEMA_VERSION = 1
REPORT, TALLY = TypeAdapter(ArticulationReport), TypeAdapter(Tally)
TALLIES = ("closed", "rounded", "both")  # properties of a report
FEW = 10  # sounds; a share of fewer says next to nothing
CAUTIONS = (
    "The sounds were recognised by a model of {language}, which is often wrong; in another language it hears sounds "
    "that are not there.",
    "Look and listen at the times told: this is no verdict. Mumbling, a turned head, a microphone or a low picture "
    "rate make real lips miss sounds, and a made-up mouth may make them all.",
)
NAMES = {Gesture.CLOSED: "lips closed for m, b, p", Gesture.ROUNDED: "lips rounded for w, r, oo, o, aw"}


def to_json(reports: Sequence[ArticulationReport]) -> dict[str, Any]:
    """Write the reports of a clip's faces in their order, each with its counts, which are derived and so no fields."""
    faces = []
    for number, report in enumerate(reports):
        written = REPORT.dump_python(report, mode="json")
        sounds = written.pop("sounds")
        counts = {name: TALLY.dump_python(getattr(report, name), mode="json") for name in TALLIES}
        faces.append({"id": number, **written, **counts, "sounds": sounds})
    return {"schema_version": SCHEMA_VERSION, "faces": faces}


def from_json(report: Mapping[str, Any]) -> tuple[ArticulationReport, ...]:
    """Read what `to_json` returned, numbers as rounded there; REPORT_DAMAGED where it is none."""
    try:
        return tuple(REPORT.validate_python(face) for face in report["faces"])
    except (KeyError, TypeError, ValueError) as cause:
        raise Code.REPORT_DAMAGED(
            f"What the lips did is not told whole: {explain(cause)}.", "Analyse the file again."
        ) from cause


def list_rows(report: ArticulationReport) -> list[tuple[str, ...]]:
    """Lay out one row a sound: time, sound, what is wanted of the lips, what was measured, what came of it."""
    return [
        (
            f"{one.start_s:.2f}",
            EXAMPLES[one.sound],
            str(one.wanted),
            "-" if one.measured is None else f"{one.measured:.3f}",
            str(one.outcome),
        )
        for one in report.sounds
    ]


def summarise(report: ArticulationReport) -> list[str]:
    """Say how many sounds the lips missed, and how many they would miss by chance."""
    lines = [
        f"{NAMES[gesture]}: {describe_tally(tally)}"
        for gesture, tally in ((Gesture.CLOSED, report.closed), (Gesture.ROUNDED, report.rounded))
    ]
    if 0 < report.both.n < FEW:
        lines.append(f"With only {report.both.n} sounds, these shares say next to nothing.")
    return [*lines, *(line.format(language=LANGUAGES[report.language]) for line in CAUTIONS)]


def describe_tally(tally: Tally) -> str:
    """Say in a line what a tally says."""
    unseen = f"; {tally.n_unseen} more could not be seen" if tally.n_unseen else ""
    if tally.share is None or tally.ci is None or tally.by_chance is None:
        return f"no such sound while the face was measured{unseen}"
    low, high = tally.ci
    return (
        f"{tally.n_missed} of {tally.n} missed, {tally.share:.0%} (95 %: {low:.0%} to {high:.0%}); "
        f"at any other time of the speech {tally.by_chance:.0%}{unseen}"
    )
