"""Erasure: removed data, remaining data, receipt."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select

from gallery_db.erasure import Forgotten
from gallery_db.errors import GalleryCode
from gallery_db.gallery import Gallery
from gallery_db.records import SearchReason
from gallery_db.schema import AuditRow, Base
from tests.gallery_db.planted import REASON, draw_person, embed, enrol_people, make_consent, make_samples
from tests.raising import raises


def count_rows(gallery: Gallery) -> dict[str, int]:
    with gallery.database.read() as connection:
        return {
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in Base.metadata.tables.items()
            if name not in ("audit", "generation")
        }


def test_erasure_removes_every_row_and_receipt_lists_them(gallery: Gallery) -> None:
    enrol_people(gallery, [1])
    before = count_rows(gallery)
    gallery.enrol("Ada", make_samples(2, 3), make_consent())
    receipt = gallery.forget("Ada", timeout_s=5)
    assert count_rows(gallery) == before
    wanted = {"speakers": 1, "samples": 3, "vectors": 3, "thumbnails": 3, "templates": 1, "consents": 1, "results": 0}
    assert {name: receipt.removed[name] for name in wanted} == wanted
    assert receipt.is_erased
    assert any("backups" in place for place in receipt.remaining)
    with raises(GalleryCode.UNKNOWN_SPEAKER):
        gallery.speaker("Ada")


def test_erasure_includes_merged_speakers(gallery: Gallery) -> None:
    before = count_rows(gallery)
    enrol_people(gallery, [1, 2, 3])
    gallery.merge("Person 2", "Person 3")
    gallery.merge("Person 1", "Person 2")
    gallery.forget("Person 1", timeout_s=5)
    assert count_rows(gallery) == before


def test_an_id_is_never_handed_out_again(gallery: Gallery) -> None:
    ids = enrol_people(gallery, [1, 2])
    gallery.forget("Person 2", timeout_s=5)
    assert enrol_people(gallery, [3])[0] > max(ids)


def test_erased_speaker_is_not_found_and_name_is_free(gallery: Gallery) -> None:
    enrol_people(gallery, [1])
    probe = embed(draw_person(1), 50)
    assert gallery.search(probe, reason=REASON).candidates
    gallery.forget("Person 1", timeout_s=5)
    assert gallery.search(probe, reason=REASON).reasons == (SearchReason.GALLERY_EMPTY,)
    assert gallery.enrol("Person 1", make_samples(1), make_consent()).is_new


def test_audit_keeps_unresolvable_subject_id(gallery: Gallery) -> None:
    enrol_people(gallery, [1])
    receipt = gallery.forget("Person 1", timeout_s=5)
    with gallery.database.read() as connection:
        rows = connection.execute(select(AuditRow.__table__).order_by(AuditRow.id)).mappings().all()
    assert [row["action"] for row in rows] == ["enrol", "forget"]
    assert {row["subject"] for row in rows} == {receipt.subject}
    assert "Person" not in str([dict(row) for row in rows])


def test_caches_receive_hashes_of_erased_clips(gallery: Gallery) -> None:
    result: list[Forgotten] = []
    shared = make_samples(1, 2)
    gallery.enrol("Ada", shared, make_consent())
    gallery.enrol("Grace", [*make_samples(5, 2), *shared[:1]], make_consent(), allow_duplicate=True)
    gallery.enrol("Grace", make_samples(5, 3)[2:], make_consent())
    gallery.register_cleaner("kept observations", lambda gone: result.append(gone) or 7)  # type: ignore[func-returns-value]
    gallery.register_cleaner("a broken cache", _fail)
    receipt = gallery.forget("Ada", timeout_s=5)
    grace = {one.source_hash for one in gallery.samples("Grace")}
    assert set(result[0].source_hashes) == {one.source_hash for one in shared} - grace
    assert receipt.removed["kept observations"] == 7
    assert any("a broken cache" in place for place in receipt.remaining)


def _fail(_: Forgotten) -> int:
    raise PermissionError("no")


def test_what_is_kept_on_a_lapsed_consent_goes_and_no_more(gallery: Gallery) -> None:
    gallery.enrol("Whole", make_samples(1), make_consent(10))
    gallery.enrol("Part", make_samples(2, 2), make_consent(10))
    gallery.enrol("Part", make_samples(2, 4)[2:], make_consent(100))
    gallery.enrol("Stays", make_samples(3), make_consent(100))
    later = datetime.now(UTC) + timedelta(days=11)
    assert gallery.forget_overdue(timeout_s=5) == []
    receipts = gallery.forget_overdue(later, timeout_s=5)
    assert sorted(one.removed["samples"] for one in receipts) == [2, 2]
    assert [(one.name, one.n_samples) for one in gallery.speakers()] == [("Part", 2), ("Stays", 2)]
    assert gallery.check().mended == ()
    assert gallery.forget_overdue(later, timeout_s=5) == []


def test_the_salt_makes_the_same_id_another_subject(gallery: Gallery, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "other" / "gallery.db") as other:
        subjects = []
        for each in (gallery, other):
            assert enrol_people(each, [1]) == [1]
            subjects.append(each.forget("Person 1", timeout_s=5).subject)
    assert subjects[0] != subjects[1]
