"""Merge, unmerge, reassign and rename speakers."""

from typing import Any

import pytest
from sqlalchemy import select

from gallery_db.errors import GalleryCode, GalleryError
from gallery_db.gallery import Gallery
from gallery_db.schema import TemplateRow
from tests.gallery_db.planted import REASON, draw_person, embed, enrol_people, make_consent, make_samples
from tests.raising import raises


def describe(gallery: Gallery) -> list[tuple[Any, ...]]:
    """Speakers, their samples and their templates."""
    with gallery.database.read() as connection:
        rows = connection.execute(select(TemplateRow.speaker_id, TemplateRow.vector, TemplateRow.n_samples)).all()
    templates = {row.speaker_id: (row.vector.tobytes(), row.n_samples) for row in rows}
    return [(one, [each.id for each in gallery.samples(one.id)], templates[one.id]) for one in gallery.speakers()]


def test_a_merge_makes_one_of_two_and_unmerge_gives_back_exactly_what_was(gallery: Gallery) -> None:
    enrol_people(gallery, [1, 2, 3])
    before = describe(gallery)
    merged = gallery.merge("Person 1", "Person 2")
    assert (merged.name, merged.n_samples) == ("Person 1", 4)
    assert [one.name for one in gallery.speakers()] == ["Person 1", "Person 3"]
    names = {one.name for one in gallery.search(embed(draw_person(2), 50), reason=REASON).candidates}
    assert names == {"Person 1", "Person 3"}
    assert gallery.unmerge("Person 2").n_samples == 2
    assert describe(gallery) == before


def test_merges_are_undone_from_the_last(gallery: Gallery) -> None:
    enrol_people(gallery, [1, 2, 3])
    before = describe(gallery)
    gallery.merge("Person 2", "Person 3")
    gallery.merge("Person 1", "Person 2")
    assert [one.n_samples for one in gallery.speakers()] == [6]
    with pytest.raises(GalleryError, match="into another one later"):
        gallery.unmerge("Person 3")
    gallery.unmerge("Person 2")
    gallery.unmerge("Person 3")
    assert describe(gallery) == before


def test_absorbed_speaker_is_hidden_and_keeps_the_name(gallery: Gallery) -> None:
    enrol_people(gallery, [1, 2, 3])
    gallery.merge("Person 1", "Person 2")
    with raises(GalleryCode.UNKNOWN_SPEAKER):
        gallery.speaker("Person 2")
    with raises(GalleryCode.NAME_TAKEN, match="merged"):
        gallery.rename("Person 3", "person 2")
    with raises(GalleryCode.UNKNOWN_SPEAKER):
        gallery.unmerge("Person 3")


def test_merge_with_itself_is_refused(gallery: Gallery) -> None:
    enrol_people(gallery, [1])
    with pytest.raises(GalleryError, match="same speaker"):
        gallery.merge("Person 1", "PERSON 1")


def test_sample_moves_to_its_speaker_and_templates_are_updated(gallery: Gallery) -> None:
    enrol_people(gallery, [1, 2])
    sample = gallery.samples("Person 1")[0]
    done = gallery.reassign(sample.id, "Person 2")
    assert (done.name, done.n_samples) == ("Person 2", 3)
    assert sample.id in {one.id for one in gallery.samples("Person 2")}
    assert gallery.samples("Person 2")[0].consent == sample.consent
    assert gallery.check().mended == ()
    with pytest.raises(GalleryError, match="only one of its speaker"):
        gallery.reassign(gallery.samples("Person 1")[0].id, "Person 2")
    with pytest.raises(GalleryError, match="already"):
        gallery.reassign(sample.id, "Person 2")
    with raises(GalleryCode.UNKNOWN_SPEAKER, match="4711"):
        gallery.reassign(4711, "Person 2")


def test_a_sample_given_away_after_a_merge_stays_where_it_was_given(gallery: Gallery) -> None:
    enrol_people(gallery, [1, 2, 3])
    moved = gallery.samples("Person 2")[0].id
    gallery.merge("Person 1", "Person 2")
    gallery.reassign(moved, "Person 3")
    assert gallery.unmerge("Person 2").n_samples == 1
    assert gallery.speaker("Person 3").n_samples == 3


def test_rename_is_refused_for_taken_name(gallery: Gallery) -> None:
    enrol_people(gallery, [1, 2])
    assert gallery.rename("Person 1", "person 1").name == "person 1"
    with raises(GalleryCode.NAME_TAKEN, match="Person 2"):
        gallery.rename("person 1", "PERSON 2")
    gallery.rename("person 1", "Ada")
    assert gallery.enrol("Person 1", make_samples(7), make_consent()).is_new
