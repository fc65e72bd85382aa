"""Enrolling: what comes in, what does not, and that it is all or nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from gallery_db.errors import EnrolmentRefused, GalleryCode
from gallery_db.gallery import Gallery
from gallery_db.records import NameConflict, RejectionReason
from gallery_db.schema import ConsentRow, EmbeddingRow
from tests.gallery_db.planted import REASON, draw_person, embed, enrol_people, make_consent, make_sample, make_samples
from tests.raising import raises


def test_what_is_enrolled_is_read_back_as_it_was(gallery: Gallery) -> None:
    samples, consent = make_samples(1), make_consent()
    done = gallery.enrol("Ada", samples, consent)
    assert (done.is_new, done.rejected, done.is_limited) == (True, (), False)
    stored = gallery.samples("ada")
    assert [one.id for one in stored] == list(done.sample_ids)
    for one, sample in zip(stored, samples, strict=True):
        again = one.to_new()
        assert replace(again, embedding=sample.embedding) is not None
        assert (again.embedding.vector == sample.embedding.vector).all()
        assert (again.source_hash, again.source_name, again.session) == (
            sample.source_hash,
            sample.source_name,
            sample.session,
        )
        assert (again.face_px, again.thumbnail) == (sample.face_px, sample.thumbnail)
        assert one.consent == consent
    speaker = gallery.speaker("Ada")
    assert (speaker.n_samples, speaker.seconds, speaker.expires_at) == (2, 24.0, consent.expires_at)


def test_a_second_enrolment_adds_to_the_same_speaker_however_the_name_is_spelled(gallery: Gallery) -> None:
    samples = make_samples(1, 3)
    first = gallery.enrol("José", samples[:2], make_consent())
    second = gallery.enrol("  JOSE\u0301 ", samples[2:], make_consent())
    assert second.speaker.id == first.speaker.id
    assert not second.is_new
    assert second.speaker.n_samples == 3


def test_short_enrolment_is_accepted_with_warning(gallery: Gallery) -> None:
    done = gallery.enrol("Ada", make_samples(1, 1), make_consent())
    assert done.is_limited
    more = make_sample(embed(draw_person(1), 2), "more")
    assert not gallery.enrol("Ada", [more], make_consent()).is_limited


def test_the_same_file_is_not_enrolled_twice(gallery: Gallery) -> None:
    samples = make_samples(1)
    gallery.enrol("Ada", samples, make_consent())
    with pytest.raises(EnrolmentRefused) as refused:
        gallery.enrol("Ada", samples, make_consent())
    assert {one.reason for one in refused.value.rejected} == {RejectionReason.SAME_SOURCE}
    assert gallery.speaker("Ada").n_samples == 2


def test_duplicate_speaker_is_refused_with_name_unless_allowed(gallery: Gallery) -> None:
    enrol_people(gallery, [1, 2, 3])
    impostor = make_samples(2, tag="other ")
    with pytest.raises(EnrolmentRefused, match="Person 2"):
        gallery.enrol("Somebody else", impostor, make_consent())
    assert [one.name for one in gallery.speakers()] == ["Person 1", "Person 2", "Person 3"]
    done = gallery.enrol("Somebody else", impostor, make_consent(), allow_duplicate=True)
    assert any("Person 2" in text for text in done.warnings)


def test_clip_of_another_speaker_is_rejected(gallery: Gallery) -> None:
    stranger = make_sample(embed(draw_person(9), 1), "stranger")
    done = gallery.enrol("Ada", [*make_samples(1, 3), stranger], make_consent())
    assert [(one.source_name, one.reason) for one in done.rejected] == [("stranger.mp4", RejectionReason.OUTLIER)]
    assert done.speaker.n_samples == 3


def test_motion_that_is_not_natural_is_not_enrolled(gallery: Gallery) -> None:
    tampered = make_sample(embed(draw_person(1), 1, natural=False), "tampered")
    with pytest.raises(EnrolmentRefused):
        gallery.enrol("Ada", [tampered], make_consent())
    assert gallery.speakers() == []


def test_a_dry_run_says_what_would_be_and_writes_nothing(gallery: Gallery) -> None:
    done = gallery.enrol("Ada", make_samples(1), make_consent(), dry_run=True)
    assert (done.speaker.name, done.speaker.n_samples) == ("Ada", 2)
    assert gallery.speakers() == []
    assert gallery.check().is_sound


def test_an_enrolment_that_fails_half_way_leaves_nothing(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("half way")

    monkeypatch.setattr("gallery_db.enrolment.renew_templates", fail)
    with pytest.raises(RuntimeError, match="half way"):
        gallery.enrol("Ada", make_samples(1), make_consent())
    monkeypatch.undo()
    assert gallery.speakers() == []
    with gallery.database.read() as connection:
        assert connection.execute(select(ConsentRow.id)).all() == []


def test_lapsed_consent_is_refused(gallery: Gallery) -> None:
    with pytest.raises(EnrolmentRefused, match="expired"):
        gallery.enrol("Ada", make_samples(1), make_consent(10, ago_days=11))


def test_two_recipes_are_never_enrolled_at_once(gallery: Gallery) -> None:
    with raises(GalleryCode.EMBEDDER_MISMATCH, match="2 recipes"):
        gallery.enrol("Ada", [*make_samples(1, 1), *make_samples(1, 1, recipe="another")], make_consent())


def test_unknown_speaker_id_is_refused(gallery: Gallery) -> None:
    with raises(GalleryCode.UNKNOWN_SPEAKER):
        gallery.enrol(77, make_samples(1), make_consent())


@pytest.mark.parametrize("name", ["", "  ", "a\x1b[2J", "x" * 201, "zero\u200bwidth"])
def test_what_cannot_be_a_name_is_refused(gallery: Gallery, name: str) -> None:
    with raises(GalleryCode.NAME_TAKEN):
        gallery.enrol(name, make_samples(1), make_consent())


def test_the_same_clips_in_another_recipe_are_the_same_samples(gallery: Gallery) -> None:
    first = gallery.enrol("Ada", make_samples(1), make_consent())
    second = gallery.enrol("Ada", make_samples(1, recipe="planted-2"), make_consent())
    assert second.sample_ids == first.sample_ids
    assert second.speaker.seconds == 24.0
    assert [one.recipe for one in gallery.stats().recipes] == ["planted-1", "planted-2"]


def test_a_vector_without_a_consent_cannot_exist(gallery: Gallery) -> None:
    sample_id = gallery.enrol("Ada", make_samples(1), make_consent()).sample_ids[0]
    values = {
        "sample_id": sample_id,
        "recipe": "r",
        "dim": 2,
        "vector": np.array([1, 0], np.float32),
        "seconds": 1.0,
        "spread": 0.0,
        "n_windows": 1,
        "evidence": 0.0,
    }
    for consent_id in (None, 4711):
        with pytest.raises(IntegrityError), gallery.database.write() as connection:
            connection.execute(insert(EmbeddingRow).values(**values, consent_id=consent_id))
    with pytest.raises(IntegrityError), gallery.database.write() as connection:
        connection.execute(delete(ConsentRow))


def test_a_term_above_three_years_is_refused_by_the_database_too(gallery: Gallery) -> None:
    with pytest.raises(ValueError, match="1095"):
        make_consent(1096)
    gallery.enrol("Ada", make_samples(1), make_consent())
    with pytest.raises(IntegrityError), gallery.database.write() as connection:
        connection.execute(update(ConsentRow).values(term_days=1096))


def test_an_export_is_imported_as_it_was(gallery: Gallery, tmp_path: Path) -> None:
    enrol_people(gallery, [1, 2])
    gallery.enrol("Person 1", make_samples(1, recipe="planted-2"), make_consent(purpose="another"))
    before = gallery.search(embed(draw_person(1), 5), reason=REASON)
    assert gallery.export(tmp_path / "people.wayspeak") == 2
    with Gallery.open(tmp_path / "other" / "gallery.db") as other:
        done = other.import_(tmp_path / "people.wayspeak")
        assert [one.speaker.name for one in done] == ["Person 1", "Person 2"]
        for name in ("Person 1", "Person 2"):
            for one, again in zip(gallery.samples(name), other.samples(name), strict=True):
                assert (one.embedding.vector == again.embedding.vector).all()
                assert (one.consent, one.created_at, one.thumbnail) == (
                    again.consent,
                    again.created_at,
                    again.thumbnail,
                )
        after = other.search(embed(draw_person(1), 5), reason=REASON)
    assert [one.name for one in before.candidates] == [one.name for one in after.candidates]
    assert [one.similarity for one in before.candidates] == pytest.approx([one.similarity for one in after.candidates])


def test_a_clash_of_names_is_refused_merged_or_renamed(gallery: Gallery, tmp_path: Path) -> None:
    enrol_people(gallery, [1, 2])
    gallery.export(tmp_path / "people", ["Person 1"])
    gallery.forget("Person 1", timeout_s=5)
    gallery.enrol("person 1", make_samples(3), make_consent())
    with raises(GalleryCode.NAME_TAKEN):
        gallery.import_(tmp_path / "people")
    assert [one.n_samples for one in gallery.speakers()] == [2, 2]
    assert gallery.import_(tmp_path / "people", NameConflict.RENAME)[0].speaker.name == "Person 1 (2)"
    assert gallery.import_(tmp_path / "people", NameConflict.MERGE)[0].speaker.n_samples == 4
    again = gallery.import_(tmp_path / "people", NameConflict.MERGE)[0]
    assert {one.reason for one in again.rejected} == {RejectionReason.SAME_SOURCE}
    assert gallery.check().mended == ()


def test_an_import_of_another_recipe_or_of_a_damaged_file_writes_nothing(gallery: Gallery, tmp_path: Path) -> None:
    path = tmp_path / "people"
    enrol_people(gallery, [1])
    gallery.export(path)
    with raises(GalleryCode.EMBEDDER_MISMATCH):
        gallery.import_(path, NameConflict.RENAME, recipe="planted-2")
    with Gallery.open(tmp_path / "other" / "gallery.db") as other:
        other.enrol("Ada", make_samples(4, recipe="planted-2"), make_consent())
        with raises(GalleryCode.EMBEDDER_MISMATCH):
            other.import_(path)
        assert len(other.speakers()) == 1
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with raises(GalleryCode.FILE_REFUSED):
        gallery.import_(path, NameConflict.RENAME)
    assert len(gallery.speakers()) == 1
