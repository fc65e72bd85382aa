"""Two analyses side by side: of one file by two methods, or of two files."""

from collections.abc import Sequence
from html import escape

from engine.summary import name_method
from engine.types import Analysis, TrackReport, Window
from gallery_db.summary import clean
from webapp.jobs.records import Job
from webapp.texts import say
from webapp.views import show_status


def describe(jobs: Sequence[Job], analyses: Sequence[Analysis]) -> str:
    """Set the figures of two analyses beside each other, a column each."""
    rows = [
        (say("File"), [escape(clean(one.name)) for one in analyses]),
        (say("Method:").rstrip(":"), [escape(say(name_method(one))) for one in analyses]),
        (say("Recipe"), [f"<code>{escape(one.recipe)}</code>" for one in analyses]),
        (say("State"), [show_status(one.status) for one in analyses]),
        (say("Reasons"), [escape(", ".join(one.reasons)) or "–" for one in analyses]),
        (say("Score"), [_tell(one, "score", "{:.3f}") for one in analyses]),
        (say("log10 likelihood ratio"), [_tell(one, "llr", "{:+.2f}") for one in analyses]),
        (say("Offset of the sound"), [_tell(one, "offset_s", "{:+.2f} s") for one in analyses]),
        (say("Speech with this face in view"), [_tell(one, "speech_s", "{:.1f} s") for one in analyses]),
    ]
    body = "".join(
        f'<tr><th scope="row">{escape(head)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for head, cells in rows
    )
    heads = "".join(f'<th scope="col">{letter}</th>' for letter in "AB")
    return (
        f'{_warn(analyses)}<table class="ws-rows"><thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table>'
    )


def list_timelines(jobs: Sequence[Job], analyses: Sequence[Analysis]) -> list[tuple[str, tuple[Window, ...]]]:
    """The timelines of both, of the face that spoke most in each; empty where one has none."""
    found = []
    for letter, job, one in zip("AB", jobs, analyses, strict=True):
        track = _choose(one)
        if track is not None and track.consistency.windows:
            found.append((f"{letter}: {clean(job.name)}", track.consistency.windows))
    return found


def _choose(analysis: Analysis) -> TrackReport | None:
    scored = [track for track in analysis.tracks if track.consistency.score is not None]
    return max(scored, key=lambda track: track.consistency.speech_s, default=None)


def _tell(analysis: Analysis, field: str, form: str) -> str:
    track = _choose(analysis)
    value = None if track is None else getattr(track.consistency, field)
    return "–" if value is None else escape(form.format(value))


def _warn(analyses: Sequence[Analysis]) -> str:
    if len({one.recipe for one in analyses}) == 1:
        return ""
    words = say("The two are of different recipes: their scores are not on one scale.")
    return f'<p class="ws-banner">{escape(words)}</p>'
