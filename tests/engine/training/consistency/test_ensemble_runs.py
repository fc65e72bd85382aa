"""Members trained side by side: the same members, one progress, and an end when one of them fails."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.training.consistency.ensemble import MemberOptions, MemberTraining, train_all
from tests.engine.training.planted import make_clips

TINY = MemberOptions(steps=2, batch=4)  # processes of their own train at full width


@pytest.fixture(autouse=True)
def one_thread() -> object:
    """As each of two processes has on two cores: the order of a sum changes its last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_jobs(n: int = 2) -> list[MemberTraining]:
    return [MemberTraining(f"member-{i}", tuple(make_clips(3)), TINY, 10 + i) for i in range(n)]


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


@pytest.mark.timeout(120)
def test_a_failing_process_ends_the_others_and_says_what_failed(tmp_path: Path) -> None:
    good, bad = make_jobs()
    endless = replace(good, options=replace(TINY, steps=1_000_000))
    broken = replace(bad, clips=tuple(replace(clip, lips=clip.lips[:, 1:]) for clip in bad.clips))
    steps: list[int] = []
    with pytest.raises(ValueError, match="broadcast"):
        train_all([endless, broken, endless], tmp_path, "cpu", 2, lambda name, step: steps.append(step))
    assert not (tmp_path / "member-1.checkpoint").exists()


def test_a_failure_in_the_only_process_surfaces_too(tmp_path: Path) -> None:
    good, bad = make_jobs()
    broken = replace(bad, clips=tuple(replace(clip, lips=clip.lips[:, 1:]) for clip in bad.clips))
    with pytest.raises(ValueError, match="broadcast"):
        train_all([good, broken], tmp_path, "cpu", 1, lambda name, step: None)
    assert (tmp_path / "member-0.checkpoint").exists()
