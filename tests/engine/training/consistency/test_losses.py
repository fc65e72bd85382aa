"""The losses fall where they should, and the fast comparison of windows equals a slow one."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from engine.faces.landmark_features import N_FEATURES
from engine.models.compact import N_SPEECH, CompactMember
from engine.training.consistency.losses import (
    CLIP_OFFSETS,
    AlignmentLoss,
    MaskedPrediction,
    Streamed,
    _spans,
    compare_windows,
)

SIZE, LENGTH, DIM = 4, 45, 16


def draw(seed: int, size: int = SIZE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(size, LENGTH, DIM, generator=generator), dim=-1)


def stream(rows: torch.Tensor) -> Streamed:
    return rows, rows, torch.ones(rows.shape[:2])


def align(lips: torch.Tensor, speech: torch.Tensor, real: torch.Tensor | None = None) -> float:
    real = torch.ones(lips.shape[:2], dtype=torch.bool) if real is None else real
    with torch.no_grad():
        return float(AlignmentLoss()(stream(lips), stream(speech), real))


def test_alignment_is_least_where_each_frame_has_its_own_sound() -> None:
    rows = draw(0)
    own, other, late, swapped = (
        align(rows, rows),
        align(rows, draw(1)),
        align(rows, rows.roll(5, dims=1)),
        align(rows, rows.roll(1, dims=0)),
    )
    assert own < min(other, late, swapped) - 1
    noisy = F.normalize(rows + 1.5 * draw(2), dim=-1)
    assert own < align(rows, noisy) < other


def test_frame_losses_fall_with_agreement() -> None:
    loss, rows, other = AlignmentLoss(), draw(0), draw(1)
    real = torch.ones(SIZE, LENGTH, dtype=torch.bool)
    assert loss._within(rows, rows, real) < loss._within(rows, other, real) - 1
    assert loss._across(rows[real], rows[real]) < loss._across(rows[real], other[real]) - 1


def test_clip_loss_contrasts_voices_and_offsets() -> None:
    loss, rows, real = AlignmentLoss(), draw(0), torch.ones(SIZE, LENGTH, dtype=torch.bool)
    own = loss._clips(stream(rows), stream(rows), real)
    late = loss._clips(stream(rows), stream(rows.roll(4, dims=1)), real)
    swapped = loss._clips(stream(rows), stream(rows.roll(1, dims=0)), real)
    assert own < late - 1 and own < swapped - 1


def test_frames_that_are_not_real_count_nowhere() -> None:
    rows, real = draw(0), torch.ones(SIZE, LENGTH, dtype=torch.bool)
    real[1, 30:], real[2, :9] = False, False
    spoiled = torch.where(real[..., None], rows, draw(7))
    assert align(spoiled, rows, real) == pytest.approx(align(rows, rows, real), abs=1e-5)
    assert align(spoiled, rows) > align(rows, rows) + 0.1


def test_a_gradient_step_brings_face_and_voice_together() -> None:
    lips, speech = draw(0).requires_grad_(), draw(1)
    loss, real = AlignmentLoss(), torch.ones(SIZE, LENGTH, dtype=torch.bool)
    before = loss(stream(lips), stream(speech), real)
    (gradient,) = torch.autograd.grad(before, [lips])
    moved = F.normalize(lips - 5 * gradient, dim=-1)
    assert (moved * speech).sum(-1).mean() > (lips * speech).sum(-1).mean() + 0.01
    assert loss(stream(moved), stream(speech), real) < before


def test_windows_compared_fast_equal_windows_compared_slowly() -> None:
    lips, speech = draw(0, 3), draw(1, 3)
    generator = torch.Generator().manual_seed(5)
    lips_weight, speech_weight = torch.rand(2, 3, LENGTH, generator=generator).unbind(0)
    lips_weight = lips_weight * (torch.rand(3, LENGTH, generator=generator) > 0.3)
    found = compare_windows(lips, lips_weight, speech, speech_weight)
    assert found.shape == (3, 3, 2 * CLIP_OFFSETS + 1)
    for face in range(3):
        for voice in range(3):
            for offset in range(-CLIP_OFFSETS, CLIP_OFFSETS + 1):
                total = weight = 0.0
                for t in range(max(0, -offset), min(LENGTH, LENGTH - offset)):
                    w = float(lips_weight[face, t] * speech_weight[voice, t + offset])
                    total += w * float(lips[face, t] @ speech[voice, t + offset])
                    weight += w
                assert float(found[face, voice, offset + CLIP_OFFSETS]) == pytest.approx(
                    total / (weight + 1e-3), abs=1e-5
                )


@pytest.mark.parametrize("late", [-7, 0, 9])
def test_a_late_sound_peaks_at_its_positive_offset(late: int) -> None:
    rows, ones = draw(0), torch.ones(SIZE, LENGTH)
    found = compare_windows(rows, ones, rows.roll(late, dims=1), ones)
    assert (found.argmax(-1).diagonal() - CLIP_OFFSETS == late).all()


@pytest.fixture
def task() -> tuple[CompactMember, MaskedPrediction]:
    torch.manual_seed(0)
    return CompactMember(width=16, dim=8, dropout=0.0), MaskedPrediction(16, (N_FEATURES, N_SPEECH), 5, 0.0)


def guess(
    task: tuple[CompactMember, MaskedPrediction],
    lips: torch.Tensor,
    speech: torch.Tensor,
    units: torch.Tensor,
    seed: int = 0,
) -> torch.Tensor:
    member, prediction = task
    real = torch.ones(units.shape, dtype=torch.bool)
    return prediction(member, lips, speech, real, units, np.random.default_rng(seed))


def test_masked_prediction_starts_at_chance_and_learns_the_units(task: tuple[CompactMember, MaskedPrediction]) -> None:
    rng = np.random.default_rng(0)
    units = torch.from_numpy(rng.integers(0, 5, (8, 15)).repeat(5, axis=1))  # (8, 75), five frames each
    codes = torch.randn(5, N_FEATURES), torch.randn(5, N_SPEECH)
    lips, speech = codes[0][units], codes[1][units]
    before = guess(task, lips, speech, units)
    assert before.item() == pytest.approx(np.log(5), abs=0.6)
    optimiser = torch.optim.Adam([*task[0].parameters(), *task[1].parameters()], 0.01)
    for step in range(30):
        optimiser.zero_grad()
        guess(task, lips, speech, units, step).backward()
        optimiser.step()
    after = guess(task, lips, speech, units)
    assert after < before - 0.5
    wrong = guess(task, lips, speech, units.roll(1, dims=0))
    assert wrong > after + 0.5  # it has learnt these units, not their frequencies


def test_units_of_frames_that_are_not_real_are_not_asked_for(task: tuple[CompactMember, MaskedPrediction]) -> None:
    lips, speech = torch.randn(4, 75, N_FEATURES), torch.randn(4, 75, N_SPEECH)
    units, real = torch.zeros(4, 75, dtype=torch.int64), torch.ones(4, 75, dtype=torch.bool)
    real[:, 40:] = False
    other = torch.where(real, units, 3)
    member, prediction = task

    def ask(labels: torch.Tensor, mask: torch.Tensor) -> float:
        with torch.no_grad():
            return float(prediction(member, lips, speech, mask, labels, np.random.default_rng(0)))

    assert ask(units, real) == ask(other, real)
    assert ask(units, torch.ones_like(real)) != ask(other, torch.ones_like(real))


def test_spans_mask_about_their_share_and_follow_the_seed() -> None:
    masked = _spans(200, 75, 0.5, 8, np.random.default_rng(0))[..., 0]
    assert masked.shape == (200, 75) and masked.dtype == torch.bool
    assert 0.3 < masked.float().mean() < 0.5  # overlaps take a part away
    assert torch.equal(masked, _spans(200, 75, 0.5, 8, np.random.default_rng(0))[..., 0])
    runs = (masked[:, 1:] & ~masked[:, :-1]).sum()
    assert masked[:, 1:].sum() / runs >= 6
