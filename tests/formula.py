"""Weights and inputs that follow from their names alone, as those behind the AV-HuBERT goldens do."""

import json
import zlib
from collections.abc import Mapping

import numpy as np
import torch

from engine.models.avhubert import RENAMED, AVHubert, AVHubertConfig, config_of, rename_checkpoint

RECORDS = ("encoder.norm_first", "feature_extractor_video.resnet.shrink_px")  # of ours, in no published file
Shapes = dict[str, tuple[int, ...]]

PRELU = (".relu1.weight", ".relu2.weight", "frontend3D.2.weight")


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float64 in [-1, 1), the same for the same name anywhere."""
    bits = np.random.PCG64(zlib.crc32(name.encode())).random_raw(int(np.prod(shape, dtype=int)))
    bits >>= np.uint64(11)
    values = bits * 2.0**-52
    values -= 1
    return values.reshape(shape)


def fill_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Fill a state dict of official names."""
    return {name: torch.from_numpy(fill_weight(name, tuple(shape))) for name, shape in shapes.items()}


def fill_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float32, but for the counters of batches."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    values = draw(name, shape)
    if name.endswith("running_var"):
        values = 1 + 0.25 * (values + 1)
    elif name.endswith("weight_g"):
        values = 1 + 0.1 * values
    elif len(shape) >= 2:
        values *= np.sqrt(3 / np.prod(shape[1:]))
    elif name.endswith(PRELU):
        values = 0.25 + 0.05 * values
    else:
        values = 0.1 * values + name.endswith(".weight")
    return values.astype(np.float32)


def fill_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """The picture (1, 1, 30, 88, 88) and the sound (1, 104, 32) of the goldens, float32."""
    video, audio = 2 * draw("input.video", (1, 1, 30, 88, 88)), 1.7 * draw("input.audio", (1, 104, 32))
    return torch.from_numpy(video).float(), torch.from_numpy(audio).float()


def read_shapes(text: bytes) -> dict[str, Shapes]:
    tags = json.loads(text)
    return {tag: {name: tuple(shape) for name, shape in dict(tags[tag]).items()} for tag in tags}


def cut_layers(shapes: Mapping[str, tuple[int, ...]], n_layers: int) -> Shapes:
    return {
        name: shape
        for name, shape in shapes.items()
        if not name.startswith("encoder.layers.") or int(name.split(".")[2]) < n_layers
    }


def shapes_of(config: AVHubertConfig) -> Shapes:
    """Official names and shapes of a size of ours."""
    with torch.device("meta"):
        state = AVHubert(config).state_dict()
    official = {ours: name for name, ours in RENAMED.items()} | dict.fromkeys(RECORDS)
    named = {official.get(ours, ours): tuple(tensor.shape) for ours, tensor in state.items()}
    return {name: shape for name, shape in named.items() if name is not None}


def fill_network(shapes: Shapes, norm_first: bool = True) -> AVHubert:
    state, dropped = rename_checkpoint(fill_state(shapes), norm_first)
    assert not dropped
    with torch.device("meta"):
        model = AVHubert(config_of(state))
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()
