"""Weights are independent of interruptions and process count, and planted clips are learnt."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engine.errors import Code, EngineError
from engine.models.avhubert import AVHubert
from engine.training.avhubert.batches import BatchOptions, BatchSource
from engine.training.avhubert.objective import LossOptions, Pretraining
from engine.training.avhubert.preprocessing import PreprocessedClip
from engine.training.avhubert.train import train_avhubert
from engine.training.avhubert.trainer import (
    Losses,
    ProcessGroup,
    RunContext,
    StepOptions,
    Trend,
    checkpoint_layers,
    join_process_group,
    train_steps,
)
from tests.engine.training.planted import MINI, make_clip_files, make_training
from tests.raising import raises

ROOT = Path(__file__).parents[4]
ALONE = ProcessGroup(torch.device("cpu"))


@pytest.fixture(scope="module")
def clip_files(tmp_path_factory: pytest.TempPathFactory) -> list[PreprocessedClip]:
    return make_clip_files(tmp_path_factory.mktemp("clips"), 4)


def stop_at(last: int) -> Callable[[str, int, Losses], None]:
    """Pull the plug once a step is done."""

    def on_step(name: str, step: int, losses: Losses) -> None:
        if step == last:
            raise KeyboardInterrupt

    return on_step


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def run(
    clip_files: list[PreprocessedClip], folder: Path, options: StepOptions, **context: object
) -> tuple[Pretraining, Trend]:
    torch.manual_seed(0)
    pretraining = Pretraining(AVHubert(replace(MINI, n_clusters=8)), LossOptions())
    units = [np.arange(clip.length, dtype=np.int16) % 8 for clip in clip_files]
    source = BatchSource(clip_files, units, BatchOptions(size=3, length=24, max_shift=6), 1)
    trend = train_steps(pretraining, source, options, 1, RunContext(folder, ALONE, **context), "run", {"it": 0})  # type: ignore[arg-type]
    return pretraining, trend


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_resumed_run_is_bit_identical_to_uninterrupted_run(
    clip_files: list[PreprocessedClip], tmp_path: Path, stop: int
) -> None:
    options = StepOptions(steps=6, micro_batches=2, learning_rate=5e-3)
    unbroken, trend = run(clip_files, tmp_path / "one", options)
    with pytest.raises(KeyboardInterrupt):
        run(clip_files, tmp_path / "other", options, save_every=2, on_step=stop_at(stop))
    np.random.seed(stop)  # what any other generator has done meanwhile changes nothing
    seen: list[int] = []
    resumed, other = run(
        clip_files, tmp_path / "other", options, save_every=2, on_step=lambda name, step, losses: seen.append(step)
    )
    assert seen[0] == stop // 2 * 2 + 1 and seen[-1] == 6  # it went on from the last checkpoint
    assert same(unbroken, resumed)
    assert other.summarise() == trend.summarise()


def test_a_finished_run_is_not_run_again(clip_files: list[PreprocessedClip], tmp_path: Path) -> None:
    options = StepOptions(steps=2, micro_batches=1)
    first, trend = run(clip_files, tmp_path, options)
    second, again = run(clip_files, tmp_path, options, on_step=stop_at(1))
    assert same(first, second) and again.summarise() == trend.summarise()


def test_a_run_of_other_options_is_refused(clip_files: list[PreprocessedClip], tmp_path: Path) -> None:
    context = RunContext(tmp_path, ALONE)
    train_avhubert(clip_files, make_training(steps=1), context)
    with raises(Code.CHECKPOINT_REFUSED, match=r"options\.losses\.penalty was 10\.0 and is 1\.0"):
        train_avhubert(clip_files, make_training(steps=1, losses=LossOptions(penalty=1.0)), context)
    with raises(Code.CHECKPOINT_REFUSED, match="clips was"):
        train_avhubert(clip_files[:3], make_training(steps=1), context)


def test_two_processes_train_the_same_weights_as_one(tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = [str(Path(__file__).with_name("two_processes.py")), str(tmp_path)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *script], env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (load_file(tmp_path / f"rank-{rank}.safetensors") for rank in range(2))
    losses = torch.stack([first.pop("losses"), second.pop("losses")])  # each process's own
    assert losses.shape == (2, 6) and torch.isfinite(losses).all()
    assert all(torch.equal(one, second[name]) for name, one in first.items())
    alone, trends = train_avhubert(
        make_clip_files(tmp_path / "reels", 4),
        make_training(steps=3, micro_batches=2),
        RunContext(tmp_path / "alone", ALONE),
    )
    for name, one in alone.state_dict().items():
        assert torch.allclose(one.float(), first[name].float(), atol=1e-5, rtol=0), name
    result = [losses["loss"] for trend in trends for losses in trend.last]
    assert result == pytest.approx(losses.mean(0).tolist(), abs=1e-3)


def test_micro_batches_that_cannot_be_shared_are_refused(clip_files: list[PreprocessedClip], tmp_path: Path) -> None:
    context = RunContext(tmp_path, ProcessGroup(torch.device("cpu"), 0, 2))
    pretraining = Pretraining(AVHubert(MINI), LossOptions())
    source = BatchSource(clip_files, [np.zeros(clip.length, np.int16) for clip in clip_files], BatchOptions(), 1)
    with pytest.raises(EngineError, match="3 micro-batches cannot be divided among 2"):
        train_steps(pretraining, source, StepOptions(micro_batches=3), 1, context, "run", {})


def test_the_statistics_of_a_step_are_the_mean_of_its_micro_batches(
    clip_files: list[PreprocessedClip], tmp_path: Path
) -> None:
    """And not whatever the last one left: who comes last is chance when processes share them."""
    options = StepOptions(steps=1, micro_batches=3, learning_rate=1e-9)
    together, _ = run(clip_files, tmp_path / "all", options)
    name = "model.feature_extractor_video.resnet.frontend3D.1.running_mean"
    torch.manual_seed(0)
    begun = Pretraining(AVHubert(replace(MINI, n_clusters=8)), LossOptions()).train()
    before = {key: one.clone() for key, one in begun.state_dict().items()}
    source = BatchSource(
        clip_files, [np.arange(clip.length) % 8 for clip in clip_files], BatchOptions(size=3, length=24, max_shift=6), 1
    )
    found = []
    for number in range(3):
        begun.load_state_dict(before)
        begun(source[number])
        found.append(begun.state_dict()[name].clone())
    assert torch.allclose(together.state_dict()[name], torch.stack(found).mean(0), atol=1e-6)
    assert together.state_dict()["model.feature_extractor_video.resnet.frontend3D.1.num_batches_tracked"] == 1


def test_gradient_checkpointing_changes_no_gradient(clip_files: list[PreprocessedClip]) -> None:
    source = BatchSource(
        clip_files, [np.arange(clip.length) % 8 for clip in clip_files], BatchOptions(size=3, length=24, max_shift=6), 1
    )
    gradients = []
    for spares in (False, True):
        torch.manual_seed(0)
        pretraining = Pretraining(AVHubert(replace(MINI, n_clusters=8)), LossOptions()).train()
        if spares:
            checkpoint_layers(pretraining.model)
        torch.manual_seed(1)
        pretraining(source[0])["loss"].backward()
        gradients.append([one.grad for one in pretraining.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))  # dropout included


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns_as_well(clip_files: list[PreprocessedClip], tmp_path: Path, precision: str) -> None:
    full, _ = run(clip_files, tmp_path / "full", StepOptions(steps=4, micro_batches=1))
    half, trend = run(clip_files, tmp_path / "half", StepOptions(steps=4, micro_batches=1, precision=precision))
    apart = [one["loss"] for one in trend.last]
    assert np.isfinite(apart).all() and not same(full, half)
    for one, other in zip(full.parameters(), half.parameters(), strict=True):
        assert other.dtype == torch.float32 and torch.isfinite(other).all()
        assert (one - other).abs().max() < 2e-2


def test_a_loss_that_is_no_number_stops_the_run(clip_files: list[PreprocessedClip], tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="not finite"):
        run(clip_files, tmp_path, StepOptions(steps=30, micro_batches=1, learning_rate=1e30, clip_norm=1e30))


def test_learning_rate_warms_up_and_decays() -> None:
    options = StepOptions(steps=100, warm_up=0.1, learning_rate=1.0)
    rates = [options.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == pytest.approx(1.0)
    assert np.allclose(np.diff(rates[10:]), -1 / 90) and 0 < rates[-1] < 0.02
    assert StepOptions(steps=1, learning_rate=1.0).rate(0) == 1.0
    with pytest.raises(ValueError, match="wanted one of float32"):
        StepOptions(precision="int8")


def test_trend_reports_first_and_last_values() -> None:
    trend = Trend()
    for step in range(50):
        trend.add({"loss": float(step)})
    assert trend.summarise() == {"loss": [9.5, 39.5]}
    assert Trend().summarise() == {}


def test_without_launcher_group_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_process_group("cpu") as group:
        assert group == ProcessGroup(torch.device("cpu")) and group.leads
        assert group.share(lambda: "found") == "found"
        assert group.divide([1, 2, 3], lambda item: item * 2) == [2, 4, 6]
        tensors = [torch.ones(2)]
        group.average(tensors)
        assert tensors[0].tolist() == [1, 1]
        group.wait()
    assert not torch.distributed.is_initialized()


def test_divided_work_keeps_item_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven items on three processes, as each of them would do its share."""
    items = list(range(7))
    groups = [ProcessGroup(torch.device("cpu"), rank, 3) for rank in range(3)]
    parts = [[item * 10 for item in items[group.rank :: 3]] for group in groups]
    done: list[list[int]] = []

    def gather(out: list, own: list) -> None:
        done.append(own)
        out[:] = parts

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    for group in groups:
        assert group.divide(items, lambda item: item * 10) == [item * 10 for item in items]
    assert done == parts
    assert [group.leads for group in groups] == [True, False, False]
