"""Figures of pairs and searches: by hand where they are few, by their properties where they are drawn."""

from collections.abc import Sequence
from dataclasses import replace
from math import nan

import numpy as np
import pytest

from engine.evaluation.speakers.comparisons import REFUSED, SamplePairs, Search, pair_samples, search
from engine.evaluation.speakers.metrics import (
    measure_following,
    measure_open_set,
    measure_recognition,
    score_unenrolled,
)
from engine.evaluation.speakers.results import Recognition
from engine.evaluation.speakers.samples import Sample, find_comparable, pool_rows
from tests.engine.evaluation.speakers.people import NATURE, draw_people, embed, make_row


def make_sample(speaker: str, face_owner: str | None = None, evidence: float = 0.0) -> Sample:
    row = make_row(
        1, speaker, "s", "real" if face_owner is None else "fake", face_owner=face_owner, motion_owner=speaker
    )
    return pool_rows([embed(row, (1.0, 0.0), evidence=evidence)], [row], NATURE).samples[0]


def make_search(scores: Sequence[Sequence[float]], speakers: Sequence[str], faces: Sequence[str] = ()) -> Search:
    """Probes of `speakers`, looked up among Ada, Ben, Cy, ..., of whom there are as many as columns."""
    names = ("Ada", "Ben", "Cy", "Dot")[: len(scores[0])]
    owners = faces or [None] * len(speakers)
    probes = tuple(make_sample(name, owner) for name, owner in zip(speakers, owners, strict=True))
    return Search(probes, names, np.array(scores, float))


def make_pairs(scores: Sequence[float], genuine: Sequence[bool]) -> SamplePairs:
    """Pairs of Ada with herself, and with Ben."""
    other = np.where(genuine, 0, 1)
    return SamplePairs(np.array(scores, float), np.array(genuine, bool), np.zeros_like(other), other, ("Ada", "Ben"))


def recognise(embedded: list, seed: int = 0, n: int = 100) -> Recognition:
    samples = pool_rows(embedded, [one.row for one in embedded], NATURE).samples
    allowed = find_comparable(samples, samples, True)
    return measure_recognition(
        pair_samples(samples, samples, allowed, once=True), search(samples, samples, allowed), seed, n
    )


def test_errors_and_ranks_by_hand() -> None:
    pairs = make_pairs([5, 3, 4, 2, 1, 0], [True, True, False, False, False, False])
    found = measure_recognition(
        pairs,
        make_search([[0.9, 0.1, 0.2], [0.5, 0.4, 0.6], [0.3, 0.3, 0.3], [nan, 0.1, 0.2]], ["Ada", "Ben", "Cy", "Ada"]),
    )
    # thresholds from above: refused 1, 1/2, 1/2, 0; accepted 0, 0, 1/4, 1/4
    assert found.eer == pytest.approx(0.25)
    assert found.min_dcf == found.min_dcf_p01 == pytest.approx(0.5)
    assert found.auc == pytest.approx(7 / 8)
    assert (found.n_pairs, found.n_genuine, found.n_impostor) == (6, 2, 4)
    assert found.rank1 == pytest.approx((1 + 0 + 1 / 3) / 3)  # the last one is looked up without herself
    assert found.rank5 == 1.0
    assert found.chance_rank1 == pytest.approx(1 / 3)
    assert (found.n_probes, found.n_probe_speakers) == (3, 3)


def test_detection_costs_differ_with_error_cost() -> None:
    # of 50 genuine one is low; of 1000 impostors two stand above all others but below most genuine ones
    scores = [2.0] * 49 + [0.5] + [1.0] * 2 + [0.0] * 998
    found = measure_recognition(make_pairs(scores, [True] * 50 + [False] * 1000), make_search([[1, 0]], ["Ada"]))
    # above 1: refused 0.02, accepted 0: 0.02 at either target; at 0.5: accepted 0.002, so 0.002 * 19 = 0.038, or 0.198
    assert found.min_dcf == pytest.approx(0.02) and found.min_dcf_p01 == pytest.approx(0.02)
    shuffled = [2.0] * 40 + [0.5] * 10 + [1.0] * 2 + [0.0] * 998
    found = measure_recognition(make_pairs(shuffled, [True] * 50 + [False] * 1000), make_search([[1, 0]], ["Ada"]))
    assert found.min_dcf == pytest.approx(0.002 * 19) and found.min_dcf_p01 == pytest.approx(0.002 * 99)


def test_separated_speakers_have_no_errors() -> None:
    found = recognise(draw_people(6, 3, noise=0.0))
    assert (found.eer, found.min_dcf, found.min_dcf_p01, found.auc) == (0, 0, 0, 1)
    assert (found.rank1, found.rank5) == (1, 1)
    assert found.ci == {"eer": (0, 0), "min_dcf": (0, 0), "min_dcf_p01": (0, 0), "auc": (1, 1), "rank1": (1, 1),
                        "rank5": (1, 1)}  # fmt: skip


def test_identical_speakers_score_at_chance() -> None:
    same = [replace_vector(one) for one in draw_people(8, 3)]
    found = recognise(same)
    assert (found.eer, found.auc, found.min_dcf) == (pytest.approx(0.5), pytest.approx(0.5), 1.0)
    assert (found.rank1, found.rank5) == (pytest.approx(1 / 8), pytest.approx(5 / 8))
    assert found.rank1 == pytest.approx(found.chance_rank1)
    assert found.ci["eer"] == (pytest.approx(0.5), pytest.approx(0.5))


def replace_vector(one):  # type: ignore[no-untyped-def]
    return embed(one.row, np.arange(1.0, 17.0))


def test_noise_scores_at_chance() -> None:
    found = [recognise(draw_people(10, 3, noise=np.inf, seed=seed)) for seed in range(12)]
    assert np.mean([one.eer for one in found]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([one.auc for one in found]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([one.rank1 for one in found]) == pytest.approx(0.1, abs=0.06)


def test_single_speaker_has_metrics_without_intervals() -> None:
    found = measure_recognition(make_pairs([], []), make_search([[0.9, 0.1]] * 3, ["Ada"] * 3))
    assert (found.eer, found.min_dcf, found.auc, found.n_pairs) == (None, None, None, 0)
    assert found.rank1 == 1.0
    assert set(found.ci.values()) == {None}


def test_empty_input_has_no_metrics() -> None:
    found = measure_recognition(make_pairs([], []), search([], [], np.zeros((0, 0), bool)))
    assert (found.eer, found.rank1, found.rank5, found.chance_rank1, found.n_probes) == (None, None, None, None, 0)


def test_intervals_over_speakers_hold_the_truth_in_most_experiments() -> None:
    truth = recognise(draw_people(300, 2, noise=1.0, size=8, seed=1000), n=2).eer
    found = [recognise(draw_people(24, 2, noise=1.0, size=8, seed=seed)) for seed in range(20)]
    held = [one.ci["eer"][0] <= truth <= one.ci["eer"][1] for one in found if one.ci["eer"]]
    assert len(held) == 20 and sum(held) >= 16
    assert all(one.ci["eer"][0] < one.ci["eer"][1] for one in found if one.ci["eer"])


def test_what_is_drawn_is_seeded() -> None:
    embedded = draw_people(8, 3, noise=1.0)
    assert recognise(embedded, 1) == recognise(embedded, 1)
    assert recognise(embedded, 1).ci["eer"] != recognise(embedded, 2).ci["eer"]


def test_impostor_trials_exclude_the_probe_speaker() -> None:
    found = score_unenrolled(make_search([[0.9, 0.1, 0.2], [0.5, nan, 0.6], [nan, nan, 0.3]], ["Ada", "Ben", "Cy"]))
    assert found.scores.tolist() == [0.2, 0.6]  # Cy was compared only with himself
    assert found.speakers == ("Ada", "Ben")
    unknown = score_unenrolled(make_search([[0.9, 0.1]], ["Eve"]))
    assert (unknown.scores.tolist(), unknown.speakers) == ([0.9], ("Eve",))


def test_open_set_detection_matches_hand_computation() -> None:
    # ten samples of Ada: eight look like her by 0.9, one like Ben by 0.95, and one hardly like anybody
    scores = [[0.9, 0.0]] * 8 + [[0.0, 0.95]] + [[0.1, 0.0]]
    found = make_search(scores, ["Ada"] * 10)
    result = measure_open_set(found, score_unenrolled(found), n=100)
    # impostors: 0 nine times and 0.95; at 1 % none of the ten may pass, at 10 % one may
    assert result.dir == {"0.01": 0.0, "0.1": pytest.approx(0.9)}
    assert (result.n_mated, result.n_nonmated, result.n_nonmated_speakers) == (10, 10, 1)
    assert result.smallest_fpir == pytest.approx(0.3)
    assert result.supported == {"0.01": False, "0.1": False}
    assert result.ci == {"0.01": None, "0.1": None}  # one person


def test_three_hundred_impostors_support_one_percent() -> None:
    found = make_search([[0.9, 0.1], [0.1, 0.9]] * 150, ["Ada", "Ben"] * 150)
    result = measure_open_set(found, score_unenrolled(found), n=100)
    assert result.supported == {"0.01": True, "0.1": True} and result.smallest_fpir == pytest.approx(0.01)
    fewer = make_search([[0.9, 0.1], [0.1, 0.9]] * 149, ["Ada", "Ben"] * 149)
    assert measure_open_set(fewer, score_unenrolled(fewer), n=100).supported == {"0.01": False, "0.1": True}


def test_detection_rate_follows_impostor_distance() -> None:
    def make_noisy_search(noise: float) -> Search:
        embedded = draw_people(10, 3, noise=noise)
        samples = pool_rows(embedded, [one.row for one in embedded], NATURE).samples
        return search(samples, samples, find_comparable(samples, samples, True))

    clear, blind = make_noisy_search(0.05), make_noisy_search(np.inf)
    assert measure_open_set(clear, score_unenrolled(clear)).dir == {"0.01": 1.0, "0.1": 1.0}
    rates = measure_open_set(blind, score_unenrolled(blind)).dir
    assert rates["0.1"] is not None and rates["0.1"] <= 0.15
    between = make_noisy_search(0.8)
    result = measure_open_set(between, score_unenrolled(between))
    low, high = result.ci["0.1"] or (1, 0)
    assert low <= result.dir["0.1"] <= high  # type: ignore[operator]
    assert result.dir["0.01"] <= result.dir["0.1"]  # type: ignore[operator]


def test_no_impostors_give_no_rate() -> None:
    found = make_search([[0.9]], ["Ada"])
    result = measure_open_set(found, score_unenrolled(found), n=100)
    assert (result.dir, result.smallest_fpir, result.n_mated) == ({"0.01": None, "0.1": None}, None, 1)


def test_forged_faces_that_follow_the_motion() -> None:
    # motion / face: Ada / Ben four times, Ben / Cy twice
    forged = make_search(
        [[0.9, 0.5, 0.1], [0.4, 0.8, 0.1], [0.2, 0.3, 0.9], [0.7, 0.7, 0.1], [0.1, 0.9, 0.3], [0.1, 0.2, 0.9]],
        ["Ada"] * 4 + ["Ben"] * 2,
        ["Ben"] * 4 + ["Cy"] * 2,
    )
    untouched = make_search(
        [[0.9, 0.1, 0.2], [0.1, 0.9, 0.2], [0.9, 0.1, 0.2], [0.1, 0.2, 0.9]], ["Ada", "Ben", "Ben", "Cy"]
    )
    result = measure_following(forged, untouched)
    # motion first: 1, 0, 0, 1/2, 1, 0; face first: 0, 1, 0, 1/2, 0, 1
    assert result.rank1_face == pytest.approx(2.5 / 6)
    assert result.decided == pytest.approx(5 / 6)
    assert result.follows_motion == pytest.approx(2.5 / 5)
    # untouched: Ada 1, Ben 1/2; four and two times
    assert result.rank1_untouched == pytest.approx((4 * 1 + 2 * 0.5) / 6)
    assert result.kept == pytest.approx(2.5 / 5)
    assert result.n_owners == 2
    assert measure_recognition(make_pairs([], []), forged).rank1 == pytest.approx(2.5 / 6)


def test_ios_counts_only_cases_with_both_enrolled() -> None:
    forged = make_search([[0.9, nan, 0.1], [0.9, 0.8, 0.1]], ["Ada", "Ada"], ["Ben", "Ben"])
    result = measure_following(forged, make_search([[0.1, 0.9, 0.2]], ["Ben"]))
    assert (result.decided, result.follows_motion, result.rank1_face) == (1.0, 1.0, 0.0)
    # Ada has no untouched sample to look up
    assert (result.kept, result.rank1_untouched, result.n_owners) == (None, None, 1)
    assert set(result.ci.values()) == {None}


def test_ios_ignores_faces_not_enrolled() -> None:
    result = measure_following(make_search([[0.9, 0.1]], ["Ada"], ["Eve"]), make_search([[0.9, 0.1]], ["Ada"]))
    assert (result.decided, result.follows_motion, result.rank1_face) == (None, None, None)
    assert result.kept == 1.0


def test_ios_interval_resamples_owners() -> None:
    rng = np.random.default_rng(0)
    follows = rng.random(12) < 0.7  # each owner's clips all go one way
    names = ("Ada", "Ben", "Cy", "Dot")
    speakers = [names[i % 4] for i in range(12) for _ in range(5)]
    faces = [names[(i + 1) % 4] for i in range(12) for _ in range(5)]
    scores = np.zeros((60, 4))
    for place, (one, other, ok) in enumerate(zip(speakers, faces, np.repeat(follows, 5), strict=True)):
        scores[place, names.index(one if ok else other)] = 1
    result = measure_following(make_search(scores.tolist(), speakers, faces), make_search(np.eye(4).tolist(), names))
    low, high = result.ci["follows_motion"] or (1, 0)
    assert result.follows_motion == pytest.approx(follows.mean())
    assert 0 <= low < follows.mean() < high <= 1
    assert result.ci["kept"] == (low, high)  # rank-1 of the untouched is 1


def test_metrics_record_is_comparable() -> None:
    found = recognise(draw_people(4, 2))
    assert replace(found, eer=0.1) != found


def refuse(found: Search, *places: int) -> Search:
    """Return the same search with some probes of unnatural motion."""
    probes = list(found.probes)
    for place in places:
        probes[place] = make_sample(probes[place].speaker, probes[place].face_owner, evidence=-9.0)
    scores = found.scores.copy()
    scores[list(places)] = np.where(np.isnan(scores[list(places)]), nan, REFUSED)
    return Search(tuple(probes), found.speakers, scores)


def test_refused_probe_has_no_candidate_and_is_counted() -> None:
    found = make_search([[0.9, 0.1], [0.2, 0.8], [0.7, 0.6], [0.1, 0.9]], ["Ada", "Ben", "Ada", "Ben"])
    pairs = make_pairs([0.9, 0.8, 0.7, 0.1], [True, True, False, False])
    plain, result = (measure_recognition(pairs, one, n=20) for one in (found, refuse(found, 0)))
    assert (plain.rank1, result.rank1, result.rank5, result.n_probes) == (1.0, 0.75, 0.75, 4)
    assert measure_recognition(pairs, refuse(found, 0, 1, 2, 3), n=20).rank5 == 0.0
    strangers = score_unenrolled(refuse(found, 0))
    assert strangers.scores.tolist() == [REFUSED, 0.2, 0.6, 0.1]
    believed = measure_open_set(refuse(found, 0), strangers, n=20)
    assert (believed.dir["0.01"], believed.n_mated, believed.n_nonmated) == (0.75, 4, 4)


def test_refused_probe_follows_neither_motion_nor_face() -> None:
    untouched = make_search([[0.9, 0.1], [0.1, 0.9]], ["Ada", "Ben"])
    forged = make_search([[0.8, 0.3], [0.3, 0.7], [0.2, 0.8]], ["Ada", "Ben", "Ada"], ["Ben", "Ada", "Ben"])
    plain, result = (measure_following(one, untouched, n=20) for one in (forged, refuse(forged, 0)))
    assert (plain.decided, plain.follows_motion, plain.kept) == (1.0, pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (result.decided, result.follows_motion, result.kept) == (pytest.approx(2 / 3), 0.5, pytest.approx(1 / 3))
    assert result.rank1_face == pytest.approx(1 / 3)
    lost = measure_following(forged, refuse(untouched, 0), n=20)
    assert lost.rank1_untouched == pytest.approx(1 / 3)  # two of the three forged are moved by Ada
