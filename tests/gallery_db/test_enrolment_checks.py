"""Planted outliers and duplicates are detected, genuine clips accepted, and every rejection has a reason."""

from collections.abc import Sequence

import numpy as np
import pytest

from gallery_db.enrolment_checks import EnrolmentCheckOptions, check_enrolment, find_consistent, is_limited
from gallery_db.records import Neighbour, NewSample, RejectionReason
from tests.gallery_db.drawn import draw_clips, draw_person, make_sample, normalise, store

ONE, OTHER, THIRD = np.eye(3, dtype=np.float32)
TWENTY = range(20)


@pytest.fixture(scope="module")
def measured() -> EnrolmentCheckOptions:
    """Bounds measured on these synthetic speakers."""
    rng = np.random.default_rng(99)
    pairs = np.stack([draw_clips(draw_person(rng), 2, rng) for _ in range(2000)])  # (people, 2, D)
    same = np.einsum("nd,nd->n", pairs[:, 0], pairs[:, 1])
    different = np.einsum("nd,nd->n", pairs[:-1, 0], pairs[1:, 1])
    return EnrolmentCheckOptions.of_scores(same, different)


def make(vectors: np.ndarray | Sequence[np.ndarray]) -> list[NewSample]:
    return [make_sample(vector) for vector in vectors]


def tilt(vector: np.ndarray, by: float, to: np.ndarray = THIRD) -> np.ndarray:
    return normalise(vector + by * to)


def test_enough_clips_of_one_person_are_all_admitted() -> None:
    found = check_enrolment(make([tilt(ONE, 0.1), tilt(ONE, 0.2)]), [], [])
    assert found.accepted.tolist() == [True, True]
    assert (found.rejections, found.warnings, found.is_limited) == ((), (), False)


@pytest.mark.parametrize(
    ("seconds", "limited"), [([9.99, 10.0], True), ([10.0, 10.0], False), ([40.0], True), ([], True)]
)
def test_twenty_seconds_over_two_clips_are_asked_for(seconds: list[float], limited: bool) -> None:
    samples = [make_sample(tilt(ONE, i / 10), seconds=own) for i, own in enumerate(seconds)]
    assert is_limited(sum(seconds), len(seconds)) is limited
    if samples:
        found = check_enrolment(samples, [], [])
        assert found.accepted.all() and found.is_limited is limited
        assert not check_enrolment(samples, [store(make_sample(tilt(ONE, 0.9), seconds=20.0))], []).is_limited


def test_what_is_rejected_does_not_count_towards_the_twenty_seconds() -> None:
    samples = [make_sample(tilt(ONE, i / 10), seconds=6.0) for i in range(3)]
    outlier = make_sample(OTHER, seconds=60.0)
    assert check_enrolment([*samples, outlier], [], []).is_limited
    assert not check_enrolment([*samples, make_sample(tilt(ONE, 0.4), seconds=6.0)], [], []).is_limited


@pytest.mark.parametrize("seed", TWENTY)
def test_a_planted_outlier_is_rejected_and_no_other_clip(seed: int, measured: EnrolmentCheckOptions) -> None:
    rng = np.random.default_rng(seed)
    own, outlier = draw_clips(draw_person(rng), 4, rng), draw_clips(draw_person(rng), 1, rng)
    place = seed % 5
    found = check_enrolment(make(np.insert(own, place, outlier[0], axis=0)), [], [], options=measured)
    assert np.flatnonzero(~found.accepted).tolist() == [place]
    assert found.rejections[0].reason == RejectionReason.OUTLIER


@pytest.mark.parametrize("seed", TWENTY)
def test_two_outliers_among_five_are_rejected_of_one_person_or_two(seed: int, measured: EnrolmentCheckOptions) -> None:
    rng = np.random.default_rng(seed)
    own, outlier = draw_clips(draw_person(rng), 3, rng), draw_person(rng)
    others = draw_clips(outlier, 2, rng) if seed % 2 else np.stack([outlier, draw_person(rng)])
    found = check_enrolment(make([*own, *others]), [], [], options=measured)
    assert found.accepted.tolist() == [True] * 3 + [False] * 2


@pytest.mark.parametrize("seed", TWENTY)
def test_an_outlier_is_found_by_the_enrolled_clips(seed: int, measured: EnrolmentCheckOptions) -> None:
    rng = np.random.default_rng(seed)
    person = draw_person(rng)
    enrolled = [store(sample) for sample in make(draw_clips(person, 3, rng))]
    new = make([draw_person(rng), *draw_clips(person, 1, rng)])
    found = check_enrolment(new, enrolled, [], options=measured)
    assert found.accepted.tolist() == [False, True]
    assert found.rejections[0].source_hash == new[0].source_hash


@pytest.mark.parametrize("seed", TWENTY)
def test_a_planted_duplicate_of_another_speaker_is_found(seed: int, measured: EnrolmentCheckOptions) -> None:
    rng = np.random.default_rng(seed)
    people = [draw_person(rng) for _ in range(50)]
    others = [Neighbour(i, f"P{i}", normalise(draw_clips(own, 5, rng).sum(0))) for i, own in enumerate(people)]
    clips = make(draw_clips(people[7], 4, rng))
    found = check_enrolment(clips, [], others, options=measured)
    assert not found.accepted.any() and "P7" in found.rejections[0].text
    assert {one.reason for one in found.rejections} == {RejectionReason.DUPLICATE_OF_ANOTHER}
    allowed = check_enrolment(clips, [], others, options=measured, allow_duplicate=True)
    assert allowed.accepted.all() and len(allowed.warnings) == 1 and "P7" in allowed.warnings[0]


def test_false_alarms_are_rare(measured: EnrolmentCheckOptions) -> None:
    """500 honest people of 4 clips each, in a gallery of 500: how many clips are refused, how many people warned of."""
    rng = np.random.default_rng(1)
    people = [draw_person(rng) for _ in range(1000)]
    others = [Neighbour(i, f"P{i}", own) for i, own in enumerate(people[:500])]
    judged = [check_enrolment(make(draw_clips(own, 4, rng)), [], others, options=measured) for own in people[500:]]
    assert sum(int((~found.accepted).sum()) for found in judged) <= 4  # of 2000
    assert sum(bool(found.warnings) for found in judged) == 0


def test_two_disagreeing_clips_are_both_rejected() -> None:
    found = check_enrolment(make([ONE, OTHER]), [], [])
    assert not found.accepted.any() and found.is_limited
    assert {one.reason for one in found.rejections} == {RejectionReason.DISAGREEMENT}
    assert "which is wrong cannot be decided" in found.rejections[0].text


def test_equal_clusters_are_both_rejected_and_a_larger_one_is_kept() -> None:
    camps = [ONE, tilt(ONE, 0.1), OTHER, tilt(OTHER, 0.1)]
    assert not check_enrolment(make(camps), [], []).accepted.any()
    assert check_enrolment(make([*camps, tilt(ONE, 0.2)]), [], []).accepted.tolist() == [True, True, False, False, True]


def test_clip_unlike_the_only_enrolled_one_is_rejected() -> None:
    found = check_enrolment(make([OTHER]), [store(make_sample(ONE))], [])
    assert [one.reason for one in found.rejections] == [RejectionReason.DISAGREEMENT]


def test_clips_agreeing_only_among_themselves_are_rejected() -> None:
    enrolled = [store(make_sample(tilt(ONE, 0.1))), store(make_sample(tilt(ONE, 0.2)))]
    crowd = make([tilt(OTHER, i / 10) for i in range(6)])
    found = check_enrolment(crowd, enrolled, [])
    assert not found.accepted.any()
    assert "not with those enrolled" in found.rejections[0].text


def test_the_same_file_is_refused_twice_and_again() -> None:
    sample, fresh = make_sample(ONE), make_sample(tilt(ONE, 0.1))
    found = check_enrolment([fresh, sample, fresh], [store(sample)], [])
    assert found.accepted.tolist() == [True, False, False]
    assert [one.reason for one in found.rejections] == [RejectionReason.SAME_SOURCE] * 2
    assert all("the same file as" in one.text for one in found.rejections)


def test_a_copy_of_the_footage_counts_once_whatever_its_file_is() -> None:
    first, fresh = make_sample(ONE, "first.mp4", seconds=15.0), make_sample(tilt(ONE, 0.2), seconds=6.0)
    copies = [make_sample(tilt(ONE, 0.005 * i), f"copy{i}.mp4", seconds=15.0) for i in (1, 2, 3)]
    alone = check_enrolment([first, *copies], [], [])
    assert alone.accepted.tolist() == [True] + [False] * 3 and alone.is_limited
    assert {one.text for one in alone.rejections} == {"it is the same footage as first.mp4"}
    assert check_enrolment([*copies, fresh], [store(first)], []).accepted.tolist() == [False] * 3 + [True]


def test_copies_of_an_outlier_make_no_majority() -> None:
    own, outlier = [ONE, tilt(ONE, 0.1)], [tilt(OTHER, 0.002 * i) for i in range(6)]
    assert check_enrolment(make([*outlier, *own]), [], []).accepted.tolist() == [False] * 6 + [True] * 2


def test_unnatural_motion_is_refused_and_excluded_from_comparison() -> None:
    frozen = [make_sample(tilt(OTHER, i / 10), is_natural=False) for i in range(3)]
    found = check_enrolment([*frozen, *make([ONE, tilt(ONE, 0.1)])], [], [])
    assert found.accepted.tolist() == [False] * 3 + [True] * 2
    assert {one.reason for one in found.rejections} == {RejectionReason.NOT_NATURAL}


def test_all_who_are_near_are_named_the_nearest_first() -> None:
    others = [Neighbour(1, "Ben", tilt(ONE, 0.3)), Neighbour(2, "Cem", ONE), Neighbour(3, "Dee", OTHER)]
    found = check_enrolment(make([ONE, tilt(ONE, 0.05)]), [], others, allow_duplicate=True)
    assert [text.split("like ")[1].split(",")[0] for text in found.warnings] == ["Cem", "Ben"]


@pytest.mark.parametrize(("angle", "warns"), [(0.499, True), (0.502, False)])
def test_the_bound_belongs_to_the_duplicates(angle: float, warns: bool) -> None:
    near = np.array([np.cos(angle), np.sin(angle), 0], np.float32)
    options = EnrolmentCheckOptions(duplicate_above=float(np.cos(0.5)))
    assert bool(check_enrolment(make([ONE]), [], [Neighbour(1, "Ben", near)], options=options).warnings) is warns


def test_the_order_of_the_clips_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        vectors = np.concatenate([draw_clips(draw_person(rng), 3, rng, 1.2), draw_clips(draw_person(rng), 2, rng)])
        stands, support = find_consistent(vectors, vectors[:0], 0.2)
        order = rng.permutation(5)
        again, as_before = find_consistent(vectors[order], vectors[:0], 0.2)
        np.testing.assert_array_equal(again, stands[order])
        np.testing.assert_allclose(as_before, support[order])


def test_bounds_come_from_measured_similarities() -> None:
    same, different = np.linspace(0, 1, 101), np.linspace(-1, 0.4, 1001)
    assert EnrolmentCheckOptions.of_scores(same, different) == EnrolmentCheckOptions(0.01, 0.5)
    near = EnrolmentCheckOptions.of_scores(same, np.linspace(0, 0.9, 1001))
    assert near.duplicate_above == pytest.approx(0.8991)
    with pytest.raises(ValueError, match="wanted at least 100 and 1000"):
        EnrolmentCheckOptions.of_scores(same[:50], different)


def test_short_clips_need_be_less_alike() -> None:
    options = EnrolmentCheckOptions()
    bounds = options.bound_outliers(np.array([1.5, 3.0, 6.0, 60.0]))
    np.testing.assert_allclose(bounds, [-0.16, 0.09, 0.34, 0.34])
    pair = [ONE, normalise(0.2 * ONE + OTHER)]  # their similarity is 0.2
    for seconds, is_in in ((3.0, True), (12.0, False)):
        found = check_enrolment([make_sample(vector, seconds=seconds) for vector in pair], [], [])
        assert found.accepted.tolist() == [is_in] * 2
    long, short = make_sample(pair[0], seconds=12.0), make_sample(pair[1], seconds=2.0)
    known = [store(long), store(make_sample(tilt(ONE, 0.1), seconds=12.0))]
    assert check_enrolment([make_sample(tilt(ONE, 0.2)), short], known, []).accepted.tolist() == [True, True]


def test_clips_of_two_recipes_or_none_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="of 2 recipes"):
        check_enrolment([make_sample(ONE)], [store(make_sample(OTHER, recipe="else"))], [])
    with pytest.raises(ValueError, match="0 new"):
        check_enrolment([], [], [])
