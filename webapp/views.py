"""What the page says of an analysis: pure functions from records to escaped HTML.

It tells what was measured and what to do next, never whether a video is genuine.
"""

import base64
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np

from engine.calibration.bands import ABSTAINED, BEHIND, BOUNDS, P_VALUE, ZONE_WORDS, Zone, name_ratio, state
from engine.calibration.records import Task
from engine.errors import EngineError, LicenceNotAccepted
from engine.methods import TITLES
from engine.summary import CAUTION, list_notes, name_method
from engine.types import (
    Analysis,
    CalibrationNote,
    ConsistencyReport,
    Mode,
    Model,
    Reason,
    SecondOpinion,
    Status,
    TrackReport,
    Window,
)
from webapp.texts import say

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
    "A higher score means that lips and sound agree more; how high is usual for genuine speech is not yet known."
)
EVIDENCE = (
    "A likelihood ratio tells how much better the evidence fits one explanation than the other. "
    "It is not the probability that a video is manipulated."
)
ZONE_SIGNS = {Zone.SUPPORTED: "⊕", Zone.INCONCLUSIVE: "○", Zone.AGAINST: "⊖"}
ZONE_TITLES = {
    Zone.SUPPORTED: "Supported: face and voice fit",
    Zone.INCONCLUSIVE: "Inconclusive",
    Zone.AGAINST: "Against: face and voice do not fit",
}


def welcome() -> str:
    """Say what to do while nothing has been analysed."""
    first = say("Upload a talking-head clip or take an example, then press Analyse.")
    second = say("You will see, second by second, how well the lips of each face agree with the sound.")
    return f'<div class="ws-note"><p>{escape(first)}</p><p>{escape(second)}</p></div>'


def show_player(address: str | None, caption: str = "") -> str:
    """Give the browser the file as it was handed in; nothing is converted."""
    if address is None:
        return f'<div class="ws-player ws-empty"><p>{escape(say("No video chosen"))}</p></div>'
    note = f"<p>{escape(caption)}</p>" if caption else ""
    name = escape(say("The video under analysis"), quote=True)
    unplayable = say("This browser cannot play the file; it can be analysed all the same.")
    return (
        f'<div class="ws-player"><video id="ws-player" controls preload="metadata" playsinline '
        f'src="{escape(address, quote=True)}" aria-label="{name}"></video>'
        f'{note}<p class="ws-unplayable" role="status" hidden>{escape(unplayable)}</p></div>'
    )


def list_players(clips: Sequence[tuple[str, str]]) -> str:
    """Offer clips to be played beside each other: (address, caption) each; nothing is loaded before it is asked for."""
    figures = "".join(
        f'<figure><video controls preload="none" playsinline src="{escape(address, quote=True)}" '
        f'aria-label="{escape(caption, quote=True)}"></video><figcaption>{escape(caption)}</figcaption></figure>'
        for address, caption in clips
    )
    return f'<div class="ws-plays">{figures}</div>' if figures else ""


def describe_error(error: EngineError) -> str:
    """Say what was found, what was wanted and what to do; everything from the file is escaped."""
    hint = f"<p><b>{escape(say('What to do:'))}</b> {escape(error.hint)}</p>" if error.hint else ""
    return (
        f'<div class="ws-error" role="alert"><h2>✕ {escape(say("That was not done"))}</h2>'
        f'<p>{escape(error.message)}</p>{hint}<p class="ws-code">{escape(error.code)}</p></div>'
    )


def describe_analysis(analysis: Analysis) -> str:
    """Sum the whole clip up: status, reasons, what was found, and what it does not mean."""
    width, height = analysis.size_px
    raw = any(t.consistency.score is not None and t.consistency.calibration is None for t in analysis.tracks)
    banner = f'<p class="ws-banner"><b>{say("Uncalibrated.")}</b> {escape(say(UNCALIBRATED))}</p>' if raw else ""
    notes = "".join(f'<p class="ws-banner">{escape(say(note))}</p>' for note in list_notes(analysis))
    cautions = "".join(f"<li>{escape(say(text))}</li>" for text in (*CAUTION, EVIDENCE))
    return (
        f'<section class="ws-summary" aria-live="polite"><h2>{show_status(analysis.status)}</h2>'
        f'<p class="ws-lead">{escape(_sum_up(analysis))}</p>{banner}{notes}{list_reasons(_of_the_clip(analysis))}'
        f'<ul class="ws-caution">{cautions}</ul>'
        f'<p class="ws-file">{escape(say("Method:"))} {escape(say(name_method(analysis)))}</p>'
        f'<p class="ws-file">{escape(analysis.name)} · {analysis.duration_s:.1f} s · {width} × {height} · '
        f"{analysis.source_fps:.4g} {escape(say('frames/s'))} · SHA-256 "
        f"<code>{escape(analysis.sha256)}</code></p></section>"
    )


def name_face(track: TrackReport) -> str:
    """Number a face as people count."""
    return say("Face {n}", n=track.id + 1)


def list_tracks(tracks: Sequence[TrackReport]) -> str:
    """List the faces, each with its picture, when it is seen, and what was said of it."""
    items = "".join(
        f'<li><img src="{_picture(track.thumbnail)}" width="48" height="48" alt="">'
        f'<span><a href="#ws-face-{track.id}">{escape(name_face(track))}</a> '
        f"{show_status(track.consistency.status)}<br>{track.start_s:.1f} – {track.end_s:.1f} s</span></li>"
        for track in tracks
    )
    return f'<ol class="ws-tracks">{items}</ol>'


def describe_face(track: TrackReport) -> str:
    """Introduce one face: its picture, its status, its figures with their meaning, and its reasons."""
    found = track.consistency
    figures = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in _figures(found))
    face = name_face(track)
    place = say(
        "{start} to {end} s, about {width} pixels wide",
        start=f"{track.start_s:.1f}",
        end=f"{track.end_s:.1f}",
        width=f"{track.face_px:.0f}",
    )
    return (
        f'<section class="ws-face" id="ws-face-{track.id}"><img src="{_picture(track.thumbnail)}" width="96" '
        f'height="96" alt="{escape(face, quote=True)}"><div><h2>{escape(face)} {show_status(found.status)}</h2>'
        f'<p class="ws-file">{escape(place)}</p>{_weigh(found)}'
        f'<p class="ws-lead">{escape(_word(found))}</p><dl>{figures}</dl>{_describe_second(found.second)}'
        f"{list_reasons(found.reasons)}</div></section>"
    )


def describe_methods(lacking: dict[Model, EngineError]) -> str:
    """Name the models that are not there in one line, with what brings each and under which licence."""
    if not lacking:
        return ""
    unaccepted = [TITLES[model] for model, error in lacking.items() if isinstance(error, LicenceNotAccepted)]
    absent = [TITLES[model] for model, error in lacking.items() if not isinstance(error, LicenceNotAccepted)]
    joint, parts = f" {say('and')} ", []
    if unaccepted:
        words = say("{models}: licence not accepted", models=joint.join(unaccepted))
        parts.append(f"{escape(words)}, <code>wayspeak weights accept av_hubert</code>")
    if absent:
        words = say("{models}: not here", models=joint.join(absent))
        parts.append(f"{escape(words)}, <code>wayspeak weights import PATH</code>")
    licence = escape(say("licence: non-commercial research alone"))
    return f'<p class="ws-file ws-lacking">{"; ".join(parts)} ({licence}).</p>'


def list_windows(windows: tuple[Window, ...]) -> str:
    """Give the timeline as a table whose buttons move the player, for keyboards and screen readers."""
    rows = "".join(
        f'<tr><td><button type="button" data-seek="{w.start_s:.2f}">{w.start_s:.1f} – {w.end_s:.1f} s</button></td>'
        f"<td>{w.score:.3f}</td><td>{w.offset_s:+.2f} s</td></tr>"
        for w in windows
    )
    heads = "".join(
        f'<th scope="col">{escape(say(text))}</th>' for text in ("Window", "Raw score", "Offset of the sound")
    )
    title = escape(say("The timeline as a table"))
    return (
        f'<details class="ws-table"><summary>{title}</summary><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></details>"
    )


def list_reasons(reasons: tuple[Reason, ...]) -> str:
    """Say why a result is limited or absent, each reason with what to do next."""
    if not reasons:
        return ""
    items = "".join(
        f"<li><b>{escape(make_sentence(say(reason.text)))}</b> <code>{reason}</code><br>"
        f'<span class="ws-next">{escape(say("Next:"))} {escape(say(reason.next_step))}</span></li>'
        for reason in reasons
    )
    return f'<ul class="ws-reasons">{items}</ul>'


def show_status(status: Status) -> str:
    """Name a status by sign and word; colour only repeats it."""
    sign, word = STATUS_WORDS[status]
    return (
        f'<span class="ws-status ws-{status.lower()}"><span aria-hidden="true">{sign}</span> {escape(say(word))}</span>'
    )


def tell_strength(llr: float, task: Task) -> str:
    """Put a log10 likelihood ratio into the page's language; both hypotheses are named."""
    told = state(llr, task)
    likelier, other, band = say(told.likelier), say(told.other), say(told.band.value)
    return say(told.template, ratio=told.ratio, likelier=likelier, other=other, band=band)


def make_sentence(text: str) -> str:
    """Begin with a capital and end with a point; what stands between keeps its own capitals."""
    return f"{text[0].upper()}{text[1:]}."


def _weigh(found: ConsistencyReport) -> str:
    """Say what the calibration in force makes of a face: zone, strength, both hypotheses, how far it goes."""
    note = found.calibration
    if note is None:
        return ""
    if found.llr is None or found.zone is None:
        return f'<div class="ws-zone"><p>{escape(say(ABSTAINED))}</p>{_stand_behind(note)}</div>'
    zone, strength = Zone(found.zone), tell_strength(found.llr, Task.CONSISTENCY)
    more = [say(ZONE_WORDS[zone])]
    if found.p_value is not None and found.smallest_p is not None:
        more.append(say(P_VALUE, p=f"{found.p_value:.2g}", least=f"{found.smallest_p:.2g}"))
    more.append(say(BOUNDS, most=name_ratio(note.bounds_llr[1]), least=name_ratio(note.bounds_llr[0])))
    rest = "".join(f"<p>{escape(text)}</p>" for text in more)
    return (
        f'<div class="ws-zone ws-zone-{zone}"><p class="ws-lead"><b><span aria-hidden="true">{ZONE_SIGNS[zone]}</span> '
        f"{escape(say(ZONE_TITLES[zone]))}</b></p><p>{escape(strength)}</p>{rest}{_stand_behind(note)}</div>"
    )


def _stand_behind(note: CalibrationNote) -> str:
    words = say(BEHIND, version=note.version, id=note.id[:12], author=say(note.author), approver=say(note.approver))
    return f'<p class="ws-file">{escape(words)}</p>'


def _of_the_clip(analysis: Analysis) -> tuple[Reason, ...]:
    """The reasons that no face below repeats."""
    told = {reason for track in analysis.tracks for reason in track.consistency.reasons}
    return tuple(reason for reason in analysis.reasons if reason not in told)


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


def _word(found: ConsistencyReport) -> str:
    """Read the figures out, without judging them."""
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


def _describe_second(second: SecondOpinion | None) -> str:
    """Set what the other model says beside the first; the two scores are never added up."""
    if second is None:
        return ""
    sign, word = ("=", say("no contradiction")) if second.agrees else ("≠", say("contradiction"))
    heading = say("Second opinion, {model}:", model=TITLES[second.model])
    score = say("Its score is {score}, on a scale of its own;", score=f"{second.score:.3f}")
    return (
        f'<div class="ws-second"><h3>{escape(heading)} <span aria-hidden="true">{sign}</span> {escape(word)}</h3>'
        f"<p>{escape(second.text)} {escape(score)} {escape(_place(second.offset_s))}.</p></div>"
    )


def _place(offset_s: float) -> str:
    if abs(offset_s) < 0.02:
        return say("best with the sound where it is")
    late = say("best with the sound {s} s too late") if offset_s > 0 else say("best with the sound {s} s too early")
    return late.format(s=f"{abs(offset_s):.2f}")


def _figures(found: ConsistencyReport) -> list[tuple[str, str]]:
    figures = [(say("Speech with this face in view"), f"{found.speech_s:.1f} s")]
    if found.score is not None and found.offset_s is not None:
        mark = say("uncalibrated, higher is more consistent")
        if found.calibration is not None:
            mark = say("raw, higher is more consistent")
        figures.insert(0, (say("Score"), f"{found.score:.3f} ({mark})"))
        late = say("positive: the sound comes late")
        figures.insert(1, (say("Offset of the sound"), f"{found.offset_s:+.2f} s ({late})"))
    if found.llr is not None:
        figures.insert(0, (say("log10 likelihood ratio"), f"{found.llr:+.2f}"))
    return figures


def _picture(image: np.ndarray) -> str:
    """Encode (H, W, 3) uint8 RGB as a data address."""
    _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return f"data:image/png;base64,{base64.b64encode(png.tobytes()).decode()}"
