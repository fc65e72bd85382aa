"""Render speaker results: candidates with evidence, or that none is supported."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from engine.calibration.records import Task
from engine.style.records import FaceEmbedding
from gallery_db.records import Candidate, Search, SearchReason, StoredSample, Verification
from gallery_db.text import CAUTION, EXPLANATIONS, clean
from webapp.analysis.records import AnalysisRequest, JobError
from webapp.i18n import say
from webapp.templates import fill
from webapp.views.analysis import describe_strength, make_sentence
from webapp.views.speakers import count_clips, embed_jpeg

NEXT_STEPS = {
    SearchReason.UNCALIBRATED: "Read similarities as an order only, until a calibration of this recipe is approved.",
    SearchReason.GALLERY_EMPTY: "Enrol the people in question under Speakers, then run the job again.",
    SearchReason.NOT_NATURAL: "Look for the original recording: cut, sped up or driven faces name nobody.",
    SearchReason.AMBIGUOUS_TOP2: "Use more seconds of speech, or compare with each of the two by name.",
    SearchReason.PROBE_TOO_SHORT: "Use a clip that shows the face for at least 4 s; for less there is no calibration.",
    SearchReason.ENROL_TOO_SHORT: "Enrol more clips of this person: 20 s of speech over two clips.",
    SearchReason.OTHER_RECIPE: "Enrol their clips again under Speakers, then run the job again.",
}
N_PICTURES = 3  # of a candidate's clips
ListSamples = Callable[[int], Sequence[StoredSample]]
FindClip = Callable[[StoredSample], str | None]
"""Return the URL of a sample's clip, or None if the user may not play it."""


def describe_absence(question: AnalysisRequest, error: JobError | None) -> str:
    """Show why there is no speaker result; empty if there is one."""
    if error is not None:
        words = f"{clean(error.message)} {clean(error.hint)}"
        return fill("identification.html", "absence", text=words, code=error.code)
    if not question.is_about_speakers:
        words = say("Nobody was asked about. Choose whom to compare with under Analyse, and run the job again.")
        return fill("identification.html", "absence", text=words, code="")
    return ""


def describe_search(found: Search, face: FaceEmbedding, list_samples: ListSamples, find_clip: FindClip) -> str:
    """Show the candidates, best first, with evidence, pictures and playable clips."""
    first = found.candidates[0] if found.candidates else None
    size = (
        say("Searched among one enrolled speaker.")
        if found.n_speakers == 1
        else say("Searched among {n} enrolled speakers.", n=found.n_speakers)
    )
    rows = [_describe_candidate(one, list_samples(one.speaker_id), find_clip) for one in found.candidates]
    return fill(
        "identification.html",
        "answer",
        lead=_conclude(found),
        texts=[] if first is None or first.llr is None else [describe_strength(first.llr, Task.IDENTIFICATION)],
        face=_describe_face(face),
        reasons=_list_reasons(found.reasons),
        table=fill("identification.html", "candidates", rows=rows),
        note=f"{size} {say(CAUTION)}",
    )


def describe_verification(found: Verification, face: FaceEmbedding) -> str:
    """Show the verification against one speaker, in total and per clip."""
    name = clean(found.speaker.name)
    words = {
        True: say("It is supported that this is {name}.", name=name),
        False: say("It is not supported that this is {name}.", name=name),
        None: say("Compared with {name}.", name=name),
    }
    lead, texts = say("Nothing is said of {name}.", name=name), []
    if found.similarity is not None:
        lead, texts = words[found.is_supported], [_measure(found.similarity, found.llr)]
    if found.llr is not None:
        texts.append(describe_strength(found.llr, Task.VERIFICATION))
    return fill(
        "identification.html",
        "answer",
        lead=lead,
        texts=texts,
        face=_describe_face(face),
        reasons=_list_reasons(found.reasons),
        table=fill("identification.html", "clips", samples=found.samples),
        note=say(CAUTION),
    )


def _conclude(found: Search) -> str:
    if found.supported:
        return say("Supported: {name}.", name=clean(found.supported[0].name))
    if found.is_supported is False:
        return say("None supported: nobody enrolled is supported by the evidence.")
    return say("Nobody is named; the reasons are below.")


def _describe_candidate(
    one: Candidate, samples: Sequence[StoredSample], find_clip: FindClip
) -> tuple[Candidate, list[str], str, str, list[tuple[str, str]]]:
    """Return the template values of a candidate: record, pictures, similarity, clip texts, playable clips."""
    pictures = [embed_jpeg(sample.thumbnail) for sample in samples if sample.thumbnail][:N_PICTURES]
    found = [(find_clip(sample), clean(sample.source_name)) for sample in samples[:N_PICTURES]]
    clips = [(address, name) for address, name in found if address]
    return one, pictures, _measure(one.similarity, one.llr), count_clips(one.n_samples, one.seconds), clips


def _measure(similarity: float, llr: float | None) -> str:
    if llr is None:
        return say("similarity {value} (uncalibrated)", value=f"{similarity:.3f}")
    return say("log10 likelihood ratio {llr} (similarity {value})", llr=f"{llr:+.2f}", value=f"{similarity:.3f}")


def _describe_face(face: FaceEmbedding) -> str:
    return say(
        "Told from {seconds} s of this face's motion; {natural}.",
        seconds=f"{face.embedding.seconds:.1f}",
        natural=say("it looks natural") if face.embedding.is_natural else say("it does not look natural"),
    )


def _list_reasons(reasons: Sequence[SearchReason]) -> Markup:
    rows = [(make_sentence(say(EXPLANATIONS[reason])), reason, say(NEXT_STEPS[reason])) for reason in reasons]
    return fill("macros.html", "reasons", rows=rows)
