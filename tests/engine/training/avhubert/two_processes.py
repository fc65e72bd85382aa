"""Started by torch's launcher: train a few steps together, then let every process write what it holds."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from engine.training.avhubert.train import train_avhubert
from engine.training.avhubert.trainer import RunContext, join_process_group
from tests.engine.training.planted import make_clip_files, make_training

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with join_process_group("cpu") as group:
        clips = make_clip_files(folder / f"reels-{group.rank}", 4)  # the same in every process
        losses: list[float] = []
        context = RunContext(folder / "run", group, on_step=lambda name, step, result: losses.append(result["loss"]))
        model, _ = train_avhubert(clips, make_training(steps=3, micro_batches=2), context)
        state = {name: one.contiguous() for name, one in model.state_dict().items()}
        save_file(state | {"losses": torch.tensor(losses)}, folder / f"rank-{group.rank}.safetensors")
