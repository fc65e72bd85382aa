"""Micro-batches are functions of their number; windows and masks lie where stated and change nothing else."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from engine.speech.filterbanks import normalise_rows
from engine.training.avhubert.batches import (
    MIN_SPANS,
    BatchOptions,
    BatchSource,
    MaskOptions,
    PretrainingBatch,
    draw_spans,
    drop_modalities,
    load_batches,
    replace_spans,
)
from engine.training.avhubert.preprocessing import PreprocessedClip, read_window
from tests.engine.training.planted import make_clip_file, make_clip_files

PLAIN = BatchOptions(size=6, length=40, flip=0.0)
VARIED = BatchOptions(size=6, length=40, max_shift=20, turn_deg=8, zoom=0.15, light=0.3, tract=(0.85, 1.18))


def open_source(clips: Sequence[PreprocessedClip], options: BatchOptions = VARIED, seed: int = 1) -> BatchSource:
    """The unit of a frame is its number."""
    return BatchSource(clips, [np.arange(clip.length, dtype=np.int16) for clip in clips], options, seed)


def same(one: PretrainingBatch, other: PretrainingBatch) -> bool:
    return all(torch.equal(getattr(one, part.name), getattr(other, part.name)) for part in fields(PretrainingBatch))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[PreprocessedClip]:
    return make_clip_files(tmp_path_factory.mktemp("clips"), 4)


def test_a_batch_is_a_function_of_its_number_and_the_seed(clips: list[PreprocessedClip]) -> None:
    first = open_source(clips)
    assert same(first[3], open_source(clips)[3])
    assert not same(first[3], first[4]) and not same(first[3], open_source(clips, seed=2)[3])


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_give_the_batches_asked_for_in_order(clips: list[PreprocessedClip], workers: int) -> None:
    source = open_source(clips, replace(PLAIN, size=2))
    loaded = list(load_batches(source, range(3, 12, 3), workers))
    assert len(loaded) == 3
    assert all(same(one, source[number]) for one, number in zip(loaded, (3, 6, 9), strict=True))


def test_windows_are_of_one_time_in_face_sound_and_units(tmp_path: Path) -> None:
    clip = replace(make_clip_file(tmp_path, 3, 90, late=4), late=4)
    batch = open_source([clip], PLAIN)[0]
    for i in range(PLAIN.size):
        first = int(batch.units[i, 0])
        cut = read_window(clip, first, first + 40)
        assert batch.units[i].tolist() == list(range(first, first + 40))
        assert np.array_equal(batch.rows[i].numpy(), normalise_rows(cut.energies))
        mouths = batch.mouths[i].numpy()
        assert any(np.array_equal(mouths, cut.mouths[:, y : y + 88, x : x + 88]) for x in range(9) for y in range(9))
    assert batch.real.all() and batch.valid.all()
    assert len({int(first) for first in batch.units[:, 0]}) > 1


def test_other_sound_starts_at_requested_offset(clips: list[PreprocessedClip]) -> None:
    source = open_source(clips, replace(PLAIN, size=30, max_shift=20))
    batch = source[0]
    assert batch.shift.abs().max() <= 20 and (batch.shift > 0).any() and (batch.shift < 0).any()
    for rows, other, shift in zip(batch.rows, batch.other_rows, batch.shift.tolist(), strict=True):
        assert torch.equal(rows[max(0, shift) : 40 + min(0, shift)], other[max(0, -shift) : 40 - max(0, shift)])
    assert open_source(clips, replace(PLAIN, max_shift=0))[0].shift.tolist() == [0] * 6


def test_a_clip_shorter_than_the_window_is_padded_and_said_to_be(tmp_path: Path) -> None:
    clip = make_clip_file(tmp_path, 1, 30)
    batch = open_source([clip], replace(VARIED, size=20))[0]
    assert batch.valid[:, :30].all() and not batch.valid[:, 30:].any()
    for part in (batch.real, batch.mouths_masked, batch.rows_masked):
        assert not part[:, 30:].any()
    assert batch.mouths_masked.any() and batch.shown[batch.mouths_masked].max() < 30
    assert batch.shift.tolist() == [0] * 20


def test_what_is_not_real_in_the_clip_is_not_real_in_the_window(tmp_path: Path) -> None:
    clip = make_clip_file(tmp_path, 1, 60)
    seen = np.arange(60) % 3 > 0
    patched = open_source([clip], PLAIN)
    batch = patched[0]
    assert batch.real.all()
    save_file(load_file(clip.path) | {"seen": seen}, clip.path, {"late": ""})
    batch = patched[0]
    assert np.array_equal(batch.real.numpy(), seen[batch.units.numpy()])


def test_faces_are_varied_and_the_motion_stays(clips: list[PreprocessedClip]) -> None:
    plain, varied = open_source(clips, PLAIN)[0], open_source(clips, replace(VARIED, flip=1.0))[0]
    assert plain.mouths.shape == varied.mouths.shape == (6, 40, 88, 88) and varied.mouths.dtype == torch.uint8
    for i in range(6):
        motion = varied.mouths[i].float().mean((1, 2))
        clip = next(one for one in clips if one.n_frames > int(varied.units[i, -1]))
        assert motion.std() > 0.5, clip.name
    still = varied.mouths.float().mean(1)
    assert (still[0] - still[1]).abs().mean() > 2


def test_flipped_mouth_is_the_mirror_image(clips: list[PreprocessedClip]) -> None:
    options = replace(PLAIN, size=40)
    plain, mirrored, some = (open_source(clips, replace(options, flip=flip))[0].mouths for flip in (0.0, 1.0, 0.5))
    assert torch.equal(mirrored, plain.flip(-1))
    flipped = [not torch.equal(one, other) for one, other in zip(some, plain, strict=True)]
    assert 8 < sum(flipped) < 32


def test_voices_are_augmented_only_on_request(tmp_path: Path) -> None:
    clip = make_clip_file(tmp_path, 1, 40)  # as long as a window, so there is one place to cut it
    plain, varied = (open_source([clip], replace(PLAIN, tract=tract))[0] for tract in (None, (0.8, 1.2)))
    own = torch.from_numpy(normalise_rows(read_window(clip, 0, 40).energies))
    assert all(torch.equal(rows, own) for rows in plain.rows)
    assert sum(torch.equal(rows, own) for rows in varied.rows) < 3
    assert varied.rows.mean(-1).abs().max() < 1e-4 and (varied.rows.std(-1) - 1).abs().max() < 0.02


def test_masks_are_those_asked_for(clips: list[PreprocessedClip]) -> None:
    nothing = MaskOptions(sound_share=0, picture_share=0, modality_dropout=0)
    batch = open_source(clips, replace(PLAIN, masks=nothing))[0]
    assert not batch.rows_masked.any() and not batch.mouths_masked.any()
    assert batch.has_mouths.all() and batch.has_rows.all()
    assert torch.equal(batch.shown, torch.arange(40).expand(6, 40))
    batch = open_source(clips, replace(PLAIN, size=30))[0]
    assert 0.4 < batch.rows_masked.float().mean() < 0.7 and 0.15 < batch.mouths_masked.float().mean() < 0.4
    assert not batch.has_mouths.all() and not batch.has_rows.all()


def test_units_of_another_length_are_refused(clips: list[PreprocessedClip]) -> None:
    with pytest.raises(ValueError, match="units for 7"):
        BatchSource(clips[:1], [np.zeros(7, np.int16)], PLAIN, 1)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("share", "span"), [(0.8, 10), (0.3, 5)])
def test_mask_spans_cover_published_share(share: float, span: int) -> None:
    masked = draw_spans([400] * 200, 400, share, span, rng())
    # `share * T / span` spans on places drawn without replacement: a frame escapes those that could reach it
    expected = 1 - (1 - share / span) ** span
    assert masked.mean() == pytest.approx(expected, abs=0.02)
    edges = np.diff(np.pad(masked, ((0, 0), (1, 1))).astype(int), axis=1)
    starts, ends = (np.argwhere(edges == sign)[:, 1] for sign in (1, -1))
    assert (ends - starts).min() == span  # no span is cut short
    assert np.array_equal(masked, draw_spans([400] * 200, 400, share, span, rng()))
    assert not np.array_equal(masked, draw_spans([400] * 200, 400, share, span, rng(1)))


def test_spans_stay_within_each_length_and_short_rows_have_some() -> None:
    masked = draw_spans([100, 30, 12, 10], 100, 0.3, 10, rng())
    for row, length in zip(masked, [100, 30, 12, 10], strict=True):
        assert not row[length:].any()
    assert masked[1].sum() > 10 and masked[2].any()  # at least two spans
    assert MIN_SPANS == 2 and not masked[3].any()  # there is no place for one that leaves anything
    assert not draw_spans([100], 100, 0.0, 10, rng()).any()


def test_masked_frames_are_replaced_and_others_unchanged() -> None:
    masked = draw_spans([75] * 100, 75, 0.3, 5, rng())
    shown = replace_spans(masked, [75] * 100, rng())
    own = np.tile(np.arange(75), (100, 1))
    assert np.array_equal(shown[~masked], own[~masked])
    assert (shown[masked] != own[masked]).all()
    assert shown.min() >= 0 and shown.max() < 75
    runs_on = masked[:, 1:] & masked[:, :-1]
    assert (np.diff(shown, axis=1)[runs_on] == 1).all()  # a run is replaced by a run: it moves as speech does


def test_replacement_stays_within_short_clip() -> None:
    masked = np.zeros((50, 60), bool)
    masked[:, 5:12] = True
    shown = replace_spans(masked, [20] * 50, rng())
    assert shown[:, 5:12].max() < 20
    assert {tuple(row) for row in shown[:, [5]]} <= {(start,) for start in (*range(0), 12, 13)}


def test_without_room_first_frames_replace_span() -> None:
    masked = np.zeros((1, 20), bool)
    masked[0, 4:18] = True
    assert replace_spans(masked, [20], rng())[0, 4:18].tolist() == list(range(14))


def test_modalities_drop_at_requested_rate_and_never_both() -> None:
    mouths, rows = drop_modalities(4000, MaskOptions(), rng())
    assert (mouths | rows).all()
    assert (mouths & rows).mean() == pytest.approx(0.5, abs=0.03)
    assert (~rows).mean() == pytest.approx(0.25, abs=0.03)
    assert all(has.all() for has in drop_modalities(50, MaskOptions(modality_dropout=0), rng()))
    mouths, rows = drop_modalities(50, MaskOptions(modality_dropout=1, sound_dropout=1), rng())
    assert mouths.all() and not rows.any()


@pytest.mark.parametrize("wrong", [{"sound_share": 1.5}, {"picture_span": 0}, {"modality_dropout": -0.1}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares must be from 0 to 1"):
        MaskOptions(**wrong)  # type: ignore[arg-type]
