"""Device on which the networks run."""

import torch


def pick_device(name: str) -> str:
    """Resolve `auto` to CUDA where available, else CPU; any other name stays."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
