"""Searching and verifying: who is found, who is not named, and what that may rest on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from gallery_db.errors import GalleryCode, GalleryError
from gallery_db.gallery import Gallery
from gallery_db.records import SearchReason
from tests.gallery_db.planted import (
    REASON,
    RECIPE,
    draw_person,
    embed,
    enrol_people,
    make_consent,
    make_sample,
    make_samples,
    to_unit,
)
from tests.raising import raises


@dataclass
class Linear:
    """A calibration: log10 LR = 4 * (score - 0.5), bounded to 1.5."""

    id: str = "linear"
    recipe: str = RECIPE
    threshold_llr: float = 1.0
    qualities: Sequence[str] = ()
    sizes: list[int] = field(default_factory=list)
    seen: list[np.ndarray | None] = field(default_factory=list)

    def llrs(self, scores: np.ndarray, qualities: np.ndarray | None = None, *, gallery_size: int = 0) -> np.ndarray:
        self.sizes.append(gallery_size)
        self.seen.append(qualities)
        return (4 * (scores - 0.5)).clip(-1.5, 1.5)


def test_the_right_one_comes_first_each_speaker_once(gallery: Gallery) -> None:
    enrol_people(gallery, range(1, 8))
    found = gallery.search(embed(draw_person(4), 50), 5, reason=REASON)
    names = [one.name for one in found.candidates]
    assert names[0] == "Person 4"
    assert len(set(names)) == len(names) == 5
    similarities = [one.similarity for one in found.candidates]
    assert similarities == sorted(similarities, reverse=True)
    assert (found.n_speakers, found.recipe) == (7, RECIPE)


def test_similarity_is_the_cosine_to_the_mean_weighted_by_seconds(gallery: Gallery) -> None:
    person = draw_person(1)
    parts = [embed(person, 1, seconds=30.0), embed(person, 2, seconds=10.0)]
    gallery.enrol("Ada", [make_sample(one, f"{number}") for number, one in enumerate(parts)], make_consent())
    probe = embed(person, 3)
    mean = to_unit(30.0 * parts[0].vector + 10.0 * parts[1].vector)
    (candidate,) = gallery.search(probe, reason=REASON).candidates
    assert candidate.similarity == pytest.approx(float(mean @ probe.vector), abs=1e-6)
    assert gallery.verify("Ada", probe).similarity == pytest.approx(candidate.similarity, abs=1e-6)


def test_without_calibration_support_is_undefined(gallery: Gallery) -> None:
    enrol_people(gallery, [1])
    found = gallery.search(embed(draw_person(1), 50), reason=REASON)
    assert found.is_supported is None
    assert SearchReason.UNCALIBRATED in found.reasons
    assert (found.supported, found.candidates[0].llr, found.calibration_id) == ((), None, None)
    assert gallery.verify("Person 1", embed(draw_person(1), 50)).is_supported is None


def test_with_calibration_only_first_can_be_supported(gallery: Gallery) -> None:
    enrol_people(gallery, range(1, 6))
    calibration = Linear()
    found = gallery.search(embed(draw_person(2), 50), reason=REASON, calibration=calibration)
    assert found.is_supported is True
    assert [one.name for one in found.supported] == ["Person 2"]
    assert found.candidates[0].llr == pytest.approx(min(4 * (found.candidates[0].similarity - 0.5), 1.5))
    stranger = gallery.search(embed(draw_person(99), 50), reason=REASON, calibration=calibration)
    assert stranger.is_supported is False
    assert stranger.supported == ()
    assert len(stranger.candidates) == 5
    assert set(calibration.sizes) == {5}
    verified = gallery.verify("Person 2", embed(draw_person(2), 50), calibration=calibration)
    assert (verified.is_supported, calibration.sizes[-1]) == (True, 0)
    assert gallery.verify("Person 3", embed(draw_person(2), 50), calibration=calibration).is_supported is False


def test_indistinguishable_speakers_are_both_not_named(gallery: Gallery) -> None:
    gallery.enrol("Twin A", make_samples(1), make_consent())
    gallery.enrol("Twin B", make_samples(1, tag="b "), make_consent(), allow_duplicate=True)
    found = gallery.search(embed(draw_person(1), 50), reason=REASON, calibration=Linear())
    assert SearchReason.AMBIGUOUS_TOP2 in found.reasons
    assert (found.is_supported, found.supported) == (None, ())
    raw = gallery.search(embed(draw_person(1), 50), reason=REASON)
    assert SearchReason.AMBIGUOUS_TOP2 in raw.reasons


def test_a_limited_first_candidate_is_said_to_be(gallery: Gallery) -> None:
    gallery.enrol("Ada", make_samples(1, 1), make_consent())
    found = gallery.search(embed(draw_person(1), 50), reason=REASON)
    assert SearchReason.ENROL_TOO_SHORT in found.reasons
    assert found.candidates[0].is_limited


def test_an_empty_gallery_says_so(gallery: Gallery) -> None:
    found = gallery.search(embed(draw_person(1), 1), reason=REASON)
    assert (found.candidates, found.is_supported, found.reasons) == ((), None, (SearchReason.GALLERY_EMPTY,))


def test_unnatural_motion_names_no_speaker(gallery: Gallery) -> None:
    enrol_people(gallery, [1])
    tampered = embed(draw_person(1), 50, natural=False)
    found = gallery.search(tampered, reason=REASON, calibration=Linear())
    assert (found.candidates, found.is_supported, found.reasons) == ((), None, (SearchReason.NOT_NATURAL,))
    verified = gallery.verify("Person 1", tampered, calibration=Linear())
    assert (verified.similarity, verified.llr, verified.is_supported) == (None, None, None)
    assert (verified.reasons, verified.samples) == ((SearchReason.NOT_NATURAL,), ())


def test_recipes_are_never_mixed(gallery: Gallery) -> None:
    gallery.enrol("Ada", make_samples(1), make_consent())
    gallery.enrol("Grace", make_samples(2, recipe="planted-2"), make_consent())
    found = gallery.search(embed(draw_person(2), 50), reason=REASON)
    assert [one.name for one in found.candidates] == ["Ada"]
    assert SearchReason.OTHER_RECIPE in found.reasons
    with raises(GalleryCode.EMBEDDER_MISMATCH, match="planted-3"):
        gallery.search(embed(draw_person(2), 50, recipe="planted-3"), reason=REASON)
    with raises(GalleryCode.EMBEDDER_MISMATCH):
        gallery.verify("Grace", embed(draw_person(2), 50))


def test_people_enrolled_again_in_this_recipe_are_compared(gallery: Gallery) -> None:
    for recipe in ("a", RECIPE, "z"):
        gallery.enrol("Ada", make_samples(1, recipe=recipe), make_consent())
    gallery.enrol("Grace", make_samples(2), make_consent())
    found = gallery.search(embed(draw_person(2), 50), reason=REASON)
    assert {one.name for one in found.candidates} == {"Ada", "Grace"}
    assert SearchReason.OTHER_RECIPE not in found.reasons


def test_a_calibration_of_another_recipe_is_refused(gallery: Gallery) -> None:
    enrol_people(gallery, [1])
    probe = embed(draw_person(1), 50)
    with raises(GalleryCode.EMBEDDER_MISMATCH, match="calibration"):
        gallery.search(probe, reason=REASON, calibration=Linear(recipe="planted-2"))


def test_qualities_reach_the_calibration_in_its_order(gallery: Gallery) -> None:
    gallery.enrol("Ada", make_samples(1), make_consent())
    calibration = Linear(qualities=("log enrolled seconds", "log probe seconds"))
    gallery.search(embed(draw_person(1), 50, seconds=7.0), reason=REASON, calibration=calibration)
    assert calibration.seen[-1] == pytest.approx(np.log([[24.0, 7.0]]))
    with pytest.raises(GalleryError, match="phase of the moon"):
        gallery.search(embed(draw_person(1), 5), reason=REASON, calibration=Linear(qualities=("phase of the moon",)))


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_a_search_among_everyone_needs_a_reason(gallery: Gallery, reason: str | None) -> None:
    enrol_people(gallery, [1])
    with raises(GalleryCode.SEARCH_WITHOUT_REASON):
        gallery.search(embed(draw_person(1), 50), reason=reason)


def test_a_probe_of_another_width_under_the_same_recipe_is_refused(gallery: Gallery) -> None:
    enrol_people(gallery, [1])
    with raises(GalleryCode.EMBEDDER_MISMATCH, match="8 dimensions"):
        gallery.search(embed(draw_person(1, 8), 1), reason=REASON)


def test_more_candidates_than_speakers_are_not_invented(gallery: Gallery) -> None:
    enrol_people(gallery, [1, 2])
    found = gallery.search(embed(draw_person(1), 50), 50, reason=REASON)
    assert [one.name for one in found.candidates] == ["Person 1", "Person 2"]
    with pytest.raises(ValueError, match="k is 0"):
        gallery.search(embed(draw_person(1), 50), 0, reason=REASON)


def test_verification_shows_every_sample_closest_first(gallery: Gallery) -> None:
    gallery.enrol("Ada", make_samples(1, 3), make_consent())
    probe = embed(draw_person(1), 50)
    found = gallery.verify("Ada", probe)
    expected = sorted((float(one.embedding.vector @ probe.vector) for one in gallery.samples("Ada")), reverse=True)
    assert [one.similarity for one in found.samples] == pytest.approx(expected, abs=1e-6)
    with raises(GalleryCode.UNKNOWN_SPEAKER):
        gallery.verify("Nobody", probe)


def test_another_gallery_on_the_same_database_sees_changes_at_once(gallery: Gallery, where: Path | str) -> None:
    probe = embed(draw_person(3), 50)
    enrol_people(gallery, [1, 2])
    with Gallery.open(where) as other:
        assert other.search(probe, 1, reason=REASON).n_speakers == 2
        enrol_people(gallery, [3])
        assert other.search(probe, 1, reason=REASON).candidates[0].name == "Person 3"
        gallery.rename("Person 3", "Renamed")
        assert other.search(probe, 1, reason=REASON).candidates[0].name == "Renamed"
        gallery.forget("Renamed", timeout_s=5)
        assert "Renamed" not in {one.name for one in other.search(probe, reason=REASON).candidates}


def test_both_databases_give_the_same_answers(gallery: Gallery, tmp_path: Path) -> None:
    seeds = range(1, 20)
    with Gallery.open(tmp_path / "reference" / "gallery.db") as reference:
        enrol_people(reference, seeds)
        enrol_people(gallery, seeds)
        for seed in (3, 17, 99):
            probe = embed(draw_person(seed), 50)
            one, other = (each.search(probe, 10, reason=REASON) for each in (reference, gallery))
            assert [each.name for each in one.candidates] == [each.name for each in other.candidates]
            ours, theirs = ([each.similarity for each in found.candidates] for found in (one, other))
            assert ours == theirs
