"""Window embeddings are averaged and pooled, unnatural motion is marked; the static baseline follows the shape."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.errors import WeightsDamaged, WeightsForbidden, WeightsMissing
from engine.faces.face_crops import N_POINTS, POINTS, SIZE, AlignedFaces
from engine.faces.landmark_features import N_MOTION
from engine.faces.mouth_crops import MEAN_FACE
from engine.features.records import AudioFeatures, ClipFeatures, FaceFeatures
from engine.models.dvp import DVP, DVPOptions, write_options
from engine.settings import Settings
from engine.style.embedder import (
    MEAN_SHAPE,
    Dynamics,
    EmbeddingOptions,
    Nature,
    StaticFace,
    join_windows,
    load_dynamics,
    pool_embeddings,
    sum_length,
)
from engine.types import DynamicEmbedding
from engine.weights import registry
from engine.weights.licences import MARK, Use, mark_uses

NATURE = Nature(mean=2.0, between=0.6, within=0.8)
SIZES = DVPOptions(width=8, dim=6, dilations=(1,), n_shapes=4, n_bands=4)


def draw_windows(n: int, seed: int = 0, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows about one direction, and evidence about the mean of the untouched."""
    rng = np.random.default_rng(seed)
    vectors = np.array([1.0, 0, 0, 0, 0]) + spread * rng.normal(size=(n, 5))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), rng.normal(2, 1, n)


def join(vectors: np.ndarray, evidence: np.ndarray, recipe: str = "r") -> DynamicEmbedding:
    found = join_windows(vectors, evidence, 1.24 * len(vectors), recipe, NATURE)
    assert found is not None
    return found


def draw_track(n_frames: int = 70, seed: int = 0, has_faces: bool = True) -> FaceFeatures:
    rng = np.random.default_rng(seed)
    return FaceFeatures(
        start=0,
        lips=np.zeros((n_frames, 130), np.float32),
        seen=np.ones(n_frames, bool),
        gap=np.zeros(n_frames, np.float32),
        face_px=100.0,
        thumbnail=np.zeros((96, 96, 3), np.uint8),
        motion=rng.normal(size=(n_frames, N_MOTION)).astype(np.float32),
        faces=AlignedFaces(
            rng.integers(0, 256, (n_frames, SIZE, SIZE), np.uint8), np.zeros((n_frames, N_POINTS, 2), np.float32)
        )
        if has_faces
        else None,
    )


def make_features(track: FaceFeatures) -> ClipFeatures:
    there = np.ones(len(track.seen), bool)
    heard = AudioFeatures(np.zeros((len(there), 160), np.float32), there, there, -20.0)
    return ClipFeatures("a.mp4", "ab" * 32, len(there), (640, 480), 25.0, (), heard, (track,), (), {})


@pytest.fixture(scope="module")
def model() -> DVP:
    """An untrained network."""
    torch.manual_seed(0)
    made = DVP(SIZES, 2)
    made.natural.copy_(torch.tensor([2.0, 0.6, 0.8]))
    for name in ("shape_basis", "band_basis"):
        getattr(made, name).copy_(torch.randn_like(getattr(made, name)) / 5)
    return made.eval()


@pytest.fixture
def data_dir(tmp_path: Path, model: DVP) -> Path:
    """A data folder with these weights."""
    write_weights(tmp_path, model)
    return tmp_path


def write_weights(data_dir: Path, model: DVP, uses: str = mark_uses(frozenset({Use.SPEAKER}))) -> Path:
    path = data_dir / registry.FOLDER / registry.DYNAMICS.file
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), path, write_options(SIZES) | {MARK: uses})
    record = {"sha256": registry.hash_file(path), "speakers": ["Ada", "Ben"]}
    path.with_suffix(".json").write_text(json.dumps(record))
    return path


@pytest.mark.parametrize(
    ("n_windows", "lowest"), [(1, 2 - 2.6), (4, 2 - 2.6 * (0.36 + 0.16) ** 0.5), (10**9, 2 - 2.6 * 0.6)]
)
def test_evidence_is_natural_down_to_its_limit_which_rises_with_the_windows(n_windows: int, lowest: float) -> None:
    assert NATURE.admits(lowest + 1e-6, n_windows) and not NATURE.admits(lowest - 1e-6, n_windows)
    assert NATURE.admits(99.0, n_windows)


def test_the_limit_is_an_option() -> None:
    assert not Nature(2.0, 0.6, 0.8, lowest=-1.0).admits(0.9, 1)
    assert Nature(2.0, 0.6, 0.8).admits(0.9, 1)


def test_of_untouched_clips_hardly_any_is_refused_and_none_that_is_far_off_is_let_through() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 3, 8):
        own = 2 + 0.6 * rng.normal(size=4000)
        evidence = own + 0.8 * rng.normal(size=(n, 4000)).mean(0)
        refused = np.mean([not NATURE.admits(one, n) for one in evidence])
        assert refused == pytest.approx(0.0047, abs=0.004)
        assert not any(NATURE.admits(one - 6.5, n) for one in evidence[:1000])


def test_windows_are_averaged_with_their_spread() -> None:
    vectors, evidence = draw_windows(7)
    found = join(vectors, evidence)
    mean = vectors.mean(0, dtype=np.float64)
    np.testing.assert_allclose(found.vector, mean / np.linalg.norm(mean), atol=1e-6)
    assert found.spread == pytest.approx(1 - np.linalg.norm(mean), abs=1e-6)
    assert (found.n_windows, found.evidence) == (7, pytest.approx(evidence.mean()))
    assert found.is_natural == NATURE.admits(float(evidence.mean()), 7)
    same = join(np.repeat(vectors[:1], 3, axis=0), evidence[:3])
    assert same.spread == pytest.approx(0, abs=1e-6)
    assert not join(vectors, evidence - 9).is_natural


def test_no_windows_and_windows_that_cancel_give_no_embedding() -> None:
    nothing = np.zeros((0, 4), np.float32)
    assert join_windows(nothing, np.zeros(0), 0.0, "r", NATURE) is None
    against = np.array([[1, 0], [-1, 0]], np.float32)
    assert join_windows(against, np.zeros(2), 2.0, "r", NATURE) is None


def test_pooling_is_as_if_all_windows_were_of_one_clip_in_any_order_and_grouping() -> None:
    vectors, evidence = draw_windows(12)
    whole = join(vectors, evidence)
    parts = [join(vectors[part], evidence[part]) for part in (slice(0, 1), slice(1, 5), slice(5, 12))]
    nested = pool_embeddings([pool_embeddings(parts[1:], NATURE), parts[0]], NATURE)  # type: ignore[list-item]
    for pooled in (pool_embeddings(parts, NATURE), pool_embeddings(parts[::-1], NATURE), nested):
        assert pooled is not None
        np.testing.assert_allclose(pooled.vector, whole.vector, atol=1e-6)
        assert (pooled.n_windows, pooled.is_natural) == (12, whole.is_natural)
        assert pooled.spread == pytest.approx(whole.spread, abs=1e-6)
        assert (pooled.evidence, pooled.seconds) == (pytest.approx(whole.evidence), pytest.approx(whole.seconds))
        assert sum_length(pooled) == pytest.approx(np.linalg.norm(vectors.sum(0)), abs=1e-4)


def test_the_rule_is_applied_anew_to_what_is_pooled() -> None:
    vectors, _ = draw_windows(20)
    each = [join(vectors[i : i + 1], np.array([-0.2])) for i in range(20)]
    assert all(one.is_natural for one in each)
    together = pool_embeddings(each, NATURE)
    assert together is not None and not together.is_natural
    low, high = join(vectors[:1], np.array([-3.0])), join(vectors[1:2], np.array([5.0]))
    mixed = pool_embeddings([low, high], NATURE)
    assert not low.is_natural and mixed is not None and mixed.is_natural


def test_embeddings_of_two_recipes_or_none_are_not_pooled() -> None:
    vectors, evidence = draw_windows(4)
    with pytest.raises(ValueError, match="of 2 recipes"):
        pool_embeddings([join(vectors, evidence), join(vectors, evidence, "other")], NATURE)
    with pytest.raises(ValueError, match="0 embeddings"):
        pool_embeddings([], NATURE)


def test_a_face_is_embedded_from_its_windows(model: DVP) -> None:
    track = draw_track(70)
    found = Dynamics(model, "r", NATURE).embed(make_features(track), track)
    assert found is not None and track.faces is not None
    embedded = model.embed(track.motion, track.faces, track.seen)
    np.testing.assert_allclose(found.vector @ embedded.vectors.mean(0), 1 - found.spread, atol=1e-5)
    assert (found.n_windows, found.seconds, found.recipe) == (2, 62 / 25, "r")
    assert found.evidence == pytest.approx(embedded.evidence.mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("n_frames", "n_seen", "seconds"), [(24, 24, None), (25, 25, 1.0), (31, 24, None), (31, 26, 1.04)]
)
def test_less_than_a_second_of_a_face_gives_no_embedding(
    model: DVP, n_frames: int, n_seen: int, seconds: float | None
) -> None:
    track = draw_track(n_frames)
    seen = np.arange(n_frames) < n_seen
    object.__setattr__(track, "seen", seen)
    found = Dynamics(model, "r", NATURE).embed(make_features(track), track)
    assert (found.seconds if found else None) == seconds


def test_an_observation_without_faces_is_a_mistake(model: DVP) -> None:
    track = draw_track(has_faces=False)
    with pytest.raises(ValueError, match="no face crops"):
        Dynamics(model, "r", NATURE).embed(make_features(track), track)


def test_what_is_loaded_is_what_was_saved_with_its_nature_and_its_speakers(data_dir: Path, model: DVP) -> None:
    loaded, track = load_dynamics(Settings(data_dir)), draw_track()
    assert loaded.nature == Nature(*(pytest.approx(number) for number in (2.0, 0.6, 0.8)), -2.6)
    assert loaded.trained_on == {"Ada", "Ben"}
    found, wanted = (one.embed(make_features(track), track) for one in (loaded, Dynamics(model, "r", NATURE)))
    assert found is not None and wanted is not None
    np.testing.assert_array_equal(found.vector, wanted.vector)
    assert found.recipe == loaded.recipe


def test_weights_and_options_make_the_recipe(data_dir: Path, model: DVP) -> None:
    settings = Settings(data_dir)
    first, same = (load_dynamics(settings).recipe for _ in range(2))
    stricter = load_dynamics(settings, EmbeddingOptions(lowest=-2.0))
    assert first == same and first.startswith("dynamics-") and stricter.recipe != first
    assert stricter.nature.lowest == -2.0
    changed = DVP.of(list(model.members)[:1], model)
    changed.natural.copy_(torch.tensor([1.0, 1.0, 1.0]))
    write_weights(data_dir, changed)
    assert load_dynamics(settings).recipe != first


def test_weights_that_are_missing_damaged_or_of_another_use_are_refused(
    tmp_path: Path, model: DVP, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "nowhere")
    settings = Settings(tmp_path)
    with pytest.raises(WeightsMissing, match=r"dynamics\.safetensors was not found"):
        load_dynamics(settings)
    write_weights(tmp_path, model, "consistency")
    with pytest.raises(WeightsForbidden, match="not for speaker"):
        load_dynamics(settings)
    write_weights(tmp_path, model).write_bytes(b"cut")
    with pytest.raises(WeightsDamaged):
        load_dynamics(settings)


def draw_person(person: int, n_frames: int = 60, seed: int = 0, talk: float = 1.0) -> FaceFeatures:
    """A face of its own shape with independently moving points."""
    shape = MEAN_SHAPE + np.random.default_rng(1000 + person).normal(size=(N_POINTS, 2))
    motion = talk * np.random.default_rng(seed).normal(size=(n_frames, N_POINTS, 2))
    track = draw_track(n_frames, seed)
    assert track.faces is not None
    return replace(track, faces=AlignedFaces(track.faces.pictures, (shape + motion).astype(np.float32)))


def embed(track: FaceFeatures) -> np.ndarray:
    found = StaticFace().embed(make_features(track), track)
    assert found is not None
    return found.vector


def test_one_shape_is_one_person_however_it_moves() -> None:
    ada, again, ben = (embed(draw_person(*who)) for who in ((1, 60, 0), (1, 75, 1), (2, 60, 0)))
    assert ada @ again > 0.95
    assert abs(ada @ ben) < 0.3
    still, reversed_ = draw_person(1), draw_person(1)
    assert still.faces is not None and reversed_.faces is not None
    turned = AlignedFaces(reversed_.faces.pictures, reversed_.faces.points[::-1].copy())
    np.testing.assert_allclose(embed(replace(reversed_, faces=turned)), embed(still), atol=1e-5)


def test_the_mean_shape_is_an_upright_face_in_its_place() -> None:
    assert MEAN_SHAPE.shape == (N_POINTS, 2)
    corners = (MEAN_FACE - (64, 68)) * 0.5
    for vertex, row in ((33, 1), (133, 2), (362, 3), (263, 4), (2, 0)):
        assert np.abs(MEAN_SHAPE[POINTS.index(vertex)] - corners[row]).max() < 2.0
    left, right = MEAN_SHAPE[POINTS.index(61)], MEAN_SHAPE[POINTS.index(291)]
    assert left[0] < 32 < right[0] and abs(left[1] - right[1]) < 1
    assert MEAN_SHAPE[POINTS.index(152)][1] > 60 > 20 > MEAN_SHAPE[POINTS.index(105)][1]  # chin below, brow above


def test_static_baseline_accepts_everything() -> None:
    track = draw_person(1, 60)
    found = StaticFace().embed(make_features(track), track)
    assert found is not None
    assert (found.is_natural, found.evidence, found.n_windows, found.seconds) == (True, 0.0, 2, 2.4)
    assert found.recipe == StaticFace().recipe and StaticFace().nature.admits(found.evidence, 100)
    assert 0 < found.spread < 0.1


def test_unseen_frames_are_excluded() -> None:
    track = draw_person(1, 60)
    assert track.faces is not None
    points, seen = track.faces.points.copy(), np.arange(60) < 40
    points[~seen] = 999
    hidden = replace(track, seen=seen, faces=AlignedFaces(track.faces.pictures, points))
    assert embed(hidden) @ embed(track) > 0.98
    assert StaticFace().embed(make_features(hidden), replace(hidden, seen=np.arange(60) < 24)) is None


def test_the_static_baseline_refuses_features_without_faces() -> None:
    track = draw_track(has_faces=False)
    with pytest.raises(ValueError, match="no face crops"):
        StaticFace().embed(make_features(track), track)
