"""S-norm: hand-computed cases, its invariants, and what it is for."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.metrics import roc_auc_score

from gallery_db.cohort import LEAST_DEVIATION, Cohort, CohortOptions, load_cohort, save_cohort
from gallery_db.errors import EmbedderMismatch, FileRefused

FEW = CohortOptions(least=2, top=2)


def draw(n: int, size: int = 16, seed: int = 0, about: np.ndarray | None = None, spread: float = 1.0) -> np.ndarray:
    """(n, D) float32 unit rows, about a direction where one is given."""
    drawn = spread * np.random.default_rng(seed).normal(size=(n, size)) + (0 if about is None else about)
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def test_a_case_computed_by_hand() -> None:
    cohort = Cohort(np.array([[1, 0], [0.6, 0.8], [-1, 0]], np.float32), "r", CohortOptions(least=3, top=2))
    probe, template = np.array([1, 0], np.float32), np.array([[0, 1]], np.float32)
    # The probe's nearest two have 1 and 0.6: mean 0.8, deviation 0.2; the template's 0.8 and 0: 0.4 and 0.4.
    found = cohort.normalise(np.array([0.5]), template, probe)
    np.testing.assert_allclose(found, [0.5 * ((0.5 - 0.4) / 0.4 + (0.5 - 0.8) / 0.2)], atol=1e-6)


def test_the_far_end_of_the_cohort_has_no_part() -> None:
    near = np.array([[1, 0], [0.6, 0.8]], np.float32)
    far = np.array([[-1, 0], [-0.8, -0.6], [-0.6, -0.8]], np.float32)
    scores, template, probe = np.array([0.3]), np.array([[0.8, 0.6]], np.float32), np.array([1, 0], np.float32)
    alone, among = Cohort(near, "r", FEW), Cohort(np.concatenate([far, near]), "r", FEW)
    np.testing.assert_allclose(alone.normalise(scores, template, probe), among.normalise(scores, template, probe))


def test_either_side_may_be_the_probe_and_turning_space_changes_nothing() -> None:
    cohort = Cohort(draw(60), "r", CohortOptions(least=20, top=20))
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(16, 16)))
    turned = Cohort((cohort.vectors @ turn).astype(np.float32), "r", cohort.options)
    for seed in range(20):
        one, other = draw(2, seed=100 + seed)
        score = np.array([one @ other])
        found = cohort.normalise(score, one[None], other)
        np.testing.assert_allclose(found, cohort.normalise(score, other[None], one))
        np.testing.assert_allclose(
            found, turned.normalise(score, (one @ turn)[None], other @ turn), rtol=1e-4, atol=1e-4
        )


def test_a_higher_similarity_to_the_same_template_stays_higher() -> None:
    cohort, template, probe = Cohort(draw(60), "r", CohortOptions(20, 20)), draw(1, seed=1), draw(1, seed=2)[0]
    scores = np.linspace(-1, 1, 41)
    found = cohort.normalise(scores, np.repeat(template, 41, axis=0), probe)
    assert np.all(np.diff(found) > 0)


def test_strangers_like_everybody_no_longer_stand_out() -> None:
    """People near the middle are similar to all; normalised, own and others' trials part better."""
    rng = np.random.default_rng(0)
    middle = np.zeros(16)
    middle[0] = 1.0

    def draw_person(seed: int) -> np.ndarray:
        return rng.uniform(0, 3) * middle + 0.5 * np.random.default_rng(seed).normal(size=16)

    cohort = Cohort(np.concatenate([draw(1, about=draw_person(i), spread=0.1, seed=5000 + i) for i in range(300)]), "r")
    people = [draw_person(1000 + i) for i in range(60)]
    templates = np.concatenate([draw(1, about=own, spread=0.2, seed=3000 + i) for i, own in enumerate(people)])
    raw, normed = [], []
    for i, own in enumerate(people):
        probe = draw(1, about=own, spread=0.6, seed=500 + i)[0]
        raw.append(templates @ probe)
        normed.append(cohort.normalise(raw[-1], templates, probe))
    is_own = np.eye(60).ravel()
    before, after = (roc_auc_score(is_own, np.ravel(scores)) for scores in (raw, normed))
    assert before < 0.95 < 0.96 < after


def test_a_small_cohort_is_not_used() -> None:
    small, large = Cohort(draw(199), "r"), Cohort(draw(200), "r")
    assert large.is_large_enough and not small.is_large_enough
    with pytest.raises(ValueError, match="wanted at least 200"):
        small.normalise(np.zeros(1), draw(1), draw(1)[0])


def test_a_cohort_of_one_and_the_same_gives_finite_numbers() -> None:
    cohort = Cohort(np.repeat(draw(1), 3, axis=0), "r", FEW)
    found = cohort.normalise(np.array([1.0]), draw(1), draw(1, seed=3)[0])
    assert np.isfinite(found).all() and abs(found[0]) < 2 / LEAST_DEVIATION


@pytest.mark.parametrize(("least", "top"), [(5, 6), (5, 1)])
def test_options_that_contradict_themselves_are_a_mistake(least: int, top: int) -> None:
    with pytest.raises(ValueError, match="wanted at least 2"):
        CohortOptions(least, top)


@pytest.mark.parametrize("vectors", [np.ones((2, 2), np.float32), np.full((2, 2), np.nan, np.float32), np.eye(2)])
def test_vectors_that_are_not_unit_float32_are_a_mistake(vectors: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"wanted float32|not of length 1"):
        Cohort(vectors, "r")


def test_its_id_names_vectors_recipe_and_options() -> None:
    told = [Cohort(draw(200), "r"), Cohort(draw(200), "r"), Cohort(draw(200, seed=1), "r"), Cohort(draw(200), "s")]
    told.append(Cohort(draw(200), "r", CohortOptions(200, 50)))
    assert told[0].id == told[1].id and len({cohort.id for cohort in told}) == 4


def test_a_cohort_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "cohort.safetensors"
    save_cohort(Cohort(draw(200), "r"), path)
    found = load_cohort(path, "r")
    np.testing.assert_array_equal(found.vectors, draw(200))
    assert found.recipe == "r" and found.is_large_enough


def test_files_that_are_no_cohort_of_this_recipe_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cohort.safetensors"
    with pytest.raises(FileRefused, match="is no cohort"):
        load_cohort(path, "r")
    save_cohort(Cohort(draw(3), "other"), path)
    with pytest.raises(EmbedderMismatch, match="recipe other, wanted r"):
        load_cohort(path, "r")
    save_file({"vectors": np.ones((2, 2), np.float32)}, path, {"recipe": "r"})
    with pytest.raises(FileRefused, match="not of length 1"):
        load_cohort(path, "r")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(FileRefused, match="is no cohort"):
        load_cohort(path, "r")
