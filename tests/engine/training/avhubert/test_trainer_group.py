"""One process does all the work itself; what several do together is in test_steps.py."""

import pytest
import torch

from engine.training.avhubert.trainer import ProcessGroup, join_process_group


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
