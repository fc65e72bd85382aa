"""A checkpoint holds a run whole, without pickles; one of another run is refused with what differs."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from engine.errors import Code, FolderUnwritable
from engine.training.checkpoints import load_checkpoint, read_tensors, save_checkpoint, write_tensors
from tests.raising import raises

RECIPE = {"options": {"seed": 1, "steps": {"rate": 0.1}}, "clips": "ab"}


def make_run(seed: int = 0, steps: int = 3) -> tuple[nn.Module, torch.optim.AdamW, torch.amp.GradScaler]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimiser = torch.optim.AdamW(model.parameters(), 0.1)
    for _ in range(steps):
        model(torch.randn(5, 3)).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(1))
    return model, optimiser, scaler


def save(path: Path, recipe: dict = RECIPE, seed: int = 0) -> tuple[nn.Module, torch.optim.AdamW]:
    model, optimiser, scaler = make_run(seed)
    save_checkpoint(path, model, optimiser, scaler, recipe, 3, {"first": [], "last": []})
    return model, optimiser


def test_checkpoint_round_trip_restores_run(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.safetensors"
    model, optimiser = save(path)
    other, its, scaler = make_run(seed=5, steps=0)
    scaler.update(7.0)
    assert load_checkpoint(path, other, its, scaler, RECIPE) == (3, {"first": [], "last": []})
    assert scaler.get_scale() == 65536.0
    for name, one in model.state_dict().items():
        assert torch.equal(one, other.state_dict()[name]), name
    for one, another in zip(model.parameters(), other.parameters(), strict=True):
        assert set(optimiser.state[one]) == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(kept, its.state[another][key]) for key, kept in optimiser.state[one].items())


def test_nothing_is_pickled_and_nothing_half_written_is_left(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    save(path)
    save(path, seed=1)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    with safe_open(path, "pt") as file:
        assert {name.partition("/")[0] for name in file.keys()} == {"model", "optimiser"}  # noqa: SIM118
        assert set(file.metadata()) == {"recipe", "record"}


def test_a_finished_run_keeps_no_optimiser(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    model, optimiser, scaler = make_run()
    save_checkpoint(path, model, None, scaler, RECIPE, 9, {})
    with safe_open(path, "pt") as file:
        assert not any(name.startswith("optimiser") for name in file.keys())  # noqa: SIM118
    assert load_checkpoint(path, model, optimiser, scaler, RECIPE)[0] == 9


def test_missing_checkpoint_starts_a_run(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none.safetensors", *make_run(), RECIPE) == (0, {})


def test_a_checkpoint_of_another_recipe_is_refused_with_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    save(path)
    other = {"options": {"seed": 1, "steps": {"rate": 0.2}, "new": None}, "clips": "cd"}
    with raises(Code.CHECKPOINT_REFUSED) as refused:
        load_checkpoint(path, *make_run(), other)
    result = refused.value.message
    assert 'clips was "ab" and is "cd"' in result and "options.steps.rate was 0.1 and is 0.2" in result
    assert "seed" not in result and str(tmp_path) in refused.value.hint


@pytest.mark.parametrize("damage", [b"", b"\x00" * 40, None])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "run.safetensors"
    save(path)
    path.write_bytes(path.read_bytes()[:-8] if damage is None else damage)
    with raises(Code.CHECKPOINT_REFUSED, match=r"run\.safetensors"):
        load_checkpoint(path, *make_run(), RECIPE)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "run.safetensors")
    with raises(Code.CHECKPOINT_REFUSED, match="recipe"):
        read_tensors(tmp_path / "run.safetensors", RECIPE)


def test_a_folder_that_cannot_be_written_is_named_and_the_old_file_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FolderUnwritable, match="cannot be written"):
        write_tensors(tmp_path / "file" / "run.safetensors", {"a": torch.zeros(1)}, {}, {})


def test_views_and_shared_memory_are_written_out(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    write_tensors(tmp_path / "a.safetensors", {"part": whole[:, ::2], "turned": whole.T}, {}, {"n": 1})
    tensors, record = read_tensors(tmp_path / "a.safetensors", {})
    assert (
        torch.equal(tensors["part"], whole[:, ::2]) and torch.equal(tensors["turned"], whole.T) and record == {"n": 1}
    )
