"""Lip closure report as JSON and as terminal lines, independent of the score."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from engine.consistency.lip_closures import EXAMPLES, ArticulationReport, Gesture, Tally
from engine.errors import Code
from engine.json_fields import explain
from engine.speech.phonemes import LANGUAGES

SCHEMA_VERSION = 1
REPORT, TALLY = TypeAdapter(ArticulationReport), TypeAdapter(Tally)
TALLIES = ("closed", "rounded", "both")  # properties of a report
FEW = 10  # sounds; a share of fewer carries little information
CAUTIONS = (
    "The sounds were recognised by a model of {language}, which is often wrong; in another language it hears sounds "
    "that are not there.",
    "Look and listen at the times told: this is no verdict. Mumbling, a turned head, a microphone or a low picture "
    "rate make real lips miss sounds, and a made-up mouth may make them all.",
)
NAMES = {Gesture.CLOSED: "lips closed for m, b, p", Gesture.ROUNDED: "lips rounded for w, r, oo, o, aw"}


def to_json(reports: Sequence[ArticulationReport]) -> dict[str, Any]:
    """Convert the reports of the faces of a clip, in order, each with its derived counts."""
    faces = []
    for number, report in enumerate(reports):
        written = REPORT.dump_python(report, mode="json")
        sounds = written.pop("sounds")
        counts = {name: TALLY.dump_python(getattr(report, name), mode="json") for name in TALLIES}
        faces.append({"id": number, **written, **counts, "sounds": sounds})
    return {"schema_version": SCHEMA_VERSION, "faces": faces}


def from_json(report: Mapping[str, Any]) -> tuple[ArticulationReport, ...]:
    """Read the output of `to_json`, numbers rounded; REPORT_DAMAGED for any other content."""
    try:
        return tuple(REPORT.validate_python(face) for face in report["faces"])
    except (KeyError, TypeError, ValueError) as cause:
        raise Code.REPORT_DAMAGED(
            f"The lip closure report is damaged: {explain(cause)}.", "Analyse the file again."
        ) from cause


def list_rows(report: ArticulationReport) -> list[tuple[str, ...]]:
    """List one row per sound: time, sound, gesture, measurement, outcome."""
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
    """Describe how many sounds the lips missed, and the expected miss rate."""
    lines = [
        f"{NAMES[gesture]}: {describe_tally(tally)}"
        for gesture, tally in ((Gesture.CLOSED, report.closed), (Gesture.ROUNDED, report.rounded))
    ]
    if 0 < report.both.n < FEW:
        lines.append(f"With only {report.both.n} sounds, these shares say next to nothing.")
    return [*lines, *(line.format(language=LANGUAGES[report.language]) for line in CAUTIONS)]


def describe_tally(tally: Tally) -> str:
    """Describe a count in one line."""
    unseen = f"; {tally.n_unseen} more could not be seen" if tally.n_unseen else ""
    if tally.share is None or tally.ci is None or tally.by_chance is None:
        return f"no such sound while the face was measured{unseen}"
    low, high = tally.ci
    return (
        f"{tally.n_missed} of {tally.n} missed, {tally.share:.0%} (95 %: {low:.0%} to {high:.0%}); "
        f"at any other time of the speech {tally.by_chance:.0%}{unseen}"
    )
