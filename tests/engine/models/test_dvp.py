"""DVP: inputs, invariances by construction, weight files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.fft import dctn

from engine.errors import WeightsDamaged, WeightsForbidden
from engine.faces.face_crops import N_POINTS, SIZE, AlignedFaces
from engine.faces.landmark_features import N_MOTION
from engine.models.dvp import (
    DVP,
    MIN_FRAMES,
    N_COSINES,
    DVPOptions,
    ReverseGradient,
    StyleMember,
    describe_pictures,
    fill_window,
    load_dvp,
    place_windows,
    write_options,
)
from engine.weights.licences import MARK

SMALL = DVPOptions(width=16, dim=8)


def make_model(options: DVPOptions = SMALL, n_members: int = 2) -> DVP:
    torch.manual_seed(0)
    model = DVP(options, n_members)
    for buffer in (model.shape_basis, model.point_basis, model.band_basis):
        buffer.normal_(0, 0.3)
    return model.eval()


def make_track(n_frames: int, seed: int = 0) -> tuple[np.ndarray, AlignedFaces, np.ndarray]:
    rng = np.random.default_rng(seed)
    motion = rng.random((n_frames, N_MOTION), np.float32)
    faces = AlignedFaces(
        rng.integers(0, 256, (n_frames, SIZE, SIZE), np.uint8),
        rng.uniform(0, SIZE, (n_frames, N_POINTS, 2)).astype(np.float32),
    )
    return motion, faces, np.ones(n_frames, bool)


def test_block_cosines_are_those_of_the_library() -> None:
    pictures = make_track(3)[1].pictures
    plain = pictures.astype(np.float32)
    plain = (plain - plain.mean()) / (plain.std() + 1e-3)
    found = describe_pictures(pictures).reshape(3, 8, 8, N_COSINES)
    block = dctn(plain[1, 16:24, 40:48], norm="ortho")
    wanted = [block[i, j] for i, j in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0))]
    np.testing.assert_allclose(found[1, 2, 5], wanted, atol=1e-4)


def test_embedding_is_invariant_to_brightness_and_contrast() -> None:
    dark = np.random.default_rng(0).integers(20, 90, (4, SIZE, SIZE)).astype(np.uint8)
    np.testing.assert_allclose(describe_pictures(dark), describe_pictures(2 * dark + 30), atol=1e-2)


def test_a_face_at_rest_says_nothing_when_centred_and_something_when_not() -> None:
    rows = np.random.default_rng(0).normal(size=(1, 31, SMALL.n_rows)).astype(np.float32)
    rest = np.full((1, 1, SMALL.n_rows), 2.0, np.float32)
    for centred in (True, False):
        model = make_model(DVPOptions(width=16, dim=8, centred=centred))
        one, other = (model.embed_windows(windows)[0] for windows in (rows, rows + rest))
        assert np.allclose(one, other, atol=1e-4) == centred


def test_vectors_are_of_unit_length_and_windows_lie_side_by_side() -> None:
    windows = make_model().embed(*make_track(100))
    np.testing.assert_allclose(np.linalg.norm(windows.vectors, axis=1), 1, atol=1e-5)
    assert windows.vectors.shape == (3, 16)
    assert (np.diff(windows.starts) >= SMALL.window).all()
    assert windows.starts[-1] + SMALL.window == 100


@pytest.mark.parametrize(("n_frames", "n_windows"), [(0, 0), (MIN_FRAMES - 1, 0), (MIN_FRAMES, 1), (31, 1), (62, 2)])
def test_a_track_of_a_second_is_enough(n_frames: int, n_windows: int) -> None:
    windows = make_model().embed(*make_track(n_frames))
    assert len(windows.vectors) == len(windows.evidence) == n_windows


def test_windows_with_barely_visible_face_are_skipped() -> None:
    motion, faces, seen = make_track(62)
    seen[:10] = False
    assert list(make_model().embed(motion, faces, seen).starts) == [31]


def test_places_of_windows() -> None:
    assert list(place_windows(31, 31)) == [0]
    assert list(place_windows(93, 31)) == [0, 31, 62]
    assert len(place_windows(30, 31)) == 0


def test_the_gradient_comes_back_reversed() -> None:
    x = torch.ones(3, requires_grad=True)
    (ReverseGradient.apply(x, 0.5) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-0.5, -1.0, -1.5]


def test_every_weight_learns() -> None:
    member = StyleMember(SMALL)
    torch.nn.init.normal_(member.blocks[0].out.weight, std=0.1)
    vectors, evidence, appearance = member(torch.randn(6, 31, SMALL.n_rows), 0.3)
    (vectors[:, 0].sum() + evidence.sum() + appearance.square().sum()).backward()
    still = [
        name for name, weight in member.named_parameters() if weight.grad is None or not weight.grad.isfinite().all()
    ]
    assert not still


def test_weights_come_back_as_they_were_saved(tmp_path: Path) -> None:
    model = make_model(DVPOptions(width=16, dim=8, dilations=(1, 2), frequency=False, centred=False))
    path = tmp_path / "dynamics.safetensors"
    save_file(dict(model.state_dict()), path, write_options(model.options))
    loaded = load_dvp(path)
    assert loaded.options == model.options
    track = make_track(40)
    np.testing.assert_array_equal(loaded.embed(*track).vectors, model.embed(*track).vectors)


def test_weights_of_another_shape_or_for_another_use_are_refused(tmp_path: Path) -> None:
    state = dict(make_model().state_dict())
    path = tmp_path / "dynamics.safetensors"
    save_file(state, path, write_options(DVPOptions(width=32, dim=8)))
    with pytest.raises(WeightsDamaged, match=r"dynamics\.safetensors"):
        load_dvp(path)
    save_file(state, path)
    with pytest.raises(WeightsDamaged):
        load_dvp(path)
    save_file(state, path, write_options(SMALL) | {MARK: "consistency"})
    with pytest.raises(WeightsForbidden):
        load_dvp(path)


def test_a_short_window_is_mirrored_at_its_end_and_a_long_one_left() -> None:
    rows = np.arange(10, dtype=np.float32).reshape(5, 2)
    assert fill_window(rows, 7)[:, 0].tolist() == [0, 2, 4, 6, 8, 6, 4]
    assert fill_window(rows, 5) is rows


def test_a_window_is_read_by_itself_however_bright_the_rest_is() -> None:
    motion, faces, seen = make_track(62)
    glaring = faces.pictures.copy()
    glaring[31:] = 255 - glaring[31:] // 8
    one, other = (
        make_model().embed(motion, AlignedFaces(shown, faces.points), seen) for shown in (faces.pictures, glaring)
    )
    np.testing.assert_array_equal(one.vectors[0], other.vectors[0])
    assert not np.allclose(one.vectors[1], other.vectors[1], atol=1e-3)


@pytest.mark.parametrize("spectrum", [True, False])
def test_spectral_magnitudes_are_invariant_to_time_reversal(spectrum: bool) -> None:
    rows = torch.randn(2, 31, SMALL.n_rows)
    torch.manual_seed(0)
    member = StyleMember(replace(SMALL, spectrum=spectrum)).eval()
    with torch.inference_mode():
        forwards, backwards = member(rows)[0], member(rows.flip(1))[0]
    assert torch.allclose(forwards, backwards, atol=1e-4) == spectrum
