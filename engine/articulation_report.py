"""What the lips did while speech was heard, as JSON and as lines for a terminal: told beside the score, not in it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from engine.articulation import (
    EXAMPLES,
    Articulation,
    ArticulationReport,
    Gesture,
    Outcome,
    Tally,
)
from engine.report import ReportDamaged
from engine.speechsounds import LANGUAGES, Sound

SCHEMA_VERSION = 1
FEW = 10  # sounds; a share of fewer says next to nothing
CAUTIONS = (
    "The sounds were recognised by a model of {language}, which is often wrong; in another language it hears sounds "
    "that are not there.",
    "Look and listen at the times told: this is no verdict. Mumbling, a turned head, a microphone or a low picture "
    "rate make real lips miss sounds, and a made-up mouth may make them all.",
)
NAMES = {Gesture.CLOSED: "lips closed for m, b, p", Gesture.ROUNDED: "lips rounded for w, r, oo, o, aw"}


def to_json(reports: Sequence[ArticulationReport]) -> dict[str, Any]:
    """Lay the reports of a clip's faces out, in their order; seconds to a millisecond, shares to a ten-thousandth."""
    return {
        "schema_version": SCHEMA_VERSION,
        "faces": [
            {
                "id": number,
                "language": report.language,
                "start_s": round(report.start_s, 3),
                "end_s": round(report.end_s, 3),
                **{name: _tally(getattr(report, name)) for name in ("closed", "rounded", "both")},
                "sounds": [_articulation(one) for one in report.articulations],
            }
            for number, report in enumerate(reports)
        ],
    }


def from_json(report: Mapping[str, Any]) -> tuple[ArticulationReport, ...]:
    """Read what `to_json` gave, numbers as rounded there; ReportDamaged where it is none."""
    try:
        return tuple(
            ArticulationReport(
                language=str(face["language"]),
                start_s=float(face["start_s"]),
                end_s=float(face["end_s"]),
                articulations=tuple(_read_articulation(one) for one in face["sounds"]),
            )
            for face in report["faces"]
        )
    except (KeyError, TypeError, ValueError) as cause:
        raise ReportDamaged("What the lips did is not told whole.", "Analyse the file again.") from cause


def list_rows(report: ArticulationReport) -> list[tuple[str, ...]]:
    """Lay out one row a sound: time, sound, what is wanted of the lips, what was measured, what came of it."""
    return [
        (
            f"{one.sound.start_s:.2f}",
            EXAMPLES[one.sound.name],
            str(one.gesture),
            "-" if one.measured is None else f"{one.measured:.3f}",
            str(one.outcome),
        )
        for one in report.articulations
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


def _tally(tally: Tally) -> dict[str, Any]:
    shares = {"share": tally.share, "by_chance": tally.by_chance}
    rounded = {name: None if value is None else round(value, 4) for name, value in shares.items()}
    return asdict(tally) | rounded | {"ci": None if tally.ci is None else [round(end, 4) for end in tally.ci]}


def _articulation(one: Articulation) -> dict[str, Any]:
    return {
        "sound": one.sound.name,
        "start_s": round(one.sound.start_s, 3),
        "end_s": round(one.sound.end_s, 3),
        "wanted": str(one.gesture),
        "measured": None if one.measured is None else round(one.measured, 4),
        "outcome": str(one.outcome),
        "by_chance": round(one.by_chance, 4),
    }


def _read_articulation(told: Mapping[str, Any]) -> Articulation:
    return Articulation(
        sound=Sound(str(told["sound"]), float(told["start_s"]), float(told["end_s"])),
        gesture=Gesture(told["wanted"]),
        outcome=Outcome(told["outcome"]),
        by_chance=float(told["by_chance"]),
        measured=None if told["measured"] is None else float(told["measured"]),
    )
