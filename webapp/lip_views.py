"""What the page says of the lips while speech sounds are heard: beside the score, behind a fold, and no part of it."""

from html import escape

from engine.articulation import EXAMPLES, Articulation, ArticulationReport, Gesture, Outcome, Tally
from engine.articulation_report import FEW
from gallery_db.summary import clean
from webapp.jobs.records import JobError
from webapp.texts import say

MAX_ROWS = 400  # in the page; the JSON has them all
GESTURE_WORDS = {Gesture.CLOSED: "closed", Gesture.ROUNDED: "rounded"}
OUTCOME_WORDS = {Outcome.MADE: "made", Outcome.MISSED: "missed", Outcome.UNSEEN: "not seen"}
OUTCOME_SIGNS = {Outcome.MADE: "✓", Outcome.MISSED: "✕", Outcome.UNSEEN: "–"}


def describe_lips(report: ArticulationReport | None, error: JobError | None) -> str:
    """Show which sounds should close or round the lips, and whether they did; empty where that was not asked."""
    if error is not None:
        words = f"{clean(error.message)} {clean(error.hint)}"
        return f'<p class="ws-banner">{escape(words)} <code>{escape(error.code)}</code></p>'
    if report is None:
        return ""
    title = escape(say("Speech sounds and lips (English)"))
    lines = "".join(f"<p>{escape(line)}</p>" for line in _sum_up(report))
    cautions = (
        say("The sounds were recognised by a model of English, which is often wrong; in another language it hears "
            "sounds that are not there."),
        say("Look and listen at the times told: this is no verdict. Mumbling, a turned head, a microphone or a low "
            "picture rate make real lips miss sounds, and a made-up mouth may make them all."),
    )  # fmt: skip
    warnings = f'<p class="ws-file">{escape(" ".join(cautions))}</p>'
    return f'<details class="ws-table ws-lips"><summary>{title}</summary>{lines}{warnings}{_list(report)}</details>'


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
        told = say("no such sound while the face was measured.")
    else:
        told = say(
            "{missed} of {n} missed, {share} (95 %: {low} to {high}). At any other time of the speech the same lips "
            "would miss {chance}.",
            missed=tally.n_missed,
            n=tally.n,
            share=f"{tally.share:.0%}",
            low=f"{tally.ci[0]:.0%}",
            high=f"{tally.ci[1]:.0%}",
            chance=f"{tally.by_chance:.0%}",
        )
    return f"{told} {say('{n} more could not be seen.', n=tally.n_unseen)}" if tally.n_unseen else told


def _list(report: ArticulationReport) -> str:
    """Give all sounds as a table whose buttons move the player."""
    shown = report.sounds[:MAX_ROWS]
    if not shown:
        return ""
    heads = "".join(f'<th scope="col">{escape(say(text))}</th>' for text in ("At", "Sound", "Lips", "Measured", "Seen"))
    rest = len(report.sounds) - len(shown)
    more = f'<p class="ws-file">{escape(say("{n} more are in the JSON.", n=rest))}</p>' if rest else ""
    rows = "".join(_lay_row(one) for one in shown)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{more}"


def _lay_row(one: Articulation) -> str:
    at, measured = one.start_s, "–" if one.measured is None else f"{one.measured:.3f}"
    sign, word = OUTCOME_SIGNS[one.outcome], say(OUTCOME_WORDS[one.outcome])
    return (
        f'<tr><td><button type="button" data-seek="{at:.2f}">{at:.2f} s</button></td>'
        f"<td>{escape(EXAMPLES[one.sound])}</td><td>{escape(say(GESTURE_WORDS[one.wanted]))}</td>"
        f'<td>{measured}</td><td><span aria-hidden="true">{sign}</span> {escape(word)}</td></tr>'
    )
