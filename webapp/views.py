"""What the page says of an analysis: pure functions from records to escaped HTML.

It tells what was measured and what to do next, never whether a video is genuine.
"""

import base64
from html import escape
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

from engine.errors import EngineError, LicenceNotAccepted
from engine.methods import TITLES
from engine.summary import CAUTION, EXPLANATIONS, list_notes, name_method, place_sound
from engine.types import Analysis, ConsistencyReport, Mode, Model, Reason, SecondOpinion, Status, TrackReport, Window

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
    "score": "Comparing lips and sound",
}
NEXT_STEPS = {
    Reason.NO_AUDIO: "Use a copy of the video that still has its sound.",
    Reason.SILENT: "Check that the sound is not muted, and use a louder copy.",
    Reason.NOT_ENOUGH_SPEECH: "Use a longer part of the recording, in which the person speaks and is seen.",
    Reason.NO_FACE: "Use a part that shows the speaker's face from the front, upright and lit.",
    Reason.FACE_LOST: "Cut the video to the part in which the speaker's face is in view.",
    Reason.LOW_RES: "Use the original or a larger copy, or crop to the speaker before any scaling down.",
    Reason.MULTI_FACE: "Decide by eye who speaks, and read that face's result; or crop the video to one person.",
    Reason.TOO_SHORT: "Use a longer clip: ten seconds of speech are enough for a full answer.",
    Reason.EDITED: "Read each shot's result by itself, or analyse an uncut recording.",
    Reason.OFFSET_BEYOND_SEARCH: "Bring sound and picture roughly together in an editor, and analyse again.",
    Reason.DRIFT: "Read the timeline second by second, and look for the original: converted copies often drift.",
    Reason.FPS_VFR: "Use the original recording; screen captures and calls lose pictures.",
    Reason.TRUNCATED: "Get a complete copy; what could be read was analysed.",
    Reason.STILL_FACE: "Look for whoever speaks, perhaps out of view; this face may be listening.",
    Reason.EXPERTS_DISAGREE: "Look closer: play the clip, and read both curves and the timeline; trust neither alone.",
    Reason.UNCALIBRATED: "Compare scores of one recipe only, and wait for a calibration before drawing conclusions.",
}
UNCALIBRATED = (
    "Scores are uncalibrated: no calibration of this recipe exists yet, so no verdict is given. "
    "A higher score means that lips and sound agree more; how high is usual for genuine speech is not yet known."
)
EVIDENCE = (
    "A calibrated result will be a likelihood ratio: how much better the evidence fits one explanation than the other. "
    "It is not the probability that a video is manipulated."
)


def welcome() -> str:
    """Say what to do while nothing has been analysed."""
    return (
        '<div class="ws-note"><p>Upload a talking-head clip or take an example, then press <b>Analyse</b>.</p>'
        "<p>You will see, second by second, how well the lips of each face agree with the sound.</p></div>"
    )


def show_player(path: Path | None, caption: str = "") -> str:
    """Give the browser the file as it was uploaded; nothing is converted."""
    if path is None:
        return '<div class="ws-player ws-empty"><p>No video chosen</p></div>'
    source = escape(f"gradio_api/file={quote(str(path), safe='/')}", quote=True)
    note = f"<p>{escape(caption)}</p>" if caption else ""
    return (
        f'<div class="ws-player"><video id="ws-player" controls preload="metadata" playsinline src="{source}" '
        f'aria-label="The video under analysis"></video>{note}'
        '<p class="ws-unplayable" role="status" hidden>This browser cannot play the file; it can be analysed all the '
        "same.</p></div>"
    )


def describe_error(error: EngineError) -> str:
    """Say what was found, what was wanted and what to do; everything from the file is escaped."""
    hint = f"<p><b>What to do:</b> {escape(error.hint)}</p>" if error.hint else ""
    return (
        f'<div class="ws-error" role="alert"><h2>✕ The file was not analysed</h2><p>{escape(error.message)}</p>{hint}'
        f'<p class="ws-code">{escape(error.code)}. Your upload is still here: choose another file, or try again.</p>'
        "</div>"
    )


def describe_analysis(analysis: Analysis) -> str:
    """Sum the whole clip up: status, reasons, what was found, and what it does not mean."""
    width, height = analysis.size_px
    calibrated = any(track.consistency.llr is not None for track in analysis.tracks)
    banner = "" if calibrated else f'<p class="ws-banner"><b>Uncalibrated.</b> {UNCALIBRATED}</p>'
    notes = "".join(f'<p class="ws-banner">{escape(note)}</p>' for note in list_notes(analysis))
    cautions = "".join(f"<li>{escape(text)}</li>" for text in (*CAUTION, EVIDENCE))
    return (
        f'<section class="ws-summary" aria-live="polite"><h2>{show_status(analysis.status)}</h2>'
        f'<p class="ws-lead">{escape(_sum_up(analysis))}</p>{banner}{notes}{list_reasons(_of_the_clip(analysis))}'
        f'<ul class="ws-caution">{cautions}</ul>'
        f'<p class="ws-file">Method: {escape(name_method(analysis))}</p>'
        f'<p class="ws-file">{escape(analysis.name)} · {analysis.duration_s:.1f} s · {width} × {height} · '
        f"{analysis.source_fps:.4g} frames/s · SHA-256 <code>{escape(analysis.sha256)}</code></p></section>"
    )


def describe_face(track: TrackReport) -> str:
    """Introduce one face: its picture, its status, its figures with their meaning, and its reasons."""
    found = track.consistency
    figures = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in _figures(found))
    return (
        f'<section class="ws-face" id="ws-face-{track.id}"><img src="{_picture(track.thumbnail)}" width="96" '
        f'height="96" alt="Face {track.id + 1}"><div><h2>Face {track.id + 1} {show_status(found.status)}</h2>'
        f'<p class="ws-file">{track.start_s:.1f} to {track.end_s:.1f} s, about {track.face_px:.0f} pixels wide</p>'
        f'<p class="ws-lead">{escape(_word(found))}</p><dl>{figures}</dl>{_describe_second(found.second)}'
        f"{list_reasons(found.reasons)}</div></section>"
    )


def describe_methods(lacking: dict[Model, EngineError]) -> str:
    """Name the models that are not there in one line, with what brings each and under which licence."""
    if not lacking:
        return ""
    unaccepted = [TITLES[model] for model, error in lacking.items() if isinstance(error, LicenceNotAccepted)]
    absent = [TITLES[model] for model, error in lacking.items() if not isinstance(error, LicenceNotAccepted)]
    parts = []
    if unaccepted:
        parts.append(
            f"{' and '.join(unaccepted)}: licence not accepted, <code>wayspeak weights accept av_hubert</code>"
        )
    if absent:
        parts.append(f"{' and '.join(absent)}: not here, <code>wayspeak weights import PATH</code>")
    return f'<p class="ws-file ws-lacking">{"; ".join(parts)} (licence: non-commercial research alone).</p>'


def list_windows(windows: tuple[Window, ...]) -> str:
    """Give the timeline as a table whose buttons move the player, for keyboards and screen readers."""
    rows = "".join(
        f'<tr><td><button type="button" data-seek="{w.start_s:.2f}">{w.start_s:.1f} to {w.end_s:.1f} s</button></td>'
        f"<td>{w.score:.3f}</td><td>{w.offset_s:+.2f} s</td></tr>"
        for w in windows
    )
    return (
        '<details class="ws-table"><summary>The timeline as a table</summary><table><thead><tr><th scope="col">Window'
        '</th><th scope="col">Score, uncalibrated</th><th scope="col">Offset of the sound</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></details>"
    )


def list_reasons(reasons: tuple[Reason, ...]) -> str:
    """Say why a result is limited or absent, each reason with what to do next."""
    if not reasons:
        return ""
    items = "".join(
        f"<li><b>{escape(_capital(EXPLANATIONS[reason]))}</b> <code>{reason}</code><br>"
        f'<span class="ws-next">Next: {escape(NEXT_STEPS[reason])}</span></li>'
        for reason in reasons
    )
    return f'<ul class="ws-reasons">{items}</ul>'


def show_status(status: Status) -> str:
    """Name a status by sign and word; colour only repeats it."""
    sign, word = STATUS_WORDS[status]
    return f'<span class="ws-status ws-{status.lower()}"><span aria-hidden="true">{sign}</span> {word}</span>'


def _of_the_clip(analysis: Analysis) -> tuple[Reason, ...]:
    """The reasons that no face below repeats."""
    told = {reason for track in analysis.tracks for reason in track.consistency.reasons}
    return tuple(reason for reason in analysis.reasons if reason not in told)


def _sum_up(analysis: Analysis) -> str:
    n_faces = len(analysis.tracks)
    scored = sum(track.consistency.score is not None for track in analysis.tracks)
    faces = {0: "No face was followed", 1: "One face was followed"}.get(n_faces, f"{n_faces} faces were followed")
    if scored == 0:
        return f"{faces}; nothing was compared with the sound. The reasons are below, each with what to do next."
    if analysis.mode == Mode.PAPER:
        return "One face was compared with the sound, over the first 50 s as a whole."
    if n_faces == 1:
        return f"{faces}, and its lips were compared with the sound, second by second."
    return f"{faces}; compared with the sound, second by second: {scored}."


def _word(found: ConsistencyReport) -> str:
    """Read the figures out, without judging them."""
    if found.score is None or found.offset_s is None:
        return "Lips and sound were not compared; the reasons are below."
    place = "where it is"
    if abs(found.offset_s) >= 0.02:
        place = f"taken as {abs(found.offset_s):.2f} s {'late' if found.offset_s > 0 else 'early'}"
    text = f"Lips and sound agree best, with a score of {found.score:.3f}, when the sound is {place}."
    if found.drift_s is not None and abs(found.drift_s) >= 0.04:
        text += f" The best offset moves by {found.drift_s:+.2f} s from the beginning to the end."
    return text


def _describe_second(second: SecondOpinion | None) -> str:
    """Set what the other model says beside the first; the two scores are never added up."""
    if second is None:
        return ""
    sign, word = ("=", "no contradiction") if second.agrees else ("≠", "contradiction")
    return (
        f'<div class="ws-second"><h3>Second opinion, {escape(TITLES[second.model])}: '
        f'<span aria-hidden="true">{sign}</span> {word}</h3>'
        f"<p>{escape(second.text)} Its score is {second.score:.3f}, on a scale of its own; "
        f"{place_sound(second.offset_s)}.</p></div>"
    )


def _figures(found: ConsistencyReport) -> list[tuple[str, str]]:
    figures = [("Speech with this face in view", f"{found.speech_s:.1f} s")]
    if found.score is not None and found.offset_s is not None:
        mark = "uncalibrated, higher is more consistent" if found.llr is None else "higher is more consistent"
        figures.insert(0, ("Score", f"{found.score:.3f} ({mark})"))
        figures.insert(1, ("Offset of the sound", f"{found.offset_s:+.2f} s (positive: the sound comes late)"))
    if found.llr is not None:
        figures.append(("log10 likelihood ratio", f"{found.llr:+.2f}"))
    return figures


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _picture(image: np.ndarray) -> str:
    """Encode (H, W, 3) uint8 RGB as a data address."""
    _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return f"data:image/png;base64,{base64.b64encode(png.tobytes()).decode()}"
