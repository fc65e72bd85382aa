"""Enrol and import samples: check them against the enrolled ones, then write them with their consent."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import Connection, select

from gallery_db import audit
from gallery_db.audit import Action
from gallery_db.enrolment_checks import check_enrolment
from gallery_db.errors import EnrolmentRefused, GalleryCode
from gallery_db.records import (
    Consent,
    Enrolment,
    EnrolmentCheck,
    NameConflict,
    NewSample,
    Person,
    Rejection,
    RejectionReason,
    StoredSample,
)
from gallery_db.schema import EmbeddingRow
from gallery_db.search import NeighbourIndex, read_neighbours
from gallery_db.speakers import (
    Entry,
    add_consent,
    add_samples,
    add_speaker,
    expect_speaker,
    find_speaker,
    read_samples,
    read_speakers,
    suggest_name,
)
from gallery_db.templates import join_vectors, renew_templates


def expect_one_recipe(samples: Sequence[NewSample]) -> str:
    """Return the recipe of samples; raises EMBEDDER_MISMATCH for several, EnrolmentRefused without samples."""
    recipes = sorted({one.embedding.recipe for one in samples})
    if not recipes:
        raise EnrolmentRefused("There is no sample to enrol.", "Give at least one clip.")
    if len(recipes) > 1:
        raise GalleryCode.EMBEDDER_MISMATCH(
            f"The samples are of {len(recipes)} recipes, wanted 1.", "Embed all clips with the same weights."
        )
    return recipes[0]


def check_samples(
    connection: Connection,
    index: NeighbourIndex,
    speaker_id: int | None,
    samples: Sequence[NewSample],
    allow_duplicate: bool,
) -> EnrolmentCheck:
    """Check samples against the speaker's own and against the neighbours of each sample and of their mean."""
    recipe = expect_one_recipe(samples)
    own = [] if speaker_id is None else read_samples(connection, [speaker_id], recipe, with_thumbnails=False)
    vectors = np.array([one.embedding.vector for one in samples])
    mean = join_vectors(vectors, np.array([one.embedding.seconds for one in samples]))
    probes = np.concatenate([vectors, mean[None]])
    others = read_neighbours(connection, index, recipe, probes, speaker_id)
    return check_enrolment(samples, own, others, allow_duplicate=allow_duplicate)


def enrol(
    connection: Connection,
    index: NeighbourIndex,
    speaker: str | int,
    samples: Sequence[NewSample],
    consent: Consent,
    allow_duplicate: bool,
) -> Enrolment:
    """Enrol the accepted samples; raises EnrolmentRefused if there are none."""
    known = expect_speaker(connection, speaker) if isinstance(speaker, int) else find_speaker(connection, speaker)
    now = datetime.now(UTC)
    if consent.expires_at <= now:
        raise EnrolmentRefused(
            f"The consent expired on {consent.expires_at:%Y-%m-%d}.", "Obtain a new consent before enrolling."
        )
    checked = check_samples(connection, index, known, samples, allow_duplicate)
    accepted = [one for one, is_accepted in zip(samples, checked.accepted, strict=True) if is_accepted]
    if not accepted:
        raise _refuse(checked.rejections)
    speaker_id = add_speaker(connection, str(speaker)) if known is None else known
    consent_id = add_consent(connection, consent)
    ids = add_samples(connection, speaker_id, [Entry(one, consent_id, now) for one in accepted])
    renew_templates(connection, [speaker_id])
    detail = {"samples": len(ids), "rejected": len(checked.rejections), "basis": str(consent.basis)}
    audit.append(connection, Action.ENROL, audit.find_subject(connection, speaker_id), detail)
    (enrolled,) = read_speakers(connection, [speaker_id])
    return Enrolment(enrolled, known is None, ids, checked.rejections, checked.warnings)


def import_people(
    connection: Connection, people: Sequence[Person], recipe: str | None, on_conflict: NameConflict
) -> list[Enrolment]:
    """Enrol exported speakers on their own consents; their samples were checked at the original enrolment."""
    _expect_known_recipe(connection, people, recipe)
    written = [_import_person(connection, person, on_conflict) for person in people]
    renew_templates(connection, [number for number, *_ in written])
    done = []
    for number, is_new, ids, rejected in written:
        detail = {"samples": len(ids), "rejected": len(rejected)}
        audit.append(connection, Action.IMPORT, audit.find_subject(connection, number), detail)
        (speaker,) = read_speakers(connection, [number])
        done.append(Enrolment(speaker, is_new, ids, rejected, ()))
    return done


def _import_person(
    connection: Connection, person: Person, on_conflict: NameConflict
) -> tuple[int, bool, tuple[int, ...], tuple[Rejection, ...]]:
    """Write one speaker; return the id, whether it is new, the sample ids and the rejections."""
    found = find_speaker(connection, person.name)
    name = suggest_name(connection, person.name) if on_conflict == NameConflict.RENAME else person.name
    speaker_id = found if found is not None and on_conflict == NameConflict.MERGE else None
    known = set() if speaker_id is None else _read_sources(connection, speaker_id)
    verdicts = [(sample, _reject(sample, known)) for sample in person.samples]
    rejected = tuple(verdict for _, verdict in verdicts if verdict is not None)
    kept = [sample for sample, verdict in verdicts if verdict is None]
    if not kept and speaker_id is None:
        raise _refuse(rejected)
    number = add_speaker(connection, name, person.created_at) if speaker_id is None else speaker_id
    consents = {consent: add_consent(connection, consent) for consent in dict.fromkeys(one.consent for one in kept)}
    entries = [Entry(one.to_new(), consents[one.consent], one.created_at) for one in kept]
    ids = [one for group in _split(entries) for one in add_samples(connection, number, group)]
    return number, speaker_id is None, tuple(dict.fromkeys(ids)), rejected


def _split(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Group entries by recipe: a clip in two recipes is one sample with two embeddings."""
    groups: dict[str, list[Entry]] = {}
    for one in entries:
        groups.setdefault(one.sample.embedding.recipe, []).append(one)
    return list(groups.values())


def _reject(sample: StoredSample, known: set[tuple[str, str]]) -> Rejection | None:
    if sample.consent.expires_at <= datetime.now(UTC):
        text = f"its consent expired on {sample.consent.expires_at:%Y-%m-%d}"
        return Rejection(sample.source_name, sample.source_hash, RejectionReason.CONSENT_LAPSED, text)
    if (sample.source_hash, sample.embedding.recipe) in known:
        text = "this file is enrolled for this speaker already"
        return Rejection(sample.source_name, sample.source_hash, RejectionReason.SAME_SOURCE, text)
    return None


def _read_sources(connection: Connection, speaker_id: int) -> set[tuple[str, str]]:
    samples = read_samples(connection, [speaker_id], with_thumbnails=False)
    return {(one.source_hash, one.embedding.recipe) for one in samples}


def _expect_known_recipe(connection: Connection, people: Sequence[Person], recipe: str | None) -> None:
    """Raise EMBEDDER_MISMATCH if the file has a recipe without enrolled speakers, unless the gallery is empty."""
    recipes = {sample.embedding.recipe for person in people for sample in person.samples}
    here = set(connection.execute(select(EmbeddingRow.recipe).distinct()).scalars()) if recipe is None else {recipe}
    if here and recipes - here:
        raise GalleryCode.EMBEDDER_MISMATCH(
            f"The file is of the recipe {', '.join(sorted(recipes - here))}, enrolled are {', '.join(sorted(here))}.",
            "Embeddings of two recipes are never compared: enrol the clips again with these weights.",
        )


def _refuse(rejected: tuple[Rejection, ...]) -> EnrolmentRefused:
    reasons = "; ".join(f"{one.source_name}: {one.text}" for one in rejected[:5])
    return EnrolmentRefused(
        f"None of {len(rejected)} samples can be enrolled: {reasons}.",
        "Nothing was written. Choose other clips.",
        rejected,
    )
