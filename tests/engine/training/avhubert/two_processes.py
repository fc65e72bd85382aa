"""Started by torch's launcher: train a few steps together, then let every process write what it holds."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from engine.training.avhubert.train import train_avhubert
from engine.training.avhubert.trainer import RunContext, join_crew
from tests.engine.training.planted import make_reels, make_training

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with join_crew("cpu") as crew:
        reels = make_reels(folder / f"reels-{crew.rank}", 4)  # the same in every process
        losses: list[float] = []
        shop = RunContext(folder / "run", crew, on_step=lambda name, step, told: losses.append(told["loss"]))
        model, _ = train_avhubert(reels, make_training(steps=3, micro_batches=2), shop)
        state = {name: one.contiguous() for name, one in model.state_dict().items()}
        save_file(state | {"losses": torch.tensor(losses)}, folder / f"rank-{crew.rank}.safetensors")
