"""Compact model with random and with shipped weights: inputs, means, receptive field, files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import WeightsDamaged
from engine.faces.landmark_features import N_FEATURES
from engine.models.compact import (
    LIPS_GAP,
    N_SPEECH,
    SPEECH_GAP,
    CompactConsistency,
    CompactMember,
    Stream,
    _run,
    centre_lips,
    centre_speech,
    load_compact,
)
from engine.types import Evidence
from engine.weights import registry

REACH = 15  # frames, 1 + 2 + 4 + 8
MAX_BYTES = 5_000_000


def make_model(n_members: int = 2, seed: int = 0) -> CompactConsistency:
    """Small; every layer at random, the last ones of the blocks too, which start at zero."""
    torch.manual_seed(seed)
    model = CompactConsistency(n_members, width=16, dim=8)
    for tensor in model.parameters():
        torch.nn.init.normal_(tensor, std=0.3)
    return model.eval()


def draw_rows(n_frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lips = rng.normal(0, 0.1, (n_frames, N_FEATURES)).astype(np.float32)
    return lips, rng.normal(-5, 3, (n_frames, N_SPEECH)).astype(np.float32)


@pytest.mark.parametrize("n_frames", [1, 5, 80])
def test_every_frame_has_a_unit_row_and_a_weight_on_both_sides(n_frames: int) -> None:
    encoded = make_model().encode(*draw_rows(n_frames))
    for rows, weight in ((encoded.lips, encoded.lips_weight), (encoded.speech, encoded.speech_weight)):
        assert rows.shape == (n_frames, 2 * 8) and rows.dtype == np.float32
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        assert weight.shape == (n_frames,) and (weight > 0).all()


def test_the_cosine_is_the_mean_of_the_members() -> None:
    model, rows = make_model(), draw_rows(40)
    apart = [CompactConsistency.of([member]).encode(*rows) for member in model.members]  # type: ignore[list-item]
    cosines = [(one.lips * one.speech).sum(1) for one in apart]
    together = model.encode(*rows)
    assert np.allclose((together.lips * together.speech).sum(1), np.mean(cosines, axis=0), atol=1e-5)
    assert not np.allclose(cosines[0], cosines[1], atol=0.05)


def test_what_is_constant_in_a_face_or_a_channel_changes_nothing() -> None:
    model, (lips, speech) = make_model(), draw_rows(60)
    rng = np.random.default_rng(5)
    face = rng.normal(0, 0.1, N_FEATURES).astype(np.float32)
    channel = np.tile(rng.normal(0, 3, 40), 4).astype(np.float32)  # one tone colour in all four steps of a frame
    plain, other = model.encode(lips, speech), model.encode(lips + face, speech + channel)
    assert np.allclose(plain.lips, other.lips, atol=1e-4)
    assert np.allclose(plain.speech, other.speech, atol=1e-4)
    changing = model.encode(lips + face * np.linspace(-1, 1, 60, dtype=np.float32)[:, None], speech)
    assert not np.allclose(plain.lips, changing.lips, atol=0.05)


@pytest.mark.parametrize(("centre", "side"), [(centre_lips, 0), (centre_speech, 1)])
def test_in_long_clips_the_mean_is_that_of_the_frames_around(
    centre: Callable[[np.ndarray], np.ndarray], side: int
) -> None:
    rows = draw_rows(1500)[side]
    moved = rows + (np.arange(1500) >= 750)[:, None].astype(np.float32)  # another camera or channel from there on
    plain, other = centre(rows), centre(moved)
    far = np.r_[0:500, 1000:1500]
    assert np.allclose(plain[far], other[far], atol=1e-3)
    assert np.abs(other - plain)[749:751].min() > 0.1
    assert np.abs(other - plain)[600:900].min() > 0.05  # 250 frames each way, on either side
    assert not np.allclose(rows[:500] - plain[:500], rows[:500].mean(0), atol=1e-4)  # and is not the whole clip's


def test_clips_as_long_as_the_window_go_over_without_a_step() -> None:
    rows = draw_rows(501)[0]
    assert np.allclose(centre_lips(rows)[:250], centre_lips(rows[:500])[:250], atol=1e-5)


@pytest.mark.parametrize("side", ["lips", "speech"])
def test_an_output_depends_on_the_frames_within_reach_alone(side: str) -> None:
    model, rows = make_model(seed=1), dict(zip(("lips", "speech"), draw_rows(120), strict=True))
    changed = {name: values.copy() for name, values in rows.items()}
    changed[side][60] += 8
    changed[side][61] -= 8  # the mean stays
    before, after = getattr(model.encode(**rows), side), getattr(model.encode(**changed), side)
    moved = np.abs(after - before).max(1) > 2e-6  # above what rounding moves
    assert np.flatnonzero(moved)[[0, -1]].tolist() == [60 - REACH, 61 + REACH]


@pytest.mark.parametrize("side", ["lips", "speech"])
def test_streams_carry_no_absolute_position(side: str) -> None:
    member = make_model().members[0]
    assert isinstance(member, CompactMember) and member.reach == REACH
    stream = getattr(member, side)
    assert isinstance(stream, Stream)
    still = torch.randn(1, 1, stream.inlet.in_features).expand(1, 70, -1)
    hidden, rows, weight = _run(stream, still, member.reach)
    assert rows.shape == (1, 70, 8)
    for values in (hidden, rows, weight[..., None]):
        assert torch.allclose(values, values[:, :1].expand_as(values), atol=1e-5)


def test_rows_move_with_their_frames() -> None:
    model, (lips, speech) = make_model(), draw_rows(90)
    quiet = np.zeros((60, 1), np.float32)
    early = model.encode(np.vstack([lips, quiet + lips.mean(0)]), np.vstack([speech, quiet + speech.mean(0)]))
    late = model.encode(np.vstack([quiet + lips.mean(0), lips]), np.vstack([quiet + speech.mean(0), speech]))
    inner = slice(REACH, 90 - REACH)
    assert np.allclose(early.lips[inner], late.lips[60:][inner], atol=1e-4)
    assert np.allclose(early.lips_weight[inner], late.lips_weight[60:][inner], atol=1e-4)


def test_rows_of_two_lengths_are_refused() -> None:
    (lips, _), (_, speech) = draw_rows(50), draw_rows(49)
    with pytest.raises(ValueError, match="differ in shape"):
        make_model().encode(lips, speech)


def write(model: CompactConsistency, path: Path) -> Path:
    save_file({name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


def test_weights_come_back_from_half_precision(tmp_path: Path) -> None:
    model, rows = make_model(3), draw_rows(50)
    loaded = load_compact(write(model, tmp_path / "compact.safetensors"))
    assert len(loaded.members) == 3 and not loaded.training
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float()), name
    assert np.abs(loaded.encode(*rows).lips - model.encode(*rows).lips).max() < 0.02


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def replace_by_text(path: Path) -> None:
    path.write_text("no weights at all")


def replace_by_others(path: Path) -> None:
    save_file({"encoder.weight": torch.zeros(4, 4)}, path)


def rename_a_key(path: Path) -> None:
    state = load_file(path)
    save_file({name.replace("weigh.bias", "weigh.bios"): tensor for name, tensor in state.items()}, path)


def leave_out_a_member(path: Path) -> None:
    save_file({name: t for name, t in load_file(path).items() if not name.startswith("members.1.lips")}, path)


def add_a_tensor(path: Path) -> None:
    save_file(load_file(path) | {"members.0.extra": torch.zeros(1)}, path)


def change_a_shape(path: Path) -> None:
    save_file(load_file(path) | {"members.0.lips.inlet.weight": torch.zeros(16, N_FEATURES - 1)}, path)


def empty(path: Path) -> None:
    save_file({}, path)


@pytest.mark.parametrize(
    "damage",
    [
        cut_off,
        replace_by_text,
        replace_by_others,
        rename_a_key,
        leave_out_a_member,
        add_a_tensor,
        change_a_shape,
        empty,
    ],
)
def test_weights_that_are_not_this_models_are_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = write(make_model(), tmp_path / "compact.safetensors")
    load_compact(path)
    damage(path)
    with pytest.raises(WeightsDamaged, match=r"compact\.safetensors does not hold") as caught:
        load_compact(path)
    assert "train" in caught.value.hint


def test_the_shipped_weights_are_small_whole_and_those_of_their_sidecar() -> None:
    path = registry.compact()
    assert path == registry.SHIPPED / "compact.safetensors"
    assert path.stat().st_size <= MAX_BYTES
    sidecar = registry.read_sidecar(path)
    assert sidecar["sha256"] == registry.hash_file(path)
    assert sidecar["recipe"] == f"compact-{sidecar['sha256'][:12]}"
    model = load_compact(path)
    assert sum(tensor.numel() for tensor in model.parameters()) * 2 < MAX_BYTES
    encoded = model.encode(*draw_rows(60))
    for rows in (encoded.lips, encoded.speech, encoded.lips_weight, encoded.speech_weight):
        assert np.isfinite(rows).all()
    assert np.abs(encoded.lips[30] - encoded.lips[31]).max() > 1e-3  # it was trained: frames differ


@pytest.mark.parametrize(("centre", "side"), [(centre_lips, 0), (centre_speech, 1)])
@pytest.mark.parametrize("at", [0, 300, 700])
@pytest.mark.parametrize("length", [25, 1500])
def test_rows_without_evidence_enter_no_mean_and_repeat_the_nearest(
    centre: Callable[..., np.ndarray], side: int, at: int, length: int
) -> None:
    rows = draw_rows(700)[side]
    hole = np.full((length, rows.shape[1]), 50.0, np.float32)
    real = np.ones(700 + length, bool)
    real[at : at + length] = False
    plain, holed = centre(rows), centre(np.concatenate([rows[:at], hole, rows[at:]]), real)
    assert np.array_equal(holed[real], plain)
    if at > 0:
        assert np.array_equal(holed[at], plain[at - 1])
    if at < 700:
        assert np.array_equal(holed[at + length - 1], plain[at])


@pytest.mark.parametrize(("centre", "side", "gap"), [(centre_lips, 0, LIPS_GAP), (centre_speech, 1, SPEECH_GAP)])
@pytest.mark.parametrize("is_held", [False, True])
def test_short_gap_keeps_its_rows(centre: Callable[..., np.ndarray], side: int, gap: int, is_held: bool) -> None:
    rows, real = draw_rows(100)[side], np.ones(100, bool)
    real[40 : 40 + gap + is_held] = False
    centred = centre(rows, real)
    assert np.array_equal(centred, centre(rows)) == (not is_held)
    assert np.array_equal(centred[40], centred[39]) == is_held


def test_without_any_evidence_all_rows_are_centred() -> None:
    lips, _ = draw_rows(60)
    assert np.array_equal(centre_lips(lips, np.zeros(60, bool)), centre_lips(lips))


def test_hole_changes_embeddings_within_reach_of_its_ends_alone() -> None:
    model, (lips, speech) = make_model(), draw_rows(200)
    silent = np.r_[speech[:100], np.full((50, N_SPEECH), -13.8, np.float32), speech[100:]]
    still = np.r_[lips[:100], np.repeat(lips[100:101], 50, axis=0), lips[100:]]
    real = np.ones(250, bool)
    real[100:150] = False
    plain, holed = model.encode(lips, speech), model.encode(still, silent, Evidence.both(real))
    for before, after in ((plain.lips, holed.lips[real]), (plain.speech, holed.speech[real])):
        moved = np.flatnonzero(np.abs(before - after).max(1) > 1e-4)
        assert moved.min() >= 100 - REACH and moved.max() < 100 + REACH


def test_muted_rows_do_not_change_the_lips() -> None:
    model, (lips, speech) = make_model(), draw_rows(120)
    heard = np.arange(120) >= 40
    plain, muted = model.encode(lips, speech), model.encode(lips, speech, Evidence(np.ones(120, bool), heard))
    assert np.array_equal(plain.lips, muted.lips)
    other = speech.copy()
    other[:40] = 9.0
    again = model.encode(lips, other, Evidence(np.ones(120, bool), heard))
    assert np.array_equal(muted.speech, again.speech)
