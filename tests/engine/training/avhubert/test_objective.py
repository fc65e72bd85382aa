"""The losses: what they are of, what they leave out, what each switch does, and that planted clips are learnt."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from engine.faces.mouth_crops import AVHUBERT_DEVIATION, AVHUBERT_MEAN
from engine.models.avhubert import AVHubert
from engine.training.avhubert.batches import BatchOptions, BatchSource, PretrainingBatch
from engine.training.avhubert.objective import LossOptions, Pretraining
from engine.training.consistency.losses import AlignmentWeights
from tests.engine.training.planted import MINI, make_clip_files

UNITS = 12
OPTIONS = BatchOptions(size=4, length=30, max_shift=8)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> PretrainingBatch:
    reels = make_clip_files(tmp_path_factory.mktemp("reels"), 4)
    units = [np.random.default_rng(i).integers(0, UNITS, clip.length) for i, clip in enumerate(reels)]
    return BatchSource(reels, units, OPTIONS, 1)[0]


def make_pretraining(**weights: object) -> Pretraining:
    torch.manual_seed(0)
    model = AVHubert(replace(MINI, n_clusters=UNITS, dropout=0.0))
    return Pretraining(model, LossOptions(**weights)).eval()  # type: ignore[arg-type]


def compute(pretraining: Pretraining, batch: PretrainingBatch) -> dict[str, float]:
    with torch.no_grad():
        return {name: float(one) for name, one in pretraining(batch).items()}


def change(batch: PretrainingBatch, **parts: torch.Tensor) -> PretrainingBatch:
    return replace(batch, **parts)


def test_the_loss_is_the_weighted_sum_of_its_parts(batch: PretrainingBatch) -> None:
    result = compute(make_pretraining(masked=2.0, unmasked=0.5, alignment=3.0, penalty=4.0), batch)
    wanted = 2 * result["masked"] + 0.5 * result["unmasked"] + 3 * result["alignment"] + 4 * result["penalty"]
    assert result["loss"] == pytest.approx(wanted, rel=1e-5)
    assert 0 <= result["hit"] <= 1
    assert result["masked"] == pytest.approx(float(np.log(UNITS)), rel=0.5)  # it knows nothing yet


@pytest.mark.parametrize(
    ("weights", "parts", "still"),
    [
        ({"alignment": 0.0}, {"penalty", "masked", "unmasked", "hit", "loss"}, {"alignment.frame_scale"}),
        ({"masked": 0.0}, {"penalty", "alignment", "loss"}, {"model.mask_emb", "model.label_embs_concat"}),
        ({}, {"penalty", "masked", "unmasked", "hit", "alignment", "loss"}, set()),
    ],
)
def test_each_objective_can_be_switched_off_and_what_it_needs_stays(
    batch: PretrainingBatch, weights: dict[str, float], parts: set[str], still: set[str]
) -> None:
    pretraining = make_pretraining(**weights)
    result = pretraining(batch)
    assert set(result) == parts
    result["loss"].backward()
    moved = {name for name, one in pretraining.named_parameters() if one.grad is not None and one.grad.abs().sum() > 0}
    assert not still & moved
    resting = {name for name, one in pretraining.named_parameters() if one.requires_grad} - moved
    assert {name for name in resting if "k_proj.bias" not in name} <= set()  # to add to all keys changes no attention


def test_frames_not_real_have_no_gradient(batch: PretrainingBatch) -> None:
    pretraining = make_pretraining(penalty=0.0)
    real = batch.real.clone()
    real[:, 10:20] = False
    held = change(batch, real=real)
    other = change(held, units=torch.where(real, batch.units, (batch.units + 1) % UNITS))
    for name, one in pretraining(held).items():
        assert torch.equal(one, pretraining(other)[name]), name
    assert not torch.equal(pretraining(batch)["masked"], pretraining(held)["masked"])


def test_padding_has_no_gradient(batch: PretrainingBatch) -> None:
    pretraining = make_pretraining(penalty=0.0)
    valid = torch.arange(30).expand(4, 30) < 22
    short = change(
        batch,
        valid=valid,
        real=batch.real & valid,
        shift=torch.zeros_like(batch.shift),
        shown=torch.where(valid, batch.shown.clamp(max=21), batch.shown),
        mouths_masked=batch.mouths_masked & valid,
        rows_masked=batch.rows_masked & valid,
    )
    noise = torch.randn(4, 30, 104)
    other = change(
        short,
        rows=torch.where(valid[..., None], short.rows, noise),
        other_rows=torch.where(valid[..., None], short.other_rows, noise),
        mouths=torch.where(valid[..., None, None], short.mouths, torch.full_like(short.mouths, 200)),
    )
    assert compute(pretraining, short) == pytest.approx(compute(pretraining, other), abs=1e-5)


def test_masked_frames_and_sound_do_not_affect_output(batch: PretrainingBatch) -> None:
    pretraining = make_pretraining(alignment=0.0, penalty=0.0)
    swapped = batch.mouths.clone()
    unshown = torch.ones_like(batch.mouths_masked)
    unshown.scatter_(1, batch.shown, False)  # frames that stand nowhere
    assert unshown.any()
    swapped[unshown] = 0
    rows = torch.where(batch.rows_masked[..., None], torch.randn_like(batch.rows), batch.rows)
    result, other = pretraining(batch), pretraining(change(batch, mouths=swapped, rows=rows))
    assert all(torch.equal(result[name], other[name]) for name in result)
    with torch.no_grad():
        pretraining.model.mask_emb += 1
    assert not torch.equal(pretraining(batch)["masked"], result["masked"])


@pytest.mark.parametrize("part", ["mouths", "rows"])
def test_dropped_modality_has_no_effect(batch: PretrainingBatch, part: str) -> None:
    pretraining, nobody = make_pretraining(alignment=0.0, penalty=0.0), torch.zeros(4, dtype=torch.bool)
    has = {"has_mouths": ~nobody, "has_rows": ~nobody}
    deprived = change(batch, **has | {f"has_{part}": nobody})
    other = change(deprived, **{part: getattr(batch, part).flip(0)})
    assert compute(pretraining, deprived)["masked"] == pytest.approx(compute(pretraining, other)["masked"], abs=1e-6)
    both, swapped = change(batch, **has), change(batch, **has | {part: getattr(batch, part).flip(0)})
    assert not torch.equal(pretraining(both)["masked"], pretraining(swapped)["masked"])


def test_the_alignment_compares_frames_of_one_time(batch: PretrainingBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that carry their own time must meet, whatever the shift."""
    pretraining, seen = make_pretraining(masked=0.0), []
    monkeypatch.setattr(pretraining.alignment, "forward", lambda *streams: seen.extend(streams) or torch.zeros(()))
    at = torch.arange(30.0).expand(4, 30)
    faces, voices = (F.one_hot(one.long() + 10, 64).float() for one in (at, at + batch.shift[:, None]))
    pretraining._align(faces, voices, batch)
    lips, speech, real = seen
    assert torch.equal(lips[1][real], speech[1][real])
    expected = 30 - batch.shift.abs()
    assert real.sum(1).tolist() == expected.tolist()
    assert batch.shift.abs().max() > 0


def test_gradient_before_fusion_can_be_scaled(batch: PretrainingBatch) -> None:
    gradients = []
    for share in (1.0, 0.1):
        pretraining = make_pretraining(penalty=0.0, inlet_gradient=share)
        pretraining(batch)["loss"].backward()
        model = pretraining.model
        gradients.append([model.feature_extractor_audio["proj"].weight.grad, model.post_extract_proj.weight.grad])
    before, after = ([float(one.norm()) for one in pair] for pair in zip(*gradients, strict=True))
    assert before[1] == pytest.approx(before[0] * 0.1, rel=1e-3) and after[1] == pytest.approx(after[0], rel=1e-3)


def test_mouths_are_normalised_as_the_product_does(batch: PretrainingBatch) -> None:
    shown = make_pretraining(masked=0.0)._replace_mouths(batch)
    assert shown.shape == (4, 1, 30, 88, 88)
    wanted = (batch.mouths.numpy()[1, 7] / 255 - AVHUBERT_MEAN) / AVHUBERT_DEVIATION
    assert np.allclose(shown[1, 0, 7].numpy(), wanted, atol=1e-5)


def test_parts_of_the_alignment_can_be_left_out(batch: PretrainingBatch) -> None:
    parts = {
        name: AlignmentWeights(**{"within": 0, "across": 0, "offset": 0, "windows": 0} | {name: 1.0})
        for name in ("within", "across", "offset", "windows")
    }
    result = [compute(make_pretraining(masked=0.0, alignment_parts=one), batch)["alignment"] for one in parts.values()]
    whole = compute(make_pretraining(masked=0.0, alignment_parts=AlignmentWeights(1, 1, 1, 1)), batch)["alignment"]
    assert min(result) > 0 and whole == pytest.approx(sum(result), rel=1e-4)
