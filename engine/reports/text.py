"""Summarise an analysis as terminal text: measurements, never a verdict on authenticity."""

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
from engine.consistency.methods import TITLES, Method
from engine.consistency.model_specs import SPECS
from engine.reports.media import describe_channel, is_ordinary, list_facts
from engine.types import (
    Analysis,
    ConsistencyReport,
    MediaReport,
    Mode,
    Reason,
    SecondOpinion,
    Span,
    SpeakerReport,
    TrackReport,
)

CAUTION = (
    "Mismatch is not proof of a deepfake; dubbing, voice-over, editing and desync also cause it.",
    "Match does not prove authenticity.",
)
RESEARCH_ONLY = (
    "AV-HuBERT took part: its licence allows non-commercial research alone, of the scores it gives too, and forbids "
    "surveillance and biometric processing."
)
PAPER_MODE = (
    "Paper mode: one face, one score for the first 50 s, as SpeechForensics gives it; what would refuse an answer "
    "otherwise only limits it."
)

NO_SPANS = "no calibration of spans of this recipe: no part is judged by itself"
POOLED = "Faces {faces} together, by the shape of their lips and chin taken for one face that cuts divide:"
SHOWN_TWICE = "The same motion as face {n}, seen at the same time: one person, shown twice."


def summarise(analysis: Analysis, is_selected: bool = False) -> str:
    """Summarise the analysis, face by face, in several lines.

    What was judged is stated where it needs attention, and where `is_selected`: part or audio were chosen by the user.
    """
    width, height = analysis.size_px
    lines = [
        f"{analysis.name}: {analysis.duration_s:.1f} s, {width} x {height}, {analysis.source_fps:.4g} frames a second",
        f"Method: {name_method(analysis)}",
        *_describe_media(analysis.media, is_selected),
        f"{analysis.status}{_colon(analysis.reasons)}",
        *_explain(analysis.reasons, "  "),
    ]
    for track in analysis.tracks:
        lines += _summarise_track(track)
    for speaker in analysis.speakers:
        lines += _summarise_speaker(speaker)
    lines += [*list_notes(analysis), *CAUTION]
    return "\n".join([*lines, f"Recipe {analysis.recipe}; {analysis.timings_s.get('total', 0.0):.1f} s"])


def _describe_media(media: MediaReport, is_selected: bool) -> list[str]:
    if is_ordinary(media) and not is_selected:
        return []
    return [f"{fact.head}: {fact}" for fact in list_facts(media)]


def name_method(analysis: Analysis) -> str:
    """Name the model, the mode and the second model."""
    seconds = {track.consistency.second.model for track in analysis.tracks if track.consistency.second}
    return Method(analysis.model, analysis.mode, next(iter(seconds), None)).title


def list_notes(analysis: Analysis) -> list[str]:
    """List the notes that the method requires."""
    models = {analysis.model} | {
        track.consistency.second.model for track in analysis.tracks if track.consistency.second
    }
    notes = [PAPER_MODE] if analysis.mode == Mode.PAPER else []
    return notes + ([RESEARCH_ONLY] if any(SPECS[model].research_only for model in models) else [])


def _summarise_track(track: TrackReport) -> list[str]:
    found = track.consistency
    return [
        f"Face {track.id + 1}, {track.start_s:.1f} to {track.end_s:.1f} s, {track.face_px:.0f} pixels wide: "
        f"{found.status}{_colon(found.reasons)}",
        *([] if track.same_as is None else [f"  {SHOWN_TWICE.format(n=track.same_as + 1)}"]),
        *_explain(found.reasons, "  "),
        f"  {_measured(found)}",
        *_describe_source(track),
        *[f"  {line}" for line in describe_calibration(found)],
        *[f"  {line}" for line in describe_spans(found)],
        *([f"  {_summarise_second(found.second)}"] if found.second else []),
    ]


def _summarise_speaker(speaker: SpeakerReport) -> list[str]:
    found = speaker.consistency
    return [
        f"{POOLED.format(faces=', '.join(str(number + 1) for number in speaker.tracks))} "
        f"{found.status}{_colon(found.reasons)}",
        *_explain(found.reasons, "  "),
        f"  {_measured(found)}",
        *[f"  {line}" for line in describe_calibration(found)],
    ]


def _describe_source(track: TrackReport) -> list[str]:
    lines = []
    if track.channel is not None:
        lines.append(f"  judged with: {describe_channel(track.channel)}")
    return lines


def describe_calibration(found: ConsistencyReport) -> list[str]:
    """Describe the calibrated result of a face, sentence by sentence; empty without a calibration."""
    note = found.calibration
    if note is None:
        return []
    behind = BEHIND.format(version=note.version, id=note.id[:12], author=note.author, approver=note.approver)
    if found.llr is None:
        return [ABSTAINED, behind]
    lines = [state(found.llr, Task.CONSISTENCY).text]
    lines += [ZONE_WORDS[Zone(found.zone)]] if found.zone else []
    if found.p_value is not None and found.smallest_p is not None:
        lines.append(P_VALUE.format(p=f"{found.p_value:.2g}", least=f"{found.smallest_p:.2g}"))
    if found.high_p_value is not None and found.smallest_p is not None:
        lines.append(HIGH_P_VALUE.format(p=f"{found.high_p_value:.2g}", least=f"{found.smallest_p:.2g}"))
    bounds = BOUNDS.format(most=name_ratio(note.bounds_llr[1]), least=name_ratio(note.bounds_llr[0]))
    return [*lines, bounds, behind]


def describe_spans(found: ConsistencyReport) -> list[str]:
    """Describe the spans of a face, line by line; empty without a score."""
    if found.span_calibration is None:
        return [] if found.score is None else [NO_SPANS]
    return [describe_span(one) for one in found.spans]


def describe_span(span: Span) -> str:
    """Describe one span with the uncertainty of its borders."""
    ratio = "no likelihood ratio" if span.llr is None else f"log10 likelihood ratio {span.llr:+.2f}"
    start, end = (f"{low:.1f} to {high:.1f}" for low, high in (span.start_range_s, span.end_range_s))
    return (
        f"{span.start_s:.1f} to {span.end_s:.1f} s: {span.kind} ({ratio}, {span.speech_s:.1f} s of speech; "
        f"begins within {start} s, ends within {end} s)"
    )


def _summarise_second(second: SecondOpinion) -> str:
    verdict = "does not contradict" if second.agrees else "contradicts"
    return (
        f"second opinion, {TITLES[second.model]}: {verdict}. {second.text} "
        f"Score {second.score:.3f} on a scale of its own, {place_sound(second.offset_s)}"
    )


def _measured(found: ConsistencyReport) -> str:
    speech = f"{found.speech_s:.1f} s of speech with the face in view"
    if found.score is None or found.offset_s is None:
        return f"no score; {speech}"
    meaning = "uncalibrated" if found.calibration is None else "no likelihood ratio"
    if found.llr is not None:
        meaning = f"log10 likelihood ratio {found.llr:+.2f}"
    return f"score {found.score:.3f} ({meaning}; higher is more consistent), {place_sound(found.offset_s)}; {speech}"


def place_sound(offset_s: float) -> str:
    """Describe the AV offset."""
    if abs(offset_s) < 0.02:
        return "best with the sound where it is"
    return f"best with the sound {abs(offset_s):.2f} s too {'late' if offset_s > 0 else 'early'}"


def _colon(reasons: tuple[Reason, ...]) -> str:
    return f": {', '.join(reasons)}" if reasons else ""


def _explain(reasons: tuple[Reason, ...], indent: str) -> list[str]:
    return [f"{indent}{reason}: {reason.text}. {reason.next_step}" for reason in reasons]
