"""What the page says of whose way of speaking it is: candidates with evidence, or that none is supported."""

import base64
from collections.abc import Callable, Sequence
from html import escape

from engine.calibration.records import Task
from gallery_db.records import Candidate, Search, SearchReason, StoredSample, Verification
from gallery_db.summary import CAUTION, EXPLANATIONS, clean
from webapp.faces import Sighting
from webapp.jobs.records import JobError, Question
from webapp.pages.speaker_views import count_clips
from webapp.texts import say
from webapp.views import list_players, make_sentence, tell_strength

NEXT_STEPS = {
    SearchReason.UNCALIBRATED: "Read similarities as an order only, until a calibration of this recipe is approved.",
    SearchReason.GALLERY_EMPTY: "Enrol the people in question under Speakers, then run the job again.",
    SearchReason.NOT_NATURAL: "Look for the original recording: cut, sped up or driven faces name nobody.",
    SearchReason.AMBIGUOUS_TOP2: "Use more seconds of speech, or compare with each of the two by name.",
    SearchReason.PROBE_TOO_SHORT: "Use a clip that shows the face for at least 4 s; for less there is no calibration.",
    SearchReason.ENROL_TOO_SHORT: "Enrol more clips of this person: 20 s of speech over two clips.",
}
N_PICTURES = 3  # of a candidate's clips
ListSamples = Callable[[int], Sequence[StoredSample]]
FindClip = Callable[[StoredSample], str | None]
"""Address of the clip that a sample was taken from, where the one who looks may play it."""


def describe_absence(question: Question, error: JobError | None) -> str:
    """Say why nothing is said of who speaks; empty where an answer is there."""
    if error is not None:
        words = f"{clean(error.message)} {clean(error.hint)}"
        return _section(f'<p class="ws-banner">{escape(words)} <code>{escape(error.code)}</code></p>')
    if not question.is_about_speakers:
        words = say("Nobody was asked about. Choose whom to compare with under Analyse, and run the job again.")
        return _section(f'<p class="ws-file">{escape(words)}</p>')
    return ""


def describe_search(found: Search, face: Sighting, list_samples: ListSamples, find_clip: FindClip) -> str:
    """Show the candidates, best first, each with evidence, pictures of their clips, and the clips to play."""
    first = found.candidates[0] if found.candidates else None
    weighed = "" if first is None or first.llr is None else _weigh(first.llr, Task.IDENTIFICATION)
    rows = "".join(
        _describe_candidate(rank, one, list_samples(one.speaker_id), find_clip)
        for rank, one in enumerate(found.candidates, start=1)
    )
    table = f'<ol class="ws-candidates">{rows}</ol>' if rows else ""
    size = (
        say("Searched among one enrolled speaker.")
        if found.n_speakers == 1
        else say("Searched among {n} enrolled speakers.", n=found.n_speakers)
    )
    return _section(
        f'<p class="ws-lead"><b>{escape(_conclude(found))}</b></p>{weighed}{_describe_face(face)}'
        f'{_list_reasons(found.reasons)}{table}<p class="ws-file">{escape(size)} {escape(say(CAUTION))}</p>'
    )


def describe_verification(found: Verification, face: Sighting) -> str:
    """Show how the face compares with one person, as a whole and clip by clip."""
    name = clean(found.speaker.name)
    if found.similarity is None:
        heading, figures = say("Nothing is said of {name}.", name=name), ""
    else:
        words = {
            True: say("It is supported that this is {name}.", name=name),
            False: say("It is not supported that this is {name}.", name=name),
            None: say("Compared with {name}.", name=name),
        }
        heading, figures = words[found.is_supported], f"<p>{escape(_measure(found.similarity, found.llr))}</p>"
    weighed = "" if found.llr is None else _weigh(found.llr, Task.VERIFICATION)
    rows = "".join(
        f"<tr><td>{escape(clean(one.source_name))}</td><td>{one.similarity:.3f}</td></tr>" for one in found.samples
    )
    head = f'<th scope="col">{escape(say("Their clip"))}</th><th scope="col">{escape(say("Similarity"))}</th>'
    table = f'<table class="ws-rows"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>' if rows else ""
    return _section(
        f'<p class="ws-lead"><b>{escape(heading)}</b></p>{figures}{weighed}{_describe_face(face)}'
        f'{_list_reasons(found.reasons)}{table}<p class="ws-file">{escape(say(CAUTION))}</p>'
    )


def _section(content: str) -> str:
    heading = escape(say("Whose way of speaking is it?"))
    return f'<section class="ws-who"><h3>{heading}</h3>{content}</section>'


def _conclude(found: Search) -> str:
    if found.supported:
        return say("Supported: {name}.", name=clean(found.supported[0].name))
    if found.is_supported is False:
        return say("None supported: nobody enrolled is supported by the evidence.")
    return say("Nobody is named; the reasons are below.")


def _describe_candidate(rank: int, one: Candidate, samples: Sequence[StoredSample], find_clip: FindClip) -> str:
    pictures = [sample.thumbnail for sample in samples if sample.thumbnail][:N_PICTURES]
    shown = "".join(
        f'<img src="data:image/jpeg;base64,{base64.b64encode(each).decode()}" width="48" height="48" alt="">'
        for each in pictures
    )
    words = count_clips(one.n_samples, one.seconds)
    limited = f" · {say('limited')}" if one.is_limited else ""
    return (
        f"<li><b>{rank}. {escape(clean(one.name))}</b> {shown}<br>{escape(_measure(one.similarity, one.llr))}"
        f'<br><span class="ws-file">{escape(words)}{escape(limited)}</span>{_offer_clips(samples, find_clip)}</li>'
    )


def _offer_clips(samples: Sequence[StoredSample], find_clip: FindClip) -> str:
    found = [(find_clip(sample), clean(sample.source_name)) for sample in samples[:N_PICTURES]]
    players = list_players([(address, name) for address, name in found if address])
    return f"<details><summary>{escape(say('Watch their clips'))}</summary>{players}</details>" if players else ""


def _measure(similarity: float, llr: float | None) -> str:
    if llr is None:
        return say("similarity {value} (uncalibrated)", value=f"{similarity:.3f}")
    return say("log10 likelihood ratio {llr} (similarity {value})", llr=f"{llr:+.2f}", value=f"{similarity:.3f}")


def _weigh(llr: float, task: Task) -> str:
    return f"<p>{escape(tell_strength(llr, task))}</p>"


def _describe_face(face: Sighting) -> str:
    words = say(
        "Told from {seconds} s of this face's motion; {natural}.",
        seconds=f"{face.embedding.seconds:.1f}",
        natural=say("it looks natural") if face.embedding.is_natural else say("it does not look natural"),
    )
    return f'<p class="ws-file">{escape(words)}</p>'


def _list_reasons(reasons: Sequence[SearchReason]) -> str:
    items = "".join(
        f"<li><b>{escape(make_sentence(say(EXPLANATIONS[reason])))}</b> <code>{reason}</code><br>"
        f'<span class="ws-next">{escape(say("Next:"))} {escape(say(NEXT_STEPS[reason]))}</span></li>'
        for reason in reasons
    )
    return f'<ul class="ws-reasons">{items}</ul>' if items else ""
