"""Pairs and searches of samples, by hand."""

from math import nan, sqrt

import numpy as np
import pytest

from engine.evaluation.speakers.comparisons import REFUSED, pair_candidates, pair_samples, search
from engine.evaluation.speakers.samples import Sample, find_comparable, pool_rows
from tests.engine.evaluation.speakers.people import NATURE, draw_people, embed, make_row

X, Y, Z = (1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0)


def three() -> tuple[Sample, ...]:
    """Ada twice on two days, Ben once."""
    rows = [make_row(1, "Ada", "1"), make_row(2, "Ada", "2"), make_row(3, "Ben", "1")]
    vectors = [(X, 1.0), ((3.0, 4.0, 0), 2.0), (Y, 1.0)]
    embedded = [embed(row, vector, seconds) for row, (vector, seconds) in zip(rows, vectors, strict=True)]
    return pool_rows(embedded, rows, NATURE).samples


def test_two_samples_are_one_pair_in_either_direction() -> None:
    samples = three()
    allowed = find_comparable(samples, samples, True)
    both, once = pair_samples(samples, samples, allowed), pair_samples(samples, samples, allowed, once=True)
    assert len(both.scores) == 6
    assert once.scores.tolist() == pytest.approx([0.6, 0.0, 0.8])
    assert once.genuine.tolist() == [True, False, False]
    assert [(once.speakers[one], once.speakers[other]) for one, other in zip(once.one, once.other, strict=True)] == [
        ("Ada", "Ada"),
        ("Ada", "Ben"),
        ("Ada", "Ben"),
    ]


def test_pair_allowed_in_one_direction_is_kept() -> None:
    samples = three()
    for allowed in (np.eye(3, k=1, dtype=bool), np.eye(3, k=-1, dtype=bool)):
        assert len(pair_samples(samples, samples, allowed, once=True).scores) == 2


def test_speaker_template_is_mean_of_comparable_samples() -> None:
    samples = three()
    found = search(samples, samples, find_comparable(samples, samples, True))
    assert found.speakers == ("Ada", "Ben")
    ada = np.array([1, 0, 0]) + 2 * np.array([0.6, 0.8, 0])
    wanted = [[0.6, 0.0], [0.6, 0.8], [ada[1] / np.linalg.norm(ada), nan]]
    assert found.scores == pytest.approx(np.array(wanted), abs=1e-6, nan_ok=True)
    assert found.place(["Ada", "Ada", "Ada"]).tolist() == [0, 0, 0]
    assert found.place(["Ben", "Ben", "Ben"]).tolist() == [1, 1, -1]
    assert found.place(["Eve", "Ada", "Eve"]).tolist() == [-1, 0, -1]


def test_people_are_paired_with_candidates() -> None:
    samples = three()
    found = pair_candidates(search(samples, samples, find_comparable(samples, samples, True)))
    assert found.genuine.tolist() == [True, False, True, False, False]
    assert found.scores[:4].tolist() == pytest.approx([0.6, 0.0, 0.6, 0.8])


def test_speaker_with_cancelling_samples_is_no_candidate() -> None:
    rows = [make_row(1, "Ada", "1"), make_row(2, "Ada", "2"), make_row(3, "Ben", "1")]
    samples = pool_rows([embed(rows[0], X), embed(rows[1], (-1.0, 0, 0)), embed(rows[2], Z)], rows, NATURE).samples
    found = search(samples[2:], samples[:2], np.ones((1, 2), bool))
    assert np.isnan(found.scores).all()


def test_rounding_errors_do_not_break_ties() -> None:
    rng = np.random.default_rng(0)
    style = rng.normal(size=96)
    rows = [make_row(number, f"p{number % 4}", f"s{number}") for number in range(1, 21)]
    embedded = [embed(row, style + 1e-7 * rng.normal(size=96), rng.uniform(1, 3)) for row in rows]
    samples = pool_rows(embedded, rows, NATURE).samples
    found = search(samples, samples, find_comparable(samples, samples, True))
    assert np.unique(found.scores).tolist() == [1.0]
    assert np.unique(pair_samples(samples, samples, find_comparable(samples, samples, True)).scores).tolist() == [1.0]


def test_scores_are_cosines_of_the_embeddings() -> None:
    embedded = draw_people(3, 2, per_session=2)
    samples = pool_rows(embedded, [one.row for one in embedded], NATURE).samples
    allowed = find_comparable(samples, samples, True)
    pairs = pair_samples(samples, samples, allowed)
    rows, columns = np.nonzero(allowed)
    wanted = [samples[row].vector @ samples[column].vector for row, column in zip(rows, columns, strict=True)]
    assert pairs.scores == pytest.approx(wanted, abs=1e-6)
    assert pairs.genuine.sum() == 3 * 2 * 4  # each of 12 samples meets the two of its speaker's other session
    assert len(pairs.scores) == 12 * (12 - 2)


def test_templates_weight_samples_by_windows() -> None:
    rows = [make_row(1, "Ada", "1"), make_row(2, "Ada", "2"), make_row(3, "Ben", "3")]
    embedded = [embed(rows[0], X, 3.0), embed(rows[1], Y, 1.0), embed(rows[2], X)]
    samples = pool_rows(embedded, rows, NATURE).samples
    found = search(samples[2:], samples[:2], np.ones((1, 2), bool))
    assert found.scores.tolist() == [[pytest.approx(3 / sqrt(10), abs=1e-6)]]


def test_empty_search_has_no_candidates() -> None:
    samples = three()
    assert search([], samples, find_comparable([], samples, True)).scores.shape == (0, 2)
    assert search(samples, [], find_comparable(samples, [], True)).scores.shape == (3, 0)
    assert len(pair_samples([], samples, find_comparable([], samples, True)).scores) == 0
    assert len(pair_samples(samples, [], find_comparable(samples, [], True)).scores) == 0


def test_refused_probe_ranks_below_all_candidates_equally() -> None:
    rows = [make_row(1, "Ada", "1"), make_row(2, "Ben", "1"), make_row(3, "Ada", "2"), make_row(4, "Ada", "1")]
    gallery = pool_rows([embed(rows[0], X), embed(rows[1], (-1.0, 0, 0))], rows, NATURE).samples
    probes = pool_rows([embed(rows[2], X, evidence=-9.0), embed(rows[3], X)], rows, NATURE).samples
    allowed = find_comparable(probes, gallery, True)
    found = search(probes, gallery, allowed)
    assert found.refused.tolist() == [True, False]
    np.testing.assert_array_equal(found.scores, [[REFUSED, REFUSED], [np.nan, -1]])
    assert pair_samples(probes, gallery, allowed).scores.tolist() == [REFUSED, REFUSED, -1]
    assert pair_candidates(found).scores.tolist() == [REFUSED, REFUSED, -1]


def test_probes_beyond_the_gallery_are_paired_from_one_side() -> None:
    rows = [make_row(number, "Ada", f"s{number}") for number in (1, 2, 3)]
    samples = pool_rows([embed(row, X) for row in rows], rows, NATURE).samples
    allowed = find_comparable(samples, samples[:2], True)
    assert len(pair_samples(samples, samples[:2], allowed, once=True).scores) == 1 + 2
    assert len(pair_samples(samples, samples[:2], allowed).scores) == 2 + 2
