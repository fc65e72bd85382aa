"""Measures on held-out speakers: on windows of planted speakers, and by hand on drawn vectors."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.datasets.manifest import Row
from engine.evaluation.speakers.metrics import measure_following, measure_recognition
from engine.faces.face_crops import AlignedFaces
from engine.models.dvp import DVP, StyleMember
from engine.training.style import validation
from engine.training.style.augmentation import Augmentation, swap_identity
from engine.training.style.speakers import SpokenClip, fit_bases
from engine.training.style.validation import (
    FACE_SWAP,
    REENACTMENT,
    UNTOUCHED,
    EmbeddingsByMethod,
    ValidationEmbeddings,
    cut_windows,
    embed_all_methods,
    embed_first_windows,
    group_evidence,
    measure_folds,
)
from tests.engine.training.style.planted_people import MINI, forge, make_people

N_PEOPLE, N_SESSIONS, PER_SESSION = 3, 4, 8
FROZEN = str(Augmentation.FROZEN)
Direct = Callable[[int, int], int]
"""Source of the direction of the vector: the motion or the face."""


@pytest.fixture(scope="module")
def clips() -> list[SpokenClip]:
    """Three people on two days each, one of them for a second alone."""
    return [*make_people(2, n_frames=45), *make_people(1, n_frames=26, first=2)]


@pytest.fixture(scope="module")
def model(clips: list[SpokenClip]) -> DVP:
    """An untrained network."""
    torch.manual_seed(0)
    return DVP.of([StyleMember(MINI)], fit_bases(clips, MINI))


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are the business of others."""
    for tell in (measure_recognition, measure_following):
        monkeypatch.setattr(validation, tell.__name__, partial(tell, n=20))


def draw_looks(first: int = 0, noise: float = 0.0, **methods: tuple[float, Direct]) -> EmbeddingsByMethod:
    """Evaluate three speakers with one direction each; methods have a mean evidence and a source of direction."""
    rng = np.random.default_rng(first)
    wanted: Mapping[str, tuple[float, Direct]] = {UNTOUCHED: (2.0, take_motion), **methods}
    looks: EmbeddingsByMethod = {method: [] for method in wanted}
    for number in range(N_PEOPLE * N_SESSIONS * PER_SESSION):
        person, session = number // (N_SESSIONS * PER_SESSION), number // PER_SESSION % N_SESSIONS
        other = (person + 1) % N_PEOPLE
        plain = name_row(first, person, session, number)
        for method, (evidence, direct) in wanted.items():
            vector = np.eye(16)[direct(person, other)] + noise * rng.normal(size=16)
            unit = (vector / np.linalg.norm(vector)).astype(np.float32)
            donor = name_row(first, other, 0, other * N_SESSIONS * PER_SESSION)
            row = mark(plain, method.replace("_", " "), donor)
            looks[method].append(ValidationEmbeddings(row, f"{number:064x}", unit, rng.normal(evidence, 0.5), 1.24))
    return {method.replace("_", " "): own for method, own in looks.items()}


def take_motion(motion: int, face: int) -> int:
    return motion


def take_face(motion: int, face: int) -> int:
    return face


def name_row(first: int, person: int, session: int, number: int) -> Row:
    path = Path(f"{first}-{number}.mp4")
    return Row(number, path, "real", speaker=f"p{first + person}", session=f"day {session}", written=path.name)


def mark(row: Row, method: str, donor: Row) -> Row:
    if method == UNTOUCHED:
        return row
    made = replace(row, label="distorted", method=method)
    if method == FROZEN:
        return made
    return replace(made, motion_owner=row.speaker, face_owner=donor.speaker, donor_path=donor.path)


def measure(*folds: EmbeddingsByMethod) -> dict[str, Any]:
    return measure_folds(folds, 1)


def test_first_window_of_each_clip_is_evaluated(model: DVP, clips: list[SpokenClip]) -> None:
    looks = embed_first_windows(model, clips)
    assert [look.row for look in looks] == [clip.row for clip in clips]
    assert [look.seconds for look in looks] == [31 / 25] * 8 + [26 / 25] * 4
    for look, clip in zip(looks[:8], clips, strict=False):
        windows = model.embed(clip.motion[:31], clip.faces[:31], np.ones(31, bool))
        np.testing.assert_allclose(look.vector, windows.vectors[0], atol=1e-5)
        assert look.evidence == pytest.approx(float(windows.evidence[0]), abs=1e-5)
        assert look.sha256 == clip.sha256


def test_a_shorter_clip_fills_a_window(model: DVP, clips: list[SpokenClip]) -> None:
    windows = cut_windows(model, clips)
    assert windows.shape == (12, 31, MINI.n_rows)
    np.testing.assert_allclose(windows[-1][26:], windows[-1][20:25][::-1], atol=1e-6)


def test_all_clips_are_evaluated_and_generated_ones_are_labelled(model: DVP, clips: list[SpokenClip]) -> None:
    looks = embed_all_methods(model, clips, 1)
    assert list(looks) == [UNTOUCHED, *Augmentation, FACE_SWAP, REENACTMENT]
    assert [look.row for look in looks[UNTOUCHED]] == [clip.row for clip in clips]
    for method, own in looks.items():
        assert [look.row.session for look in own] == [clip.row.session for clip in clips]
        assert all(look.row.is_real == (method == UNTOUCHED) for look in own)
        assert {look.row.method for look in own} == {str(method)}
        if method != UNTOUCHED:
            assert not np.allclose([look.evidence for look in own], [look.evidence for look in looks[UNTOUCHED]])


def test_swaps_have_one_other_persons_face_and_their_own_motion(
    model: DVP, clips: list[SpokenClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[np.ndarray, np.ndarray, bool]] = []

    def watch(still: Any, points: np.ndarray, keep_shape: bool) -> AlignedFaces:
        made.append((still.picture, points, keep_shape))
        return swap_identity(still, points, keep_shape)

    monkeypatch.setattr(validation, "swap_identity", watch)
    looks = embed_all_methods(model, clips, 1)
    assert [keep_shape for *_, keep_shape in made] == [False] * 12 + [True] * 12
    swapped = [*looks[FACE_SWAP], *looks[REENACTMENT]]
    by_path = {clip.row.path: clip for clip in clips}
    donors: dict[tuple[str, str], set[Path | None]] = {}
    for look, (picture, points, _), clip in zip(swapped, made, clips * 2, strict=True):
        donor = by_path[look.row.donor_path]  # type: ignore[index]
        assert (look.row.motion_owner, look.row.face_owner) == (clip.speaker, donor.speaker)
        assert clip.speaker != donor.speaker
        assert (picture == donor.faces.pictures[len(donor.faces) // 2]).all()
        assert (points == clip.faces.points[:31]).all()
        donors.setdefault((look.row.method, clip.speaker), set()).add(look.row.donor_path)
    assert all(len(own) == 1 for own in donors.values()) and len(donors) == 6


def test_manipulated_clips_are_evaluated_unchanged(model: DVP, clips: list[SpokenClip]) -> None:
    forged = [forge(clips[0], clips[4], "a.mp4"), forge(clips[4], clips[0], "b.mp4")]
    looks = embed_all_methods(model, [*clips, *forged], 1)
    assert len(looks[UNTOUCHED]) == len(looks[FACE_SWAP]) == len(clips)
    made = looks["forged: face-swap"]
    assert [look.row for look in made] == [clip.row for clip in forged]
    np.testing.assert_array_equal(made[0].vector, embed_first_windows(model, forged)[0].vector)


def test_a_method_that_one_fold_has_alone_is_measured_there() -> None:
    figures = measure(draw_looks(0, 0.1), draw_looks(3, 0.1, face_swap=(2.0, take_motion)))
    result = figures["embedding"]["face swap"]
    assert result["n_probe_speakers"] == N_PEOPLE and result["following"]["follows_motion"] == 1


def test_evidence_is_grouped_by_person_and_session() -> None:
    looks = draw_looks()[UNTOUCHED]
    groups = group_evidence(looks[::-1])
    assert sorted(len(own) for own in groups) == [PER_SESSION] * (N_PEOPLE * N_SESSIONS)
    assert {round(float(own.sum()), 9) for own in groups} == {
        round(sum(look.evidence for look in looks[i : i + PER_SESSION]), 9) for i in range(0, len(looks), PER_SESSION)
    }


def test_perfect_vectors_make_no_mistake_and_folds_are_put_together() -> None:
    figures = measure(draw_looks(0), draw_looks(10))
    assert figures["speakers"] == 6
    for way in ("embedding", "gated"):
        result = figures[way]["untouched"]
        assert (result["eer"], result["rank1"], result["refused"]) == (0, 1, 0)
        assert result["n_probes"] == 2 * N_PEOPLE * N_SESSIONS  # eight windows of a session are a sample
        assert result["n_genuine"] == 2 * N_PEOPLE * 6  # pairs of four sessions
        assert result["n_impostor"] == 2 * 3 * N_SESSIONS**2  # no comparisons across folds
        assert result["chance_rank1"] == pytest.approx(1 / 3)


def test_random_vectors_identify_at_chance() -> None:
    result = measure(draw_looks(0, noise=30.0), draw_looks(10, noise=30.0))["embedding"]["untouched"]
    assert 0.35 < result["eer"] < 0.65 and result["rank1"] < 0.7


def test_gated_unnatural_motion_names_no_speaker() -> None:
    figures = measure(*(draw_looks(first, frozen=(-30.0, take_motion)) for first in (0, 10)))
    alone, gated = (figures[way][FROZEN] for way in ("embedding", "gated"))
    assert (alone["refused"], alone["eer"], alone["rank1"]) == (0, 0, 1)
    assert (gated["refused"], gated["eer"], gated["rank1"], gated["rank5"]) == (1, 0.5, 0, 0)
    assert figures["gated"]["untouched"] == figures["embedding"]["untouched"]


def test_naturalness_of_each_fold_is_fitted_on_other_folds() -> None:
    high, low = draw_looks(0), draw_looks(10)
    low = {method: [replace(look, evidence=look.evidence - 20) for look in own] for method, own in low.items()}
    assert measure(high, low)["gated"]["untouched"]["refused"] == 0.5  # the low ones alone
    assert measure(low)["gated"]["untouched"]["refused"] == 0  # a fold alone must judge itself


@pytest.mark.parametrize(("direct", "motion"), [(take_motion, 1.0), (take_face, 0.0)])
def test_swaps_follow_the_direction_of_the_vectors(direct: Direct, motion: float) -> None:
    figures = measure(*(draw_looks(first, face_swap=(2.0, direct), reenactment=(2.0, direct)) for first in (0, 10)))
    for way in ("embedding", "gated"):
        assert "following" not in figures[way]["untouched"]
        for method in (FACE_SWAP, REENACTMENT):
            result = figures[way][method]["following"]
            assert (result["decided"], result["follows_motion"], result["rank1_untouched"]) == (1, motion, 1)
            assert (result["kept"], result["rank1_face"]) == (motion, 1 - motion)
            assert result["n_owners"] == 6


def test_refused_swap_follows_no_speaker() -> None:
    figures = measure(*(draw_looks(first, face_swap=(-30.0, take_face)) for first in (0, 10)))
    result = figures["gated"][FACE_SWAP]["following"]
    assert (result["decided"], result["follows_motion"], result["kept"]) == (0, None, 0)


def test_people_with_too_little_for_a_sample_give_figures_that_say_so(model: DVP, clips: list[SpokenClip]) -> None:
    figures = measure(embed_all_methods(model, clips, 1))
    json.dumps(figures, allow_nan=False)
    assert set(figures["gated"]) == {"untouched", *map(str, Augmentation), FACE_SWAP, REENACTMENT}
    result = figures["gated"]["untouched"]
    assert (result["eer"], result["rank1"], result["refused"], result["n_probes"]) == (None, None, None, 0)
