import pytest
import torch

from engine.devices import pick_device


@pytest.mark.parametrize("has_cuda", [True, False])
def test_auto_is_cuda_where_there_is_one_and_a_name_stays(monkeypatch: pytest.MonkeyPatch, has_cuda: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert pick_device("auto") == ("cuda" if has_cuda else "cpu")
    assert (pick_device("cpu"), pick_device("cuda")) == ("cpu", "cuda")
