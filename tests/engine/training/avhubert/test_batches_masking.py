"""What is hidden, how much of it, and that what is shown instead is another place of the same window."""

import numpy as np
import pytest

from engine.training.avhubert.batches import MIN_SPANS, MaskOptions, draw_spans, drop_modalities, replace_spans


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
    with pytest.raises(ValueError, match="shares from 0 to 1"):
        MaskOptions(**wrong)  # type: ignore[arg-type]
