"""Render enrolled speakers as table rows and escaped HTML."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from engine.style.records import FaceEmbedding
from gallery_db import records
from gallery_db.records import Enrolment, EnrolmentCheck, Receipt, Rejection, RejectionReason, Speaker, StoredSample
from gallery_db.text import clean
from webapp.i18n import say
from webapp.templates import fill

HEADERS = ("Name", "Clips", "Seconds", "State", "Kept until")
BASES = {
    "consent": "their consent",
    "legal_claim": "a legal claim",
    "journalism": "journalism",
    "public_interest": "public interest",
    "research": "research",
}
REFUSALS = {
    RejectionReason.SAME_SOURCE: "this file is enrolled for this speaker already",
    RejectionReason.OUTLIER: "it does not move like the speaker's other clips",
    RejectionReason.DISAGREEMENT: "two clips disagree, and no third tells which is wrong",
    RejectionReason.NOT_NATURAL: "the motion is not natural; the clip may have been tampered with",
    RejectionReason.DUPLICATE_OF_ANOTHER: "it moves like somebody enrolled under another name",
    RejectionReason.CONSENT_LAPSED: "the term of its consent is over",
}


def show_notice() -> str:
    """Show the consent notice."""
    heading, _, rest = say(records.TEXT).partition(".")
    return fill("speakers.html", "notice", heading=heading, text=rest)


def list_rows(speakers: Sequence[Speaker], text: str, now: datetime) -> list[list[Any]]:
    """Return table rows, by name, of the speakers with this text in their name."""
    wanted = text.strip().casefold()
    found = [one for one in speakers if wanted in one.name.casefold()]
    return [
        [clean(one.name), one.n_samples, round(one.seconds, 1), _state(one, now), _until(one.expires_at)]
        for one in found
    ]


def describe_speaker(speaker: Speaker, samples: Sequence[StoredSample], now: datetime) -> str:
    """Show one speaker with every clip: picture, seconds, session, consent."""
    total = count_clips(speaker.n_samples, speaker.seconds)
    cards = [(one, embed_jpeg(one.thumbnail) if one.thumbnail else "", _describe_sample(one)) for one in samples]
    return fill("speakers.html", "person", name=speaker.name, total=total, state=_state(speaker, now), samples=cards)


def count_clips(clips: int, seconds: float) -> str:
    """Return the number of clips and seconds as text."""
    if clips == 1:
        return say("one clip, {seconds} s of speech", seconds=f"{seconds:.1f}")
    return say("{clips} clips, {seconds} s of speech", clips=clips, seconds=f"{seconds:.1f}")


def describe_quality(faces: Sequence[FaceEmbedding | None], names: Sequence[str], notes: Sequence[str]) -> str:
    """Show a table of clips with picture and whether each can be enrolled."""
    return fill("speakers.html", "quality", rows=zip(faces, names, notes, strict=True))


def describe_admission(found: EnrolmentCheck) -> str:
    """Show what an enrolment would accept; nothing is written."""
    accepted, count = int(found.accepted.sum()), len(found.accepted)
    if count == 1:
        words = say("The clip would be enrolled.") if accepted else say("The clip would not be enrolled.")
    elif accepted == 1:
        words = say("One of {all} clips would be enrolled.", all=count)
    else:
        words = say("{n} of {all} clips would be enrolled.", n=accepted, all=count)
    return _box(words, found.rejections, found.warnings, found.is_limited)


def describe_enrolment(done: Enrolment) -> str:
    """Show what was enrolled."""
    name, count = clean(done.speaker.name), len(done.sample_ids)
    values = {"name": name, "all": done.speaker.n_samples}
    words = (
        say("One clip of {name} was enrolled; {all} in all.", **values)
        if count == 1
        else say("{n} clips of {name} were enrolled; {all} in all.", n=count, **values)
    )
    return _box(words, done.rejected, done.warnings, done.is_limited)


def describe_receipt(name: str, receipt: Receipt) -> str:
    """Show what was erased, and what could not be reached."""
    removed = ", ".join(f"{count} {what}" for what, count in receipt.removed.items() if count) or say("nothing")
    return fill(
        "speakers.html", "receipt", name=clean(name), time=_time(receipt.forgotten_at), removed=removed, receipt=receipt
    )


def embed_jpeg(picture: bytes) -> str:
    """Encode a JPEG as a data URL."""
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"


def _box(words: str, rejected: Sequence[Rejection], warnings: Sequence[str], is_limited: bool) -> str:
    items = [f"{clean(one.source_name)}: {say(REFUSALS[one.reason])}" for one in rejected] + [
        clean(text) for text in warnings
    ]
    if is_limited:
        items.append(say("LIMITED: 20 s of speech over two clips are asked for; enrol more clips."))
    return fill("speakers.html", "box", words=words, texts=items)


def _describe_sample(one: StoredSample) -> str:
    return say(
        "{seconds} s; kept for {purpose}, by {basis}, until {until}",
        seconds=f"{one.embedding.seconds:.1f}",
        purpose=clean(one.consent.purpose),
        basis=say(BASES[one.consent.basis]),
        until=_until(one.consent.expires_at),
    )


def _state(one: Speaker, now: datetime) -> str:
    if one.expires_at is not None and one.expires_at <= now:
        return say("overdue: to be forgotten")
    return say("limited: more clips are asked for") if one.is_limited else say("complete")


def _until(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d}"


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"
