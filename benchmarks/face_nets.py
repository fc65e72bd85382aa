"""Time per call of the three face networks: LiteRT and PyTorch on the CPU, PyTorch on CUDA where there is one."""

import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import cv2
import numpy as np
import torch
from skimage import data

from engine.faces.landmarker import BLENDSHAPE_LANDMARKS, DETECTOR, MESH, SCALES, FaceNets, FaceNetwork, Region
from engine.faces.litert_nets import LiteRTNetwork
from engine.faces.torch_nets import TorchNetwork
from engine.weights import registry

BATCHES = (1, 8, 32)
COMMAND = "python -m benchmarks.speed nets"
TITLES = dict(zip(SCALES, ("detector", "mesh", "blendshapes"), strict=True))


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """Medians of several calls."""

    wall_ms: float
    cpu_ms: float  # of all threads; depends less on other load
    peak_mb: float  # of GPU memory, weights included; 0 on the CPU
    difference: float  # largest from LiteRT, of the first output


def list_runtimes(name: str, model: bytes) -> Iterator[tuple[str, FaceNetwork | None]]:
    """Yield each way to run a network; None where it needs a GPU that is not there."""
    scale, is_mesh = SCALES[name], name == MESH
    yield "LiteRT, CPU", LiteRTNetwork(model, scale)
    yield "PyTorch, CPU, float32", TorchNetwork(model, scale, "cpu")
    on_cuda = f"PyTorch, CUDA, {'float16' if is_mesh else 'float32'}"
    has_cuda = torch.cuda.is_available()
    yield on_cuda, TorchNetwork(model, scale, "cuda", is_mesh) if has_cuda else None
    yield f"{on_cuda}, compiled", TorchNetwork(model, scale, "cuda", is_mesh, compiles=True) if has_cuda else None


def draw_faces(name: str, count: int, seed: int = 0) -> np.ndarray:
    """Return the input of a network for a face in `count` regions."""
    rng, portrait = np.random.default_rng(seed), data.astronaut()
    regions = [Region(np.array([224.0, 130.0]) + rng.normal(0, 5, 2), 170.0, rng.normal(0, 0.1)) for _ in range(count)]
    if name not in (DETECTOR, MESH):
        meshes = FaceNets.load(registry.face_landmarker()).place_landmarks_batch([portrait] * count, regions)
        return np.stack([mesh.landmarks[BLENDSHAPE_LANDMARKS, :2] for mesh in meshes])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crops = [cv2.warpAffine(portrait, region.to_image(), (256, 256), flags=flags) for region in regions]
    return np.stack([crop[::2, ::2] if name == DETECTOR else crop for crop in crops])


def measure_network(network: FaceNetwork, values: np.ndarray, expected: np.ndarray, repeats: int) -> NetworkCost:
    """Measure calls that copy to the device and back; the first one, which compiles, is not counted."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    difference = float(np.abs(network.run(values)[0] - expected).max())
    spent = []
    for _ in range(repeats):
        began, began_cpu = time.perf_counter(), time.process_time()
        network.run(values)
        spent.append((time.perf_counter() - began, time.process_time() - began_cpu))
    wall_ms, cpu_ms = (1000 * median(column) for column in zip(*spent, strict=True))
    peak_mb = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0
    return NetworkCost(wall_ms, cpu_ms, peak_mb, difference)


def print_networks(repeats: int) -> None:
    """Print a row for each network, runtime and batch."""
    with zipfile.ZipFile(registry.face_landmarker()) as bundle:
        models = {name: bundle.read(name) for name in SCALES}
    print("| network | runtime | batch | ms a call | ms an item | processor ms an item | difference | peak GPU MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, model in models.items():
        values = draw_faces(name, max(BATCHES))
        expected = LiteRTNetwork(model, SCALES[name]).run(values)[0]
        for runtime, network in list_runtimes(name, model):
            if network is None:
                print(f"| {TITLES[name]} | {runtime} | all | not measured (no GPU); run: `{COMMAND}` | | | | |")
                continue
            for batch in BATCHES:
                cost = measure_network(network, values[:batch], expected[:batch], repeats)
                peak = f"{cost.peak_mb:.0f}" if "CUDA" in runtime else ""
                print(
                    f"| {TITLES[name]} | {runtime} | {batch} | {cost.wall_ms:.2f} | {cost.wall_ms / batch:.2f} "
                    f"| {cost.cpu_ms / batch:.2f} | {cost.difference:.1g} | {peak} |",
                    flush=True,
                )
