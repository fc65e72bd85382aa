"""Units: k-means finds the planted clusters in cepstra and in network features."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.faces.mouth_crops import normalise_for_avhubert
from engine.models.avhubert import AVHubert
from engine.speech.filterbanks import normalise_rows
from engine.training.avhubert import clusters
from engine.training.avhubert.clusters import ClusterOptions, Clusters, describe_by, describe_cepstra, fit_clusters
from engine.training.avhubert.preprocessing import PreprocessedClip, read_cepstra, read_window
from tests.engine.training.planted import MINI, make_clip_file

N_KINDS = 4


def describe(clip: PreprocessedClip) -> np.ndarray:
    """Four kinds of frames in turn, each with a feature of its own, some on a larger scale."""
    kinds = np.eye(N_KINDS)[np.arange(clip.length) % N_KINDS]
    return (kinds + np.random.default_rng(clip.n_frames).normal(0, 0.05, kinds.shape)) * [1, 10, 100, 1000]


def make_list(folder: Path, n: int = 4) -> list[PreprocessedClip]:
    return [make_clip_file(folder, i, 60 + i) for i in range(n)]


def test_units_are_the_kinds_of_frames(tmp_path: Path) -> None:
    clips = make_list(tmp_path)
    found = fit_clusters(clips, describe, ClusterOptions(N_KINDS), seed=1)
    units = found.assign(describe(clips[0]))
    assert units.dtype == np.int16 and len(set(units.tolist())) == N_KINDS
    assert all(len(set(units[kind::N_KINDS].tolist())) == 1 for kind in range(N_KINDS))


def test_features_have_equal_weight(tmp_path: Path) -> None:
    found = fit_clusters(make_list(tmp_path), describe, ClusterOptions(N_KINDS), seed=1)
    rows = np.concatenate([describe(clip) for clip in make_list(tmp_path)])
    scaled = (rows - found.mean) / found.deviation
    assert np.allclose(scaled.mean(0), 0, atol=1e-3) and np.allclose(scaled.std(0), 1, atol=1e-2)
    apart = np.linalg.norm(scaled[:, None] - found.centres, axis=-1)
    assert np.array_equal(found.assign(rows), apart.argmin(1))


def test_the_same_seed_gives_the_same_units_and_few_frames_suffice(tmp_path: Path) -> None:
    clips, seen = make_list(tmp_path), []

    def note(clip: PreprocessedClip) -> np.ndarray:
        seen.append(clip.name)
        return describe(clip)

    one, other = (fit_clusters(clips, describe, ClusterOptions(N_KINDS), seed=2) for _ in range(2))
    assert all(np.array_equal(first, other.arrays()[name]) for name, first in one.arrays().items())
    fit_clusters(clips, note, ClusterOptions(N_KINDS, max_rows=100), seed=2)
    assert len(seen) == 2


def test_more_units_than_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="60 frames for 100 units"):
        fit_clusters(make_list(tmp_path, 1), describe, ClusterOptions(100), seed=1)


def test_cepstra_discard_speaker(tmp_path: Path) -> None:
    clip = make_clip_file(tmp_path, 1)
    rows = describe_cepstra(clip)
    assert np.allclose(rows.mean(0), 0, atol=1e-4)
    assert np.allclose(rows - rows[0], read_cepstra(clip) - read_cepstra(clip)[0], atol=1e-4)


@pytest.mark.parametrize("layer", [1, 2])
def test_a_network_describes_by_the_layer_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: int
) -> None:
    torch.manual_seed(0)
    model, clip = AVHubert(replace(MINI, layers=2)), make_clip_file(tmp_path, 1, 50)
    rows = describe_by(model.train(), layer)(clip)
    assert rows.shape == (50, MINI.width)
    cut = read_window(clip, 0, 50)
    video = torch.from_numpy(normalise_for_avhubert(cut.mouths))[None, None]
    audio = torch.from_numpy(normalise_rows(cut.energies)).T[None]
    with torch.no_grad():
        last = model.eval()(video, audio)[0]
        normed = model.encoder.layer_norm(torch.from_numpy(rows))
    assert torch.allclose(normed, last, atol=1e-4) == (layer == 2)
    monkeypatch.setattr(clusters, "PIECE", 20)  # a long clip passes in pieces, and none is kept from the last call
    describe_in_pieces = describe_by(model, layer)
    for _ in range(2):
        pieces = describe_in_pieces(clip)
        assert pieces.shape == rows.shape and not np.array_equal(pieces, rows)
    assert not model.encoder.layers[layer - 1]._forward_hooks


def test_clusters_are_kept_by_name() -> None:
    kept = Clusters(*(np.full(2, i, np.float32) for i in range(3))).arrays()
    assert {name: one[0] for name, one in kept.items()} == {"mean": 0, "deviation": 1, "centres": 2}
