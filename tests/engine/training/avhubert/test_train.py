"""The pre-training as a whole on planted clips: it learns, it is kept with its record, it goes on where it was."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from engine.errors import EngineError, WeightsForbidden
from engine.metrics import auc
from engine.models.avhubert import CONFIGS, HEADS, AVHubert, load_avhubert
from engine.training.avhubert import train
from engine.training.avhubert.batches import BatchOptions, MaskOptions
from engine.training.avhubert.clusters import ClusterOptions
from engine.training.avhubert.objective import LossOptions
from engine.training.avhubert.preprocessing import PreprocessedClip
from engine.training.avhubert.train import (
    TRAININGS,
    build_untrained,
    plan_iterations,
    save_avhubert,
    train_avhubert,
)
from engine.training.avhubert.trainer import ProcessGroup, RunContext, StepOptions, Trend
from engine.training.avhubert.validation import score_clips
from engine.training.checkpoints import read_tensors
from engine.training.consistency.losses import AlignmentWeights
from engine.weights.licences import Use, check_use
from engine.weights.registry import hash_file
from tests.engine.training.planted import MINI, make_clip_files, make_training


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[PreprocessedClip]:
    return make_clip_files(tmp_path_factory.mktemp("reels"), 6)


def make_context(folder: Path) -> RunContext:
    return RunContext(folder, ProcessGroup(torch.device("cpu")))


def rate(model: AVHubert, clips: list[PreprocessedClip]) -> float:
    own, other = score_clips(model, clips).whole
    assert len(own) == len(clips)
    return auc([trial.score for trial in own], [trial.score for trial in other])


def test_training_learns_planted_motion(clips: list[PreprocessedClip], tmp_path: Path) -> None:
    """On clips never seen, own against other voices; the loss falls."""
    options = replace(
        make_training(),
        config=replace(MINI, dropout=0.0),
        iterations=(ClusterOptions(8),),
        steps=StepOptions(steps=24, micro_batches=1, learning_rate=1e-2, clip_norm=1.0),
        batches=BatchOptions(size=6, length=40, max_shift=12, masks=MaskOptions(sound_share=0.3)),
        losses=LossOptions(alignment_parts=AlignmentWeights(1, 1, 0.5, 0)),
    )
    strangers = make_clip_files(tmp_path / "strangers", 8, first=500)
    model, (trend,) = train_avhubert(clips, options, make_context(tmp_path))
    first, last = trend.summarise()["loss"]
    assert last < first - 1
    untrained, trained = rate(build_untrained(options), strangers), rate(model, strangers)
    assert trained > max(0.95, untrained + 0.15), (untrained, trained)


def test_each_iteration_clusters_and_continues_or_restarts(
    clips: list[PreprocessedClip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, torch.Tensor]] = []
    begin = train._initialise

    def note(*arguments: object) -> AVHubert:
        model = begin(*arguments)  # type: ignore[arg-type]
        begun.append({name: one.clone() for name, one in model.state_dict().items()})
        return model

    monkeypatch.setattr(train, "_initialise", note)
    for anew in (True, False):
        begun.clear()
        options = make_training(steps=2, anew=anew)
        context = make_context(tmp_path / str(anew))
        _, trends = train_avhubert(clips, options, context)
        assert len(trends) == 2 and all(trend.summarise()["loss"] for trend in trends)
        recipes = [train._describe_run(clips, options, number) for number in range(2)]
        units = [read_tensors(context.folder / f"units-{i}.safetensors", one)[0] for i, one in enumerate(recipes)]
        assert [len(one["centres"]) for one in units] == [8, 6]
        assert units[0]["centres"].shape[1] == 39 and units[1]["centres"].shape[1] == MINI.width
        labels = [units[1][f"reel/{i}"] for i in range(len(clips))]
        assert [len(one) for one in labels] == [clip.length for clip in clips]
        assert len(torch.cat(labels).unique()) == 6
        path = context.folder / "iteration-0.safetensors"
        kept = {name.removeprefix("model/model."): one for name, one in read_tensors(path, recipes[0])[0].items()}
        went_on = all(torch.equal(kept[name], one) for name, one in begun[1].items() if name not in HEADS)
        assert went_on != anew


def test_a_run_stopped_in_its_second_iteration_goes_on_there(clips: list[PreprocessedClip], tmp_path: Path) -> None:
    options = make_training(steps=3)
    unbroken, trends = train_avhubert(clips, options, make_context(tmp_path / "one"))

    def stop(name: str, step: int, losses: object) -> None:
        if (name, step) == ("iteration-1", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_avhubert(clips, options, replace(make_context(tmp_path / "other"), on_step=stop, save_every=1))
    seen: list[tuple[str, int]] = []
    context = replace(make_context(tmp_path / "other"), on_step=lambda name, step, losses: seen.append((name, step)))
    resumed, again = train_avhubert(clips, options, context)
    assert seen == [("iteration-1", 3)]
    assert [one.summarise() for one in again] == [one.summarise() for one in trends]
    for name, one in unbroken.state_dict().items():
        assert torch.equal(one, resumed.state_dict()[name]), name


def test_exported_weights_load_and_state_their_training(clips: list[PreprocessedClip], tmp_path: Path) -> None:
    options = make_training(steps=1)
    model = build_untrained(options)
    path = tmp_path / "runs" / "avhubert_tiny.safetensors"
    save_avhubert(model, path, options, clips, [Trend([{"loss": 2.0}], [{"loss": 1.0}])])
    loaded = load_avhubert(path)
    assert loaded.config == replace(MINI, n_clusters=8)
    mouths, rows = np.full((20, 96, 96), 90, np.uint8), np.random.default_rng(0).normal(size=(20, 104))
    for one, other in zip(
        model.features(mouths, rows.astype(np.float32)), loaded.features(mouths, rows.astype(np.float32)), strict=True
    ):
        assert np.allclose(one, other, atol=1e-5)
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["sha256"] == hash_file(path) and sidecar["recipe"] == f"avhubert_tiny-{sidecar['sha256'][:12]}"
    assert sidecar["options"]["batches"]["masks"]["sound_share"] == 0.8
    assert sidecar["trained_on"]["clips"] == 6 and sidecar["trained_on"]["sources"] == ["hall", "lab"]
    assert sidecar["losses_first_and_last"] == [{"loss": [2.0, 1.0]}]


def test_exported_weights_are_own_and_forbid_speaker_use(clips: list[PreprocessedClip], tmp_path: Path) -> None:
    path = tmp_path / "avhubert_tiny.safetensors"
    options = make_training()
    save_avhubert(build_untrained(options), path, options, clips, [])
    with safe_open(path, "pt") as file:
        assert file.metadata()["licence"].startswith("MIT")
    assert "not Meta's" in json.loads(path.with_suffix(".json").read_text())["licence"]
    check_use(path, Use.CONSISTENCY)
    with pytest.raises(WeightsForbidden):
        check_use(path, Use.SPEAKER)


@pytest.mark.parametrize("size", list(TRAININGS))
def test_every_size_has_a_training_that_fits_it(size: str) -> None:
    options = TRAININGS[size]
    assert options.config == CONFIGS[size]
    assert options.iterations[0].layer is None and len(options.iterations) > 1
    assert all(1 <= one.layer <= options.config.layers for one in options.iterations[1:] if one.layer is not None)
    assert all(one.layer is not None for one in options.iterations[1:])
    assert options.batches.max_shift < options.batches.length


def test_iterations_are_planned_from_the_usual_ones() -> None:
    usual = (ClusterOptions(100), ClusterOptions(200, layer=2))
    assert plan_iterations(usual, None, []) == usual
    assert plan_iterations(usual, 1, []) == usual[:1]
    assert plan_iterations(usual, 4, []) == (*usual, usual[1], usual[1])
    assert [one.n_units for one in plan_iterations(usual, 3, [50])] == [50, 50, 50]
    assert [(one.n_units, one.layer) for one in plan_iterations(usual, None, [9, 8, 7])] == [(9, None), (8, 2), (7, 2)]
    with pytest.raises(EngineError, match="3 numbers of units for 2 iterations"):
        plan_iterations(usual, 2, [9, 8, 7])


def test_no_iterations_or_network_is_refused(clips: list[PreprocessedClip], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no iterations"):
        train_avhubert(clips, replace(make_training(), iterations=()), make_context(tmp_path))
    with pytest.raises(ValueError, match="no network"):
        train_avhubert(
            clips, replace(make_training(), iterations=(ClusterOptions(8, layer=1),)), make_context(tmp_path)
        )
