"""Render an analysis as escaped HTML: what was measured and what to do next, never whether a video is genuine."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from markupsafe import Markup

from engine.calibration.records import Task
from engine.calibration.verbal_scale import (
    ABSTAINED,
    BEHIND,
    BOUNDS,
    HIGH_P_VALUE,
    P_VALUE,
    ZONE_WORDS,
    Zone,
    name_ratio,
    state,
)
from engine.consistency.methods import TITLES
from engine.errors import EngineError, LicenceNotAccepted
from engine.reports.media import describe_channel, has_own_clock, is_ordinary, list_facts, to_file_time
from engine.reports.text import CAUTION, POOLED, list_notes, name_method
from engine.types import (
    Analysis,
    ConsistencyReport,
    MediaReport,
    Mode,
    Model,
    Reason,
    Span,
    SpanKind,
    SpeakerReport,
    Status,
    TrackReport,
    Window,
)
from webapp.i18n import say
from webapp.templates import fill

STATUS_WORDS = {
    Status.EVALUATED: ("✔", "Evaluated"),
    Status.LIMITED: ("△", "Evaluated with limits"),
    Status.NOT_EVALUATED: ("∅", "Not evaluated"),
    Status.FAILED: ("✕", "Failed"),
}
STEP_WORDS = {
    "read": "Reading the file",
    "speech": "Listening for speech",
    "faces": "Following faces",
    "lips": "Reading lips",
    "mouths": "Cutting out mouths",
    "crops": "Cutting out faces",
    "score": "Comparing lips and sound",
    "sounds": "Recognising speech sounds",
    "embed": "Reading the way of speaking",
    "search": "Asking the gallery",
    "fetch": "Fetching the video",
}
UNCALIBRATED = (
    "Scores are uncalibrated: no calibration of this recipe exists yet, so no verdict is given. "
    "One of another recipe is not applied; the tab Calibration says how to make one. "
    "A higher score means that lips and sound agree more; how high is usual for genuine speech is not yet known."
)
EVIDENCE = (
    "A likelihood ratio tells how much better the evidence fits one explanation than the other. "
    "It is not the probability that a video is manipulated."
)
NO_MEDIA = MediaReport()
SPAN_WORDS = {
    SpanKind.CONSISTENT: "fits this face",
    SpanKind.INCONSISTENT: "another voice fits better",
    SpanKind.UNDECIDABLE: "undecided",
}
CHANGE = "From {start} to {end} s another voice fits better than that of this face; the rest of the speech fits it."
ZONE_SIGNS = {Zone.SUPPORTED: "⊕", Zone.INCONCLUSIVE: "○", Zone.AGAINST: "⊖"}
ZONE_TITLES = {
    Zone.SUPPORTED: "Supported: face and voice fit",
    Zone.INCONCLUSIVE: "Inconclusive",
    Zone.AGAINST: "Against: face and voice do not fit",
}


def welcome() -> str:
    """Show the instructions before the first analysis."""
    return fill("analysis.html", "welcome")


def show_player(address: str | None, caption: str = "", zero_s: float = 0.0) -> str:
    """Show a player of the uploaded file; nothing is converted. `zero_s`: its time at media time 0."""
    return fill("macros.html", "player", address=address, caption=caption, zero_s=zero_s)


def list_players(clips: Sequence[tuple[str, str]]) -> Markup:
    """Show players for (URL, caption) pairs, loaded on demand."""
    return fill("macros.html", "players", clips=clips)


def describe_error(error: EngineError) -> str:
    """Show message and hint of an error, escaped."""
    title = say("That was not done")
    return fill("macros.html", "error", title=title, message=error.message, hint=error.hint, code=error.code)


def describe_analysis(analysis: Analysis, is_live: bool = True) -> Markup:
    """Summarise the clip: status, reasons, result, and what it does not mean."""
    raw = any(t.consistency.score is not None and t.consistency.calibration is None for t in analysis.tracks)
    return fill(
        "analysis.html",
        "summary",
        analysis=analysis,
        is_live=is_live,
        status=show_status(analysis.status),
        lead=_sum_up(analysis),
        uncalibrated=say(UNCALIBRATED) if raw else "",
        notes=[say(note) for note in list_notes(analysis)],
        reasons=list_reasons(_list_clip_reasons(analysis)),
        cautions=[say(text) for text in (*CAUTION, EVIDENCE)],
        method=say(name_method(analysis)),
        facts=describe_media(analysis.media),
        is_ordinary=is_ordinary(analysis.media),
        speakers=[_describe_speaker(one) for one in analysis.speakers],
    )


def _describe_speaker(speaker: SpeakerReport) -> Markup:
    """Show the result of several tracks of one face as one."""
    found = speaker.consistency
    return fill(
        "analysis.html",
        "speaker",
        title=say(POOLED, faces=", ".join(str(number + 1) for number in speaker.tracks)),
        status=show_status(found.status),
        calibrated=_describe_calibrated(found),
        agreement=_describe_numbers(found),
        reasons=list_reasons(found.reasons),
    )


def describe_media(media: MediaReport) -> list[tuple[str, str]]:
    """Return (name, text) of each fact about what of the recording was judged; empty for older reports."""
    return [(say(fact.head), say(fact.text, **fact.values)) for fact in list_facts(media)]


def name_face(track: TrackReport) -> str:
    """Return the face number, counted from 1."""
    return say("Face {n}", n=track.id + 1)


def list_tracks(tracks: Sequence[TrackReport]) -> str:
    """List the faces, each with picture, time range and result."""
    faces = [(one, name_face(one), _picture(one.thumbnail), show_status(one.consistency.status)) for one in tracks]
    return fill("analysis.html", "tracks", faces=faces)


def describe_face(track: TrackReport, media: MediaReport = NO_MEDIA) -> Markup:
    """Show one face: picture, status, results with their meaning, and reasons."""
    found = track.consistency
    return fill(
        "analysis.html",
        "face",
        track=track,
        name=name_face(track),
        picture=_picture(track.thumbnail),
        sources=_describe_source(track, media),
        status=show_status(found.status),
        calibrated=_describe_calibrated(found),
        changes=_list_changes(found),
        agreement=_describe_numbers(found),
        second_model=found.second and TITLES[found.second.model],
        second_offset=found.second and _place(found.second.offset_s),
        reasons=list_reasons(found.reasons),
    )


def describe_methods(lacking: dict[Model, EngineError]) -> str:
    """List missing models in one line each, with installation command and licence."""
    if not lacking:
        return ""
    unaccepted = [TITLES[model] for model, error in lacking.items() if isinstance(error, LicenceNotAccepted)]
    absent = [TITLES[model] for model, error in lacking.items() if not isinstance(error, LicenceNotAccepted)]
    return fill("analysis.html", "lacking", unaccepted=unaccepted, absent=absent)


def list_windows(windows: tuple[Window, ...], media: MediaReport = NO_MEDIA) -> str:
    """Show the timeline as a table with buttons that move the player, for keyboards and screen readers.

    Where the file's own clock differs from media time, the table shows both.
    """
    rows = [(one, to_file_time(media, one.start_s), to_file_time(media, one.end_s)) for one in windows]
    return fill("analysis.html", "windows", rows=rows, has_own_clock=has_own_clock(media))


def list_spans(spans: tuple[Span, ...]) -> Markup:
    """Show the spans of a face as a table, each with the uncertainty of its borders and its likelihood ratio."""
    rows = [(one, say(SPAN_WORDS[one.kind])) for one in spans]
    return fill("analysis.html", "spans", rows=rows)


def list_reasons(reasons: tuple[Reason, ...]) -> Markup:
    """List why a result is limited or absent, each reason with its next step."""
    rows = [(make_sentence(say(reason.text)), reason, say(reason.next_step)) for reason in reasons]
    return fill("macros.html", "reasons", rows=rows)


def show_status(status: Status) -> Markup:
    """Show a status by sign and text; colour only repeats it."""
    sign, word = STATUS_WORDS[status]
    return fill("macros.html", "status", code=status.lower(), sign=sign, word=say(word))


def describe_strength(llr: float, task: Task) -> str:
    """Return the verbal scale of a log10 likelihood ratio, with both hypotheses, in the page's language."""
    verbal = state(llr, task)
    likelier, other, band = say(verbal.likelier), say(verbal.other), say(verbal.band.value)
    return say(verbal.template, ratio=verbal.ratio, likelier=likelier, other=other, band=band)


def make_sentence(text: str) -> str:
    """Capitalise the first letter and add a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def _describe_source(track: TrackReport, media: MediaReport) -> list[str]:
    """Return what else is known of a face: time on the file's clock, the channel it was judged with."""
    texts = []
    if has_own_clock(media):
        start, end = to_file_time(media, track.start_s), to_file_time(media, track.end_s)
        texts.append(say("{start} to {end} s on the file's own clock", start=f"{start:.1f}", end=f"{end:.1f}"))
    if track.channel is not None:
        fact = describe_channel(track.channel)
        texts.append(say("judged with: {channel}", channel=say(fact.text, **fact.values)))
    return texts


def _list_changes(found: ConsistencyReport) -> list[str]:
    """Name each span in which another voice speaks."""
    return [
        say(CHANGE, start=f"{one.start_s:.1f}", end=f"{one.end_s:.1f}")
        for one in found.spans
        if one.kind == SpanKind.INCONSISTENT
    ]


def _describe_calibrated(found: ConsistencyReport) -> Markup | str:
    """Show the calibrated result of a face: zone, strength, both hypotheses, limits."""
    note = found.calibration
    if note is None:
        return ""
    zone, sign, title, texts = None, "", "", [say(ABSTAINED)]
    if found.llr is not None and found.zone is not None:
        zone = Zone(found.zone)
        sign, title = ZONE_SIGNS[zone], say(ZONE_TITLES[zone])
        texts = [describe_strength(found.llr, Task.CONSISTENCY), say(ZONE_WORDS[zone])]
        if found.p_value is not None and found.smallest_p is not None:
            texts.append(say(P_VALUE, p=f"{found.p_value:.2g}", least=f"{found.smallest_p:.2g}"))
        if found.high_p_value is not None and found.smallest_p is not None:
            texts.append(say(HIGH_P_VALUE, p=f"{found.high_p_value:.2g}", least=f"{found.smallest_p:.2g}"))
        texts.append(say(BOUNDS, most=name_ratio(note.bounds_llr[1]), least=name_ratio(note.bounds_llr[0])))
    grounds = say(BEHIND, version=note.version, id=note.id[:12], author=say(note.author), approver=say(note.approver))
    return fill("analysis.html", "calibrated", zone=zone, sign=sign, title=title, texts=texts, grounds=grounds)


def _list_clip_reasons(analysis: Analysis) -> tuple[Reason, ...]:
    """Return the reasons of the clip that no face repeats."""
    repeated = {reason for track in analysis.tracks for reason in track.consistency.reasons}
    return tuple(reason for reason in analysis.reasons if reason not in repeated)


def _sum_up(analysis: Analysis) -> str:
    n_faces = len(analysis.tracks)
    scored = sum(track.consistency.score is not None for track in analysis.tracks)
    faces = {0: say("No face was followed"), 1: say("One face was followed")}.get(n_faces)
    faces = faces or say("{n} faces were followed", n=n_faces)
    if scored == 0:
        return say(
            "{faces}; nothing was compared with the sound. The reasons are below, each with what to do next.",
            faces=faces,
        )
    if analysis.mode == Mode.PAPER:
        return say("One face was compared with the sound, over the first 50 s as a whole.")
    if n_faces == 1:
        return say("{faces}, and its lips were compared with the sound, second by second.", faces=faces)
    return say("{faces}; compared with the sound, second by second: {n}.", faces=faces, n=scored)


def _describe_numbers(found: ConsistencyReport) -> str:
    """Show the numbers of a face without a judgement."""
    if found.score is None or found.offset_s is None:
        return say("Lips and sound were not compared; the reasons are below.")
    place = say("where it is")
    if abs(found.offset_s) >= 0.02:
        late = say("taken as {s} s late") if found.offset_s > 0 else say("taken as {s} s early")
        place = late.format(s=f"{abs(found.offset_s):.2f}")
    text = say(
        "Lips and sound agree best, with a score of {score}, when the sound is {place}.",
        score=f"{found.score:.3f}",
        place=place,
    )
    if found.drift_s is not None and abs(found.drift_s) >= 0.04:
        drift = say("The best offset moves by {s} s from the beginning to the end.", s=f"{found.drift_s:+.2f}")
        text = f"{text} {drift}"
    return text


def _place(offset_s: float) -> str:
    if abs(offset_s) < 0.02:
        return say("best with the sound where it is")
    late = say("best with the sound {s} s too late") if offset_s > 0 else say("best with the sound {s} s too early")
    return late.format(s=f"{abs(offset_s):.2f}")


def _picture(image: np.ndarray) -> str:
    """Encode (H, W, 3) uint8 RGB as a data URL."""
    _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return f"data:image/png;base64,{base64.b64encode(png.tobytes()).decode()}"
