"""Network that finds a covered mouth in a patch of the lower face; 76,000 weights, trained by us."""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F  # noqa: N812

from engine.errors import WeightsDamaged

WIDTHS = (16, 32, 48, 64)  # channels of the convolutions
LAST_PX = 3  # side of the last feature map, pooled


class MouthCover(nn.Module):
    """Convolutions over a patch (B, 48, 48, 3) uint8: log-odds (B,) that the mouth is covered."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(3, WIDTHS[0], 5, 2, 2),
                nn.Conv2d(WIDTHS[0], WIDTHS[1], 3, 2, 1),
                nn.Conv2d(WIDTHS[1], WIDTHS[2], 3, 2, 1),
                nn.Conv2d(WIDTHS[2], WIDTHS[3], 3, 1, 1),
            ]
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in WIDTHS)
        self.hidden = nn.Linear(WIDTHS[3] * LAST_PX**2, 48)
        self.out = nn.Linear(48, 1)
        self.drop = nn.Dropout(0.3)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        x = patches.float().permute(0, 3, 1, 2) / 255
        x = (x - x.mean((1, 2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + 0.03)  # the light cancels
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        x = self.drop(F.max_pool2d(x, 2).flatten(1))
        log_odds: torch.Tensor = self.out(self.drop(F.relu(self.hidden(x))))[:, 0]
        return log_odds

    @torch.inference_mode()
    def detect(self, patches: np.ndarray) -> np.ndarray:
        """Return the log-odds (B,) that the mouths of patches (B, 48, 48, 3) uint8 RGB are covered."""
        log_odds: np.ndarray = self(torch.from_numpy(patches)).numpy()
        return log_odds


def load_mouth_cover(path: Path) -> MouthCover:
    """Load the weights strictly; raises WeightsDamaged if keys or shapes differ from the network."""
    model = MouthCover()
    try:
        state = {
            name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()
        }
        model.load_state_dict(state, strict=True)
    except (SafetensorError, RuntimeError) as cause:
        raise WeightsDamaged(
            f"{path.name} does not hold the network for covered mouths: {cause}", "Reinstall Wayspeak."
        ) from cause
    return model.eval()
