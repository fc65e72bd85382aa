"""Windows are a function of the seed, contain only real frames and cap the share of each corpus."""

from dataclasses import replace

import numpy as np
import pytest

from engine.faces.landmark_features import N_FEATURES
from engine.models.compact import MEL_SCALE, N_BANDS, N_SPEECH, centre_lips
from engine.training.clips import TrainingClip
from engine.training.consistency import windows
from engine.training.consistency.windows import ConsistencyWindows, WindowOptions
from tests.engine.training.planted import make_clip, make_clips

LENGTH = 75


def label(clips: list[TrainingClip]) -> list[np.ndarray]:
    return [np.arange(len(clip.real)) for clip in clips]


def draw(clips: list[TrainingClip], size: int = 8, seed: int = 1, step: int = 7) -> windows.WindowBatch:
    source = ConsistencyWindows(clips, WindowOptions())
    return source.draw(size, np.random.default_rng([seed, step]), label(clips))


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows as they are cut, nothing varied but their place and speed."""
    monkeypatch.setattr(windows, "_vary_voice", lambda mel, mean, rng, options: (mel - mean) * MEL_SCALE)
    monkeypatch.setattr(windows, "_vary_face", lambda lips, rng, options: lips)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    clips = make_clips()
    first, again = draw(clips), draw(clips)
    for name in ("lips", "speech", "real", "units"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    for other in (draw(clips, seed=2), draw(clips, step=8)):
        assert not np.array_equal(first.lips, other.lips)
        assert not np.array_equal(first.speech, other.speech)


def test_drawing_leaves_the_clips_as_they_are() -> None:
    clips = make_clips()
    before = [(clip.lips.copy(), clip.mel.copy(), clip.real.copy()) for clip in clips]
    draw(clips, size=64)
    for clip, (lips, mel, real) in zip(clips, before, strict=True):
        assert np.array_equal(clip.lips, lips) and np.array_equal(clip.mel, mel) and np.array_equal(clip.real, real)


def test_shapes_and_kinds() -> None:
    batch = draw(make_clips(), size=5)
    assert batch.lips.shape == (5, LENGTH, N_FEATURES) and batch.lips.dtype == np.float32
    assert batch.speech.shape == (5, LENGTH, N_SPEECH) and batch.speech.dtype == np.float32
    assert batch.real.shape == batch.units.shape == (5, LENGTH)
    assert batch.real.dtype == bool and batch.units.dtype == np.int64
    assert np.isfinite(batch.lips).all() and np.isfinite(batch.speech).all()


def test_no_frame_beyond_a_clip_is_real() -> None:
    clips = [make_clip(0, 40)]
    batch = draw(clips, size=32)
    for real, units in zip(batch.real, batch.units, strict=True):
        n_real = int(real.sum())
        assert 40 / 1.25 - 1 <= n_real <= 40 / 0.8
        assert real[:n_real].all()  # the end alone is missing
        assert (units[~real] == 39).all()  # there the last frame is held
        assert np.diff(units[real]).max() <= 2


def test_a_frame_that_was_not_real_is_not_in_a_window() -> None:
    clip = make_clip(0, 120)
    real = np.arange(120) % 10 != 3
    batch = draw([replace(clip, real=real)], size=16)
    assert not batch.real.all()
    assert (batch.units[batch.real] % 10 != 3).all()
    assert (batch.units[~batch.real] % 10 == 3).all()


@pytest.mark.usefixtures("plain")
def test_face_sound_and_unit_of_a_row_are_of_one_moment() -> None:
    clip = make_clip(0, 200)
    ramp = np.arange(200, dtype=np.float32)
    clip = replace(
        clip,
        lips=np.repeat(ramp[:, None], N_FEATURES, axis=1),
        mel=np.repeat((np.arange(800) / 4)[:, None], N_BANDS, axis=1).astype(np.float32),
    )
    batch = draw([clip], size=16)
    face = batch.lips[..., 0] / 10 + ramp.mean()
    voice = batch.speech[..., 0] / MEL_SCALE + clip.mel.mean()
    assert np.allclose(face, voice, atol=0.02)
    assert np.abs(face - batch.units).max() <= 0.51
    speeds = np.diff(face, axis=1).mean(1)
    assert speeds.min() >= 0.8 - 1e-3 and speeds.max() <= 1.25 + 1e-3 and np.ptp(speeds) > 0.1


@pytest.mark.usefixtures("plain")
def test_at_its_own_speed_a_window_is_the_clips_own_rows() -> None:
    clip = make_clip(0, LENGTH)
    source = ConsistencyWindows([clip], WindowOptions(speed=(1.0, 1.0)))
    batch = source.draw(1, np.random.default_rng(0), label([clip]))
    assert np.allclose(batch.lips[0, :-1], centre_lips(clip.lips)[:-1], atol=5e-3)
    assert batch.real.sum() >= LENGTH - 1


def shares(seconds: dict[str, list[int]], max_share: float = 0.4) -> dict[str, float]:
    clips = [make_clip(0, 25 * s, corpus) for corpus, lengths in seconds.items() for s in lengths]
    found = windows.share_clips(clips, max_share)
    assert found.sum() == pytest.approx(1)
    return {name: found[[clip.corpus == name for clip in clips]].sum() for name in seconds}


def test_no_corpus_has_more_than_its_share() -> None:
    found = shares({"huge": [8] * 20, "b": [4] * 3, "c": [4] * 2, "d": [4]})
    assert found["huge"] == pytest.approx(0.4)
    assert found["b"] == pytest.approx(0.3) and found["d"] == pytest.approx(0.1)


def test_capping_one_corpus_keeps_others_within_cap() -> None:
    found = shares({"a": [8] * 10, "b": [8] * 9, "c": [4]})
    assert max(found.values()) <= 0.4 + 1e-6
    assert found["c"] == pytest.approx(0.2)


def test_small_corpora_keep_their_seconds_and_long_clips_count_as_eight() -> None:
    found = shares({"a": [2], "b": [4], "c": [30], "d": [6]})
    assert found == pytest.approx({"a": 0.1, "b": 0.2, "c": 0.4, "d": 0.3})


@pytest.mark.parametrize("lengths", [[5], [5, 4]])
def test_with_too_few_corpora_they_share_equally_or_one_has_all(lengths: list[int]) -> None:
    found = shares({str(i): [s] * 4 for i, s in enumerate(lengths)})
    assert list(found.values()) == pytest.approx([1 / len(lengths)] * len(lengths))


def test_windows_follow_the_shares() -> None:
    clips = [make_clip(i, 200, "huge") for i in range(9)] + [make_clip(9, 100, "b"), make_clip(10, 100, "c")]
    marks = [np.full(len(clip.real), clip.corpus == "huge") for clip in clips]
    batch = ConsistencyWindows(clips, WindowOptions()).draw(400, np.random.default_rng(0), marks)
    assert batch.units[:, 0].mean() == pytest.approx(0.4, abs=0.08)
