"""Throughput of AV-HuBERT, compared with encoding and scoring as in SpeechForensics.

`python -m benchmarks.avhubert [--size base] [--seconds 50]`; weights and inputs are random, which does not change the
time. The plain implementation is in this file: the whole clip at once in float32, attention by two products and a
softmax, one pass for video and one for audio; then a loop over the frames that compares each with 31 audio frames. Both
implementations run in turn on the same device and must agree.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import save_file
from torch.nn import functional as F  # noqa: N812
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.consistency.speechforensics import MAX_OFFSET, find_speechforensics_offset
from engine.faces.mouth_crops import CROP, normalise_for_avhubert
from engine.models.avhubert import CONFIGS, AVHubert, load_avhubert
from engine.types import FPS

Sides = tuple[np.ndarray, np.ndarray]
LEAST_COSINE = 0.99  # mean cosine of the features of both: chunks and half precision cause small differences


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a call."""

    wall_s: float
    cpu_s: float  # of all threads; depends less on other load
    peak_gb: float  # on a GPU, the weights of both networks included; else 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s, max(self.peak_gb, other.peak_gb))


Pair = tuple[Cost, Cost]
"""Costs of the plain implementation and of ours."""


@torch.inference_mode()
def encode_plainly(model: AVHubert, mouths: np.ndarray, rows: np.ndarray) -> Sides:
    """Return video and audio features, (T, D) each, in two passes over the whole clip."""
    device = model.layer_norm.weight.device
    video = torch.from_numpy(normalise_for_avhubert(mouths))[None, None].to(device)
    audio = torch.from_numpy(rows).T[None].to(device)
    with sdpa_kernel(SDPBackend.MATH):
        video_features, audio_features = model(video, None), model(None, audio)
    return video_features[0].cpu().numpy(), audio_features[0].cpu().numpy()


def score_plainly(video: np.ndarray, audio: np.ndarray) -> float:
    """Return the SpeechForensics score of features (T, D): the highest mean cosine of 31 offsets."""
    frames, padded = torch.from_numpy(video), F.pad(torch.from_numpy(audio), (0, 0, MAX_OFFSET, MAX_OFFSET))
    found = []
    for frame in range(len(frames)):
        candidates = padded[frame : frame + 2 * MAX_OFFSET + 1]
        found.append(F.cosine_similarity(frames[[frame]].repeat(len(candidates), 1), candidates))
    return float(torch.stack(found).mean(0).max())


def draw_clip(n_frames: int) -> Sides:
    rng = np.random.default_rng(0)
    mouths = rng.integers(0, 256, (n_frames, CROP, CROP), dtype=np.uint8)
    return mouths, rng.normal(size=(n_frames, 104)).astype(np.float32)


def load_both(size: str, device: str) -> tuple[AVHubert, AVHubert]:
    """Load the same random weights in float32, and as the product loads them from a file."""
    torch.manual_seed(0)
    plain = AVHubert(CONFIGS[size]).eval()
    with tempfile.TemporaryDirectory() as folder:
        save_file(plain.state_dict(), Path(folder) / "net.safetensors")
        return plain.to(device), load_avhubert(Path(folder) / "net.safetensors", device)


def measure_call(call: Callable[[], object], device: str) -> Cost:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began, began_cpu = time.perf_counter(), time.process_time()
    call()
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    return Cost(wall_s, cpu_s, torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0)


def compare_costs(plain: Callable[[], object], ours: Callable[[], object], repeats: int, device: str) -> Pair:
    """Return medians of alternating calls, so that other load affects both."""
    found = [(measure_call(plain, device), measure_call(ours, device)) for _ in range(repeats)]
    slow, fast = (
        Cost(median(c.wall_s for c in way), median(c.cpu_s for c in way), max(c.peak_gb for c in way))
        for way in zip(*found, strict=True)
    )
    return slow, fast


def check_agreement(ours: Sides, plain: Sides) -> None:
    """Raise RuntimeError if features or scores of both implementations differ."""
    for fast, slow in zip(ours, plain, strict=True):
        cosine = F.cosine_similarity(torch.from_numpy(fast), torch.from_numpy(slow)).mean().item()
        if not cosine > LEAST_COSINE:
            raise RuntimeError(f"the features of both have a mean cosine of {cosine:.4f}, wanted {LEAST_COSINE}")
    fast_score, slow_score = find_speechforensics_offset(*plain)[0], score_plainly(*plain)
    if abs(fast_score - slow_score) > 1e-5:
        raise RuntimeError(f"the score is {fast_score:.6f} and by the loop {slow_score:.6f}, wanted the same")


def measure_size(size: str, n_frames: int, repeats: int, device: str) -> dict[str, Pair]:
    plain, ours = load_both(size, device)
    clip, short = draw_clip(n_frames), draw_clip(25)
    check_agreement(ours.features(*short), encode_plainly(plain, *short))  # the first call of a network is slower
    features = encode_plainly(plain, *clip)
    check_agreement(ours.features(*clip), features)
    encode = compare_costs(lambda: encode_plainly(plain, *clip), lambda: ours.features(*clip), repeats, device)
    score = compare_costs(
        lambda: score_plainly(*features), lambda: find_speechforensics_offset(*features), repeats, device
    )
    return {"encode": encode, "score": score, "encode and score": (encode[0] + score[0], encode[1] + score[1])}


def print_row(size: str, step: str, n_frames: int, pair: Pair) -> None:
    plain, ours = pair
    ratios = f"{plain.wall_s / ours.wall_s:10.2f}{plain.cpu_s / ours.cpu_s:12.2f}"
    memory = f"{plain.peak_gb:12.2f}{ours.peak_gb:10.2f}" if plain.peak_gb else ""
    print(f"{size:7}{step:18}{n_frames / plain.wall_s:12.1f}{n_frames / ours.wall_s:12.1f}{ratios}{memory}", flush=True)


def main(
    size: Annotated[list[str] | None, typer.Option(help="base, large or tiny; base and large by default.")] = None,
    seconds: Annotated[float, typer.Option(help="Length of the clip; 50 in the paper.")] = 50.0,
    repeats: Annotated[int, typer.Option(help="Alternating calls of each implementation.")] = 3,
) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    n_frames = round(seconds * FPS)
    print(f"{name}; load before the start {load}; {n_frames} frames; ours in float{16 if device == 'cuda' else 32}")
    memory = f"{'plain, GB':>12}{'ours, GB':>10}" if device == "cuda" else ""
    print(f"{'size':7}{'step':18}{'plain, fps':>12}{'ours, fps':>12}{'ratio':>10}{'cpu ratio':>12}{memory}")
    for one in size or ["base", "large"]:
        for step, pair in measure_size(one, n_frames, repeats, device).items():
            print_row(one, step, n_frames, pair)


if __name__ == "__main__":
    typer.run(main)
