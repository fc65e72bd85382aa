"""Two analyses side by side: of one file by two methods, or of two files."""

from collections.abc import Sequence

from engine.reports.text import name_method
from engine.types import Analysis, TrackReport, Window
from gallery_db.text import clean
from webapp.jobs.records import Job
from webapp.templates import fill
from webapp.texts import say
from webapp.views import show_status


def describe(jobs: Sequence[Job], analyses: Sequence[Analysis]) -> str:
    """Set the figures of two analyses beside each other, a column each."""
    rows: list[tuple[str, list[str]]] = [
        (say("File"), [clean(one.name) for one in analyses]),
        (say("Method:").rstrip(":"), [say(name_method(one)) for one in analyses]),
        (say("Recipe"), [fill("macros.html", "code", text=one.recipe) for one in analyses]),
        (say("State"), [show_status(one.status) for one in analyses]),
        (say("Reasons"), [", ".join(one.reasons) or "–" for one in analyses]),
        (say("Score"), [_tell(one, "score", "{:.3f}") for one in analyses]),
        (say("log10 likelihood ratio"), [_tell(one, "llr", "{:+.2f}") for one in analyses]),
        (say("Offset of the sound"), [_tell(one, "offset_s", "{:+.2f} s") for one in analyses]),
        (say("Speech with this face in view"), [_tell(one, "speech_s", "{:.1f} s") for one in analyses]),
    ]
    is_on_one_scale = len({one.recipe for one in analyses}) == 1
    return fill("pages.html", "comparison", is_on_one_scale=is_on_one_scale, rows=rows)


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
    return "–" if value is None else form.format(value)
