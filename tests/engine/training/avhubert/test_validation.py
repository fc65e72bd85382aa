"""Validation scores own against other voices on segments of one length, with a control."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from engine.evaluation.trials import Trial
from engine.models.avhubert import AVHubert
from engine.speech.filterbanks import normalise_rows
from engine.training.avhubert.preprocessing import PreprocessedClip, read_window
from engine.training.avhubert.validation import HeldOutResult, score_clips, summarise_held_out
from engine.training.consistency.validation import MIN_WHOLE
from engine.types import Encoded, Evidence
from tests.engine.training.planted import make_clip_file, make_clip_files


class Reader:
    """Reads how dark the mouth is, and the filter that goes with it best."""

    def __init__(self, clips: list[PreprocessedClip]):
        self.asked: list[int] = []
        cuts = [read_window(clip, 0, clip.length) for clip in clips]
        dark = np.concatenate([self._look(cut.mouths) for cut in cuts])
        self._filters = np.linalg.lstsq(self._hear([normalise_rows(cut.energies) for cut in cuts]), dark, rcond=None)[0]

    def encode(self, mouths: np.ndarray, rows: np.ndarray, evidence: Evidence | None = None) -> Encoded:
        assert rows.dtype == np.float32 and np.abs(rows.mean(1)).max() < 1e-4
        self.asked.append(len(mouths))
        ones = np.ones(len(mouths), np.float32)
        return Encoded(0, self._embed(self._look(mouths)), self._embed(self._hear([rows]) @ self._filters), ones, ones)

    @staticmethod
    def _look(mouths: np.ndarray) -> np.ndarray:
        return -mouths.mean((1, 2)) + mouths.mean()

    @staticmethod
    def _hear(rows: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([one - one.mean(0) for one in rows])

    @staticmethod
    def _embed(signal: np.ndarray) -> np.ndarray:
        around = np.lib.stride_tricks.sliding_window_view(np.pad(signal, (2, 2), "edge"), 5)
        around = around - around.mean(1, keepdims=True)
        return (around / np.maximum(np.linalg.norm(around, axis=1, keepdims=True), 1e-6)).astype(np.float32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[PreprocessedClip]:
    folder = tmp_path_factory.mktemp("reels")
    return [
        *(make_clip_file(folder, i, 210 + 10 * i) for i in range(6)),
        make_clip_file(folder, 9, MIN_WHOLE - 1),
    ]


def test_motion_reader_is_detected_and_control_is_at_chance(clips: list[PreprocessedClip]) -> None:
    reader = Reader(clips)
    found = score_clips(cast(AVHubert, reader), clips)
    figures = summarise_held_out([found])
    assert reader.asked.count(MIN_WHOLE) == 2 * 12  # every piece by itself, in order and shuffled
    assert min(reader.asked) == MIN_WHOLE  # the clip that is too short is not judged
    auc = {name: one["auc"] for name, one in figures.items() if isinstance(one, dict)}
    assert auc["whole"] > 0.9 and auc["pieces_of_4_s"] > 0.9 and 0.25 < auc["shuffled_pieces"] < 0.75, auc
    whole = figures["whole"]
    assert isinstance(whole, dict) and whole["n_own"] == 6 and whole["ci"][0] <= whole["auc"] <= whole["ci"][1]


def test_segments_are_compared_with_other_speakers_only(clips: list[PreprocessedClip]) -> None:
    found = score_clips(cast(AVHubert, Reader(clips)), clips)
    own, other = found.pieces
    assert len(own) == 12 and all(trial.face == trial.voice for trial in own)
    assert other and all(trial.face != trial.voice for trial in other)


def test_preprocessed_clips_are_evaluated_unshifted(tmp_path: Path) -> None:
    planted = make_clip_files(tmp_path, 3)
    late = [replace(make_clip_file(tmp_path / "late", i, 130, late=5), late=5) for i in range(3)]
    (own, _) = score_clips(cast(AVHubert, Reader(planted)), late).whole
    assert [trial.offset for trial in own] == [5, 5, 5]


def test_the_trials_of_all_folds_are_pooled() -> None:
    def tried(name: str, score: float) -> tuple[list[Trial], list[Trial]]:
        return [Trial(name, name, name, score, 0)], [Trial(name, "z", name, 0.5, 0)]

    folds = [HeldOutResult(*[tried(name, score)] * 3) for name, score in (("a", 0.9), ("b", 0.1))]
    figures = summarise_held_out(folds)
    assert [(one["auc"], one["n_own"], one["n_other"]) for one in figures.values()] == [(0.5, 2, 2)] * 3  # type: ignore[index]
