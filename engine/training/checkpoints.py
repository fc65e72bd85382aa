"""Where a run of pre-training stands: network, optimiser, scaler and step, so that it can be taken up bit for bit.

There is no state of any random generator to keep: whatever chance does in a step is a function of the seed and the
number of the micro-batch alone. The order of the data is that number too.
"""

from pathlib import Path

import torch
from torch import nn

from engine.training.records import Record, read_tensors, write_tensors

MODEL, OPTIMISER = "model/", "optimiser/"


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer | None,
    scaler: torch.amp.GradScaler,
    recipe: Record,
    step: int,
    trend: Record,
) -> None:
    """Write where the run stands after `step` steps; without its optimiser when it is finished."""
    tensors = {MODEL + name: one for name, one in model.state_dict().items()}
    if optimiser is not None:
        for name, parameter in model.named_parameters():
            tensors |= {f"{OPTIMISER}{name}/{key}": one for key, one in optimiser.state.get(parameter, {}).items()}
    write_tensors(path, tensors, recipe, {"step": step, "scaler": scaler.state_dict(), "trend": trend})


def load_checkpoint(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler, recipe: Record
) -> tuple[int, Record]:
    """Take up a run where it stands; give the steps that are done and the trend so far, (0, {}) where there is no file.

    CHECKPOINT_REFUSED where the file is damaged or of another recipe.
    """
    if not path.is_file():
        return 0, {}
    tensors, record = read_tensors(path, recipe)
    model.load_state_dict({name.removeprefix(MODEL): one for name, one in tensors.items() if name.startswith(MODEL)})
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name.startswith(OPTIMISER):
            owner, key = name.removeprefix(OPTIMISER).rsplit("/", 1)
            place = "cpu" if key == "step" else parameters[owner].device  # as AdamW itself has it
            optimiser.state[parameters[owner]][key] = tensor.clone().to(place)
    scaler.load_state_dict(record["scaler"])
    return int(record["step"]), record["trend"]
