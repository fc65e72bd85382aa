"""A member learns, a run that was stopped goes on as if it had not been, and processes train what one would."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.evaluation.trials import TrialClip, cut_windows, score_other_voices, score_own_voices
from engine.metrics import auc
from engine.models.compact import N_SPEECH, CompactConsistency
from engine.training.consistency import ensemble
from engine.training.consistency.ensemble import (
    MemberOptions,
    MemberState,
    MemberTraining,
    train_all,
    train_member,
)
from engine.training.consistency.losses import AlignmentLoss
from engine.training.consistency.windows import ConsistencyWindows, WindowOptions
from engine.types import Evidence
from tests.engine.training.planted import make_clips, shrink_members

SHORT = MemberOptions(steps=8, batch=6)
TINY = MemberOptions(steps=2, batch=4)  # processes of their own train at full width


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "one_thread" not in request.fixturenames:
        shrink_members(monkeypatch)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As each of two processes has on two cores: the order of a sum changes its last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def same(one: MemberState, other: MemberState) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def stop_at(last: int) -> Callable[[int], None]:
    """Pull the plug once a step is done."""

    def on_step(step: int) -> None:
        if step == last:
            raise KeyboardInterrupt

    return on_step


def rate(state: MemberState) -> tuple[float, float]:
    """AUC of own against other voices in windows of 1.2 s, and the alignment loss, on clips never trained on."""
    model, tried, clips = CompactConsistency.of([state.member]), [], make_clips(10, first=500)
    for clip in clips:
        speech = clip.mel.reshape(-1, N_SPEECH)
        encoded = model.encode(clip.lips, speech)
        tried.append(
            TrialClip(clip.name, clip.name, "", clip.name, clip.lips, speech, Evidence.both(clip.real), encoded)
        )
    windows = cut_windows(tried, 30, model.encode)
    own, other = score_own_voices(windows), score_other_voices(windows)
    batch = ConsistencyWindows(clips, WindowOptions()).draw(
        16, np.random.default_rng(0), [np.zeros(len(clip.real), np.int64) for clip in clips]
    )
    with torch.no_grad():
        faces, voices = torch.from_numpy(batch.lips), torch.from_numpy(batch.speech)
        real = torch.from_numpy(batch.real)[:, state.member.reach : -state.member.reach]
        loss = AlignmentLoss()(state.member.lips(faces), state.member.speech(voices), real)
    return auc([trial.score for trial in own], [trial.score for trial in other]), float(loss)


@pytest.mark.parametrize("masked", [False, True])
def test_thirty_steps_learn_matching_voice(tmp_path: Path, masked: bool) -> None:
    clips = make_clips(12)
    options = MemberOptions(steps=30, batch=16, learning_rate=1e-2, masked=masked)
    torch.manual_seed(1)
    untrained, loss_before = rate(MemberState(options).eval())
    trained, loss_after = rate(train_member(clips, options, 1, tmp_path / "a.checkpoint"))
    assert trained > 0.9
    assert trained > untrained + 0.1
    assert loss_after < loss_before - 1


def test_masked_prediction_alone_trains_its_own_layers_and_leaves_the_embedding(tmp_path: Path) -> None:
    options = replace(SHORT, aligned=False)
    torch.manual_seed(3)
    untrained = MemberState(options)
    trained = train_member(make_clips(), options, 3, tmp_path / "a.checkpoint")
    assert torch.equal(untrained.member.lips.outlet.bias, trained.member.lips.outlet.bias)
    assert not torch.equal(untrained.member.lips.inlet.weight, trained.member.lips.inlet.weight)
    assert not torch.equal(untrained.prediction.units.weight, trained.prediction.units.weight)


def test_members_depend_only_on_seed(tmp_path: Path) -> None:
    clips = make_clips()
    first = train_member(clips, SHORT, 1, tmp_path / "a.checkpoint")
    torch.rand(5)  # chance that others have used does not matter
    assert same(first, train_member(clips, SHORT, 1, tmp_path / "b.checkpoint"))
    assert not same(first, train_member(clips, SHORT, 2, tmp_path / "c.checkpoint"))
    assert not first.training


@pytest.mark.parametrize("last", [3, 4, 5, 7])
def test_resumed_run_equals_uninterrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    clips = make_clips()
    whole = train_member(clips, SHORT, 1, tmp_path / "whole.checkpoint")
    monkeypatch.setattr(ensemble, "SAVE_EVERY", 2)
    with pytest.raises(KeyboardInterrupt):
        train_member(clips, SHORT, 1, tmp_path / "stopped.checkpoint", on_step=stop_at(last))
    steps: list[int] = []
    resumed = train_member(clips, SHORT, 1, tmp_path / "stopped.checkpoint", on_step=steps.append)
    assert steps == list(range((last - 1) // 2 * 2 + 1, 9))  # a step is reported before it is saved
    assert same(whole, resumed)


def test_a_finished_run_is_only_loaded(tmp_path: Path) -> None:
    clips = make_clips()
    whole = train_member(clips, SHORT, 1, tmp_path / "a.checkpoint")
    steps: list[int] = []
    assert same(whole, train_member(clips, SHORT, 1, tmp_path / "a.checkpoint", on_step=steps.append))
    assert steps == []
    assert [path.name for path in tmp_path.iterdir()] == ["a.checkpoint"]


@pytest.mark.parametrize("change", ["options", "seed", "clips"])
def test_checkpoint_of_another_run_is_not_resumed(tmp_path: Path, change: str) -> None:
    clips = make_clips()
    train_member(clips, SHORT, 1, tmp_path / "a.checkpoint")
    options = replace(SHORT, weight_decay=0.1) if change == "options" else SHORT
    seed = 2 if change == "seed" else 1
    if change == "clips":
        clips[0] = replace(clips[0], mel=clips[0].mel + np.float32(1e-3))
    steps: list[int] = []
    found = train_member(clips, options, seed, tmp_path / "a.checkpoint", on_step=steps.append)
    assert steps == list(range(1, 9))
    assert same(found, train_member(clips, options, seed, tmp_path / "fresh.checkpoint"))


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 11])
def test_any_number_of_steps_can_be_asked_for(tmp_path: Path, steps: int) -> None:
    done: list[int] = []
    options = MemberOptions(steps=steps, batch=2, masked=False)
    train_member(make_clips(2), options, 1, tmp_path / "a.checkpoint", on_step=done.append)
    assert done == list(range(1, steps + 1))


def make_jobs(n: int = 2) -> list[MemberTraining]:
    return [MemberTraining(f"member-{i}", tuple(make_clips(3)), TINY, 10 + i) for i in range(n)]


@pytest.mark.usefixtures("one_thread")
def test_two_processes_train_the_members_that_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    alone: list[tuple[str, int]] = []
    apart: list[tuple[str, int]] = []
    one = train_all(make_jobs(), tmp_path / "one", "cpu", 1, lambda name, step: alone.append((name, step)))
    two = train_all(make_jobs(), tmp_path / "two", "cpu", 2, lambda name, step: apart.append((name, step)))
    assert alone == [("member-0", 1), ("member-0", 2), ("member-1", 1), ("member-1", 2)]
    assert sorted(apart) == alone
    for first, second in zip(one, two, strict=True):
        for name, tensor in first.state_dict().items():
            assert torch.allclose(tensor, second.state_dict()[name], atol=1e-6), name
    assert not torch.equal(one[0].member.lips.inlet.weight, one[1].member.lips.inlet.weight)


@pytest.mark.usefixtures("one_thread")
def test_a_failing_process_ends_the_others_and_says_what_failed(tmp_path: Path) -> None:
    good, bad = make_jobs()
    endless = replace(good, options=replace(TINY, steps=1_000_000))
    broken = replace(bad, clips=tuple(replace(clip, lips=clip.lips[:, 1:]) for clip in bad.clips))
    steps: list[int] = []
    with pytest.raises(ValueError, match="broadcast"):
        train_all([endless, broken, endless], tmp_path, "cpu", 2, lambda name, step: steps.append(step))
    assert not (tmp_path / "member-1.checkpoint").exists()


@pytest.mark.usefixtures("one_thread")
def test_a_failure_in_the_only_process_surfaces_too(tmp_path: Path) -> None:
    good, bad = make_jobs()
    broken = replace(bad, clips=tuple(replace(clip, lips=clip.lips[:, 1:]) for clip in bad.clips))
    with pytest.raises(ValueError, match="broadcast"):
        train_all([good, broken], tmp_path, "cpu", 1, lambda name, step: None)
    assert (tmp_path / "member-0.checkpoint").exists()
