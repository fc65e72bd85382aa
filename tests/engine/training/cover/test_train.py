"""Patches of a drawn clip, and a training on planted patches, measured on held-out people."""

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from skimage import data

from engine.datasets.manifest import Row
from engine.faces.landmarker import FaceNets
from engine.faces.mouth_cover import load_mouth_cover
from engine.training.cover.covers import COVERS
from engine.training.cover.patches import CLEAR, HAIR, CoverPatches, choose_rows, degrade, make_patches
from engine.training.cover.train import (
    CoverOptions,
    hold_out,
    measure_cover,
    measure_kinds,
    save_cover,
    train_cover,
)
from engine.weights import registry

KINDS = [CLEAR, HAIR, *COVERS]


@pytest.fixture(scope="module")
def nets() -> FaceNets:
    return FaceNets.load(registry.face_landmarker())


def write_clip(path: Path, image: np.ndarray) -> Path:
    with av.open(path, "w") as film:
        stream = film.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = image.shape[1], image.shape[0], "yuv420p"
        for _ in range(10):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        film.mux(stream.encode())
    return path


def make_row(path: Path, source: str = "corpus", label: str = "real", speaker: str = "ada") -> Row:
    return Row(1, path, label, speaker, source, written=path.name)


def test_patches_of_a_clip_are_clear_and_covered_and_made_again_equally(nets: FaceNets, tmp_path: Path) -> None:
    row = make_row(write_clip(tmp_path / "ada.mp4", data.astronaut()[:300, 60:400]))
    one, again = (make_patches(row, nets, 2) for _ in range(2))
    assert one is not None and again is not None
    np.testing.assert_array_equal(one.pictures, again.pictures)
    assert one.pictures.shape[1:] == (48, 48, 3) and one.pictures.dtype == np.uint8
    assert 15 <= len(one.hidden) <= 22 and set(one.people) == {"corpus|ada"}
    free = np.isin(one.kinds, (CLEAR, HAIR))
    assert not one.hidden[free].any() and (one.hidden[~free] > 0.6).sum() >= 5


def test_a_clip_without_a_face_has_no_patches(nets: FaceNets, tmp_path: Path) -> None:
    assert (
        make_patches(make_row(write_clip(tmp_path / "wall.mp4", np.full((120, 160, 3), 90, np.uint8))), nets, 2) is None
    )


def test_rows_are_real_and_limited_for_each_source() -> None:
    rows = [make_row(Path(f"{i}.mp4"), f"s{i % 2}", "fake" if i > 15 else "real") for i in range(20)]
    chosen = choose_rows(rows, 3, 1)
    assert sorted(row.source for row in chosen) == ["s0"] * 3 + ["s1"] * 3
    assert all(row.is_real for row in chosen) and chosen == choose_rows(rows, 3, 1) != choose_rows(rows, 3, 2)


def test_a_degraded_picture_keeps_its_landmarks_in_place() -> None:
    image, points = np.zeros((200, 200, 3), np.uint8), np.zeros((478, 3))
    image[80:120, 80:120] = 250
    points[0], points[1] = (20, 100, 0), (180, 100, 0)
    for seed in range(10):
        poor, moved = degrade(np.random.default_rng(seed), image, points)
        y, x = np.argwhere(poor.mean(2) > poor.mean(2).max() / 2 + 1).mean(0)
        assert x == pytest.approx((moved[0, 0] + moved[1, 0]) / 2, abs=2) and y == pytest.approx(moved[0, 1], abs=2)
        assert 40 <= np.ptp(moved[:2, 0]) <= 160


def plant_patches(n: int = 600) -> CoverPatches:
    """A covered mouth is a bright band below; a clear one is not."""
    rng = np.random.default_rng(0)
    kinds = rng.choice(KINDS, n)
    hidden = np.where(np.isin(kinds, (CLEAR, HAIR)), 0.0, rng.choice([0.0, 0.3, 1.0], n)).astype(np.float32)
    pictures = rng.integers(0, 120, (n, 48, 48, 3)).astype(np.uint8)
    pictures[hidden > 0.5, 24:40] += 120
    people = np.array([f"corpus|p{i}" for i in rng.integers(0, 30, n)])
    return CoverPatches(pictures, hidden, kinds, people, np.full(n, "corpus"))


def test_planted_covers_are_learnt_for_held_out_people_and_unseen_kinds() -> None:
    patches, options = plant_patches(), CoverOptions(epochs=4, batch=32)
    model = train_cover(patches, options)
    figures = measure_cover(model, patches)
    assert max(*figures["false"].values(), *figures["missed"].values()) < 0.1
    assert max(measure_kinds(patches, options).values()) < 0.1
    assert 0 < hold_out(patches).mean() < 0.5


def test_shuffled_labels_teach_nothing() -> None:
    patches = plant_patches()
    rng = np.random.default_rng(1)
    shuffled = replace(patches, hidden=rng.permutation(patches.hidden))
    model = train_cover(shuffled, CoverOptions(epochs=2, batch=32))
    figures = measure_cover(model, patches)
    assert np.mean(list(figures["missed"].values())) > 0.3 or figures["false"][CLEAR] > 0.3


def test_saved_weights_detect_as_before_and_name_their_data(tmp_path: Path) -> None:
    patches, options = plant_patches(), CoverOptions(epochs=2, batch=32)
    model = train_cover(patches, options)
    save_cover(model, tmp_path / "mouth_cover.safetensors", options, patches, measure_cover(model, patches))
    again = load_mouth_cover(tmp_path / "mouth_cover.safetensors")
    np.testing.assert_allclose(again.detect(patches.pictures[:50]), model.detect(patches.pictures[:50]), atol=0.05)
    record = json.loads((tmp_path / "mouth_cover.json").read_text())
    assert record["sha256"] == registry.hash_file(tmp_path / "mouth_cover.safetensors")
    assert record["trained_on"]["sources"] == ["corpus"] and record["options"]["epochs"] == 2
