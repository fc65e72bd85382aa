"""Render lip closures during phonemes, collapsed next to the score and not part of it."""

from engine.consistency.lip_closures import EXAMPLES, ArticulationReport, ClosureOutcome, Gesture, Tally
from engine.reports.lip_closures import FEW
from webapp.analysis.records import JobError
from webapp.i18n import say
from webapp.templates import fill

MAX_ROWS = 400  # in the page; the JSON has all of them
GESTURE_WORDS = {Gesture.CLOSED: "closed", Gesture.ROUNDED: "rounded"}
OUTCOME_WORDS = {ClosureOutcome.MADE: "made", ClosureOutcome.MISSED: "missed", ClosureOutcome.UNSEEN: "not seen"}
OUTCOME_SIGNS = {ClosureOutcome.MADE: "✓", ClosureOutcome.MISSED: "✕", ClosureOutcome.UNSEEN: "–"}


def describe_lips(report: ArticulationReport | None, error: JobError | None) -> str:
    """Show which phonemes should close or round the lips, and whether they did; empty if not requested."""
    if error is not None:
        return fill("macros.html", "absence", error=error)
    if report is None:
        return ""
    shown = report.sounds[:MAX_ROWS]
    rows = [
        (
            one,
            EXAMPLES[one.sound],
            say(GESTURE_WORDS[one.wanted]),
            OUTCOME_SIGNS[one.outcome],
            say(OUTCOME_WORDS[one.outcome]),
        )
        for one in shown
    ]
    return fill("lips.html", "lips", texts=_sum_up(report), rows=rows, n_more=len(report.sounds) - len(shown))


def _sum_up(report: ArticulationReport) -> list[str]:
    lines = [
        say("Lips closed for m, b and p: {tally}", tally=_tell(report.closed)),
        say("Lips rounded for w, r, oo, o and aw: {tally}", tally=_tell(report.rounded)),
    ]
    if 0 < report.both.n < FEW:
        lines.append(say("With so few sounds, these shares say next to nothing."))
    return lines


def _tell(tally: Tally) -> str:
    if tally.share is None or tally.ci is None or tally.by_chance is None:
        text = say("no such sound while the face was measured.")
    else:
        text = say(
            "{missed} of {n} missed, {share} (95 %: {low} to {high}). At any other time of the speech the same lips "
            "would miss {chance}.",
            missed=tally.n_missed,
            n=tally.n,
            share=f"{tally.share:.0%}",
            low=f"{tally.ci[0]:.0%}",
            high=f"{tally.ci[1]:.0%}",
            chance=f"{tally.by_chance:.0%}",
        )
    return f"{text} {say('{n} more could not be seen.', n=tally.n_unseen)}" if tally.n_unseen else text
