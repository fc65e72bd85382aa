"""What the page says of those who are enrolled: records to rows and escaped HTML."""

import base64
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any

from gallery_db import notice
from gallery_db.records import Admission, Enrolment, Receipt, Rejection, RejectionReason, Speaker, StoredSample
from gallery_db.summary import clean
from webapp.faces import Sighting
from webapp.texts import say

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
    """Give the text that the person is to be shown before they consent."""
    heading, _, rest = say(notice.TEXT).partition(".")
    return f'<details class="ws-table"><summary>{escape(heading)}</summary><p>{escape(rest)}</p></details>'


def list_people(speakers: Sequence[Speaker], text: str, now: datetime) -> list[list[Any]]:
    """Rows of a table, by name; those alone whose name holds the text."""
    wanted = text.strip().casefold()
    found = [one for one in speakers if wanted in one.name.casefold()]
    return [
        [clean(one.name), one.n_samples, round(one.seconds, 1), _state(one, now), _until(one.expires_at)]
        for one in found
    ]


def describe_person(speaker: Speaker, samples: Sequence[StoredSample], now: datetime) -> str:
    """Show one speaker with every clip: picture, seconds, session, consent."""
    cards = "".join(_describe_sample(one) for one in samples)
    total = count_clips(speaker.n_samples, speaker.seconds)
    return (
        f'<section class="ws-person"><h3>{escape(clean(speaker.name))}</h3><p class="ws-file">{escape(total)} · '
        f'{escape(_state(speaker, now))}</p><ul class="ws-samples">{cards}</ul></section>'
    )


def count_clips(clips: int, seconds: float) -> str:
    """Tell how much there is of somebody."""
    if clips == 1:
        return say("one clip, {seconds} s of speech", seconds=f"{seconds:.1f}")
    return say("{clips} clips, {seconds} s of speech", clips=clips, seconds=f"{seconds:.1f}")


def describe_quality(sightings: Sequence[Sighting | None], names: Sequence[str], notes: Sequence[str]) -> str:
    """Tell of each clip who is seen and whether it can be enrolled: a table with pictures."""
    heads = "".join(
        f'<th scope="col">{escape(say(text))}</th>' for text in ("Clip", "Face", "Speech", "Motion", "Remark")
    )
    rows = "".join(
        f"<tr><td>{escape(clean(name))}</td>{_quality_cells(seen)}<td>{escape(note)}</td></tr>"
        for seen, name, note in zip(sightings, names, notes, strict=True)
    )
    return f'<table class="ws-rows"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def describe_admission(found: Admission) -> str:
    """Say what an enrolment would accept; nothing is written."""
    accepted, count = int(found.accepted.sum()), len(found.accepted)
    if count == 1:
        words = say("The clip would be enrolled.") if accepted else say("The clip would not be enrolled.")
    elif accepted == 1:
        words = say("One of {all} clips would be enrolled.", all=count)
    else:
        words = say("{n} of {all} clips would be enrolled.", n=accepted, all=count)
    return _box(words, found.rejections, found.warnings, found.is_limited)


def describe_enrolment(done: Enrolment) -> str:
    """Say what was enrolled."""
    name, count = clean(done.speaker.name), len(done.sample_ids)
    values = {"name": name, "all": done.speaker.n_samples}
    words = (
        say("One clip of {name} was enrolled; {all} in all.", **values)
        if count == 1
        else say("{n} clips of {name} were enrolled; {all} in all.", n=count, **values)
    )
    return _box(words, done.rejected, done.warnings, done.is_limited)


def describe_receipt(name: str, receipt: Receipt) -> str:
    """Say what is gone, and what could not be reached."""
    removed = ", ".join(f"{count} {what}" for what, count in receipt.removed.items() if count) or say("nothing")
    erased = (
        say("Their bytes are gone from every file of the database.")
        if receipt.is_erased
        else say("Their bytes may still stand in the files of the database.")
    )
    places = "".join(f"<li>{escape(place)}</li>" for place in receipt.remaining)
    reached = f"<p>{escape(say('Not reached:'))}</p><ul>{places}</ul>" if places else ""
    return (
        f'<section class="ws-note" role="status"><h3>{escape(say("Receipt"))}</h3>'
        f"<p>{escape(say('{name} was forgotten at {time} UTC.', name=clean(name), time=_time(receipt.forgotten_at)))}"
        f"</p><p>{escape(say('Removed: {removed}.', removed=removed))}</p><p>{escape(erased)}</p>{reached}"
        f'<p class="ws-file">{escape(say("In the records of the gallery:"))} <code>{escape(receipt.subject)}</code></p>'
        "</section>"
    )


def _box(words: str, rejected: Sequence[Rejection], warnings: Sequence[str], is_limited: bool) -> str:
    items = [f"{clean(one.source_name)}: {say(REFUSALS[one.reason])}" for one in rejected] + [
        clean(text) for text in warnings
    ]
    if is_limited:
        items.append(say("LIMITED: 20 s of speech over two clips are asked for; enrol more clips."))
    rows = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<div class="ws-note" role="status"><p><b>{escape(words)}</b></p><ul>{rows}</ul></div>'


def _describe_sample(one: StoredSample) -> str:
    own, consent = one.embedding, one.consent
    picture = (
        f'<img src="data:image/jpeg;base64,{base64.b64encode(one.thumbnail).decode()}" width="64" height="64" alt="">'
        if one.thumbnail
        else ""
    )
    session = f" · {escape(clean(one.session))}" if one.session else ""
    words = say(
        "{seconds} s; kept for {purpose}, by {basis}, until {until}",
        seconds=f"{own.seconds:.1f}",
        purpose=clean(consent.purpose),
        basis=say(BASES[consent.basis]),
        until=_until(consent.expires_at),
    )
    return (
        f"<li>{picture}<div><b>{escape(clean(one.source_name))}</b>{session}"
        f'<br><span class="ws-file">{escape(words)}</span><br><code>{one.source_hash[:16]}</code> '
        f'<span class="ws-file">{escape(say("clip number"))} {one.id}</span></div></li>'
    )


def _quality_cells(seen: Sighting | None) -> str:
    if seen is None:
        return "<td>–</td><td>–</td><td>–</td>"
    speech = f"{min(seen.embedding.seconds, seen.speech_s):.1f} s"
    if not seen.has_sound:
        speech += f" ({say('without sound')})"
    motion = say("natural") if seen.embedding.is_natural else say("not natural")
    return f"<td>{seen.face_px:.0f} px</td><td>{escape(speech)}</td><td>{escape(motion)}</td>"


def _state(one: Speaker, now: datetime) -> str:
    if one.expires_at is not None and one.expires_at <= now:
        return say("overdue: to be forgotten")
    return say("limited: more clips are asked for") if one.is_limited else say("complete")


def _until(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d}"


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"
