"""Cost of a second of 720p video with one face, compared with baseline methods in the same run.

`python -m benchmarks.rivals [FILE]`; by default with a synthetic talking head. The baselines are rebuilt from public
packages, which nothing else here needs:

    pip install --no-deps face-alignment==1.5.0 syncnet-python==0.2.3

Their weights are on servers of their authors. Networks of the same architecture with random weights cost the same, so
this measures cost, not accuracy. In their favour, images written to disk and the non-maximum suppression, which depends
on the weights, are omitted. They run on `--frames` frames of the video; the other rows on all.
"""

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from torch import nn

from benchmarks.common import Spent, describe_machine, measure, median_range, write_portrait
from engine.faces.landmarker import FaceNets
from engine.media.clip import open_clip
from engine.pipeline import Engine
from engine.settings import Settings
from engine.types import FPS
from engine.weights import registry

TARGET_RATIO = 10.0  # times faster than face detection on every frame
SYNCNET_SCALE = 0.25  # `facedet_scale` of syncnet-python
SYNCNET_PX, FAN_PX = 224, 256
Cost = Callable[[], Spent]
"""Measures one second of video."""


@dataclass(frozen=True, slots=True)
class Method:
    """Method of analysis with its cost."""

    name: str
    cost: Cost
    is_rival: bool = False


def load_part(package: str, file: str) -> Any:
    """Import one file of an installed package without the imports of the package."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is not installed; see: python -m pydoc benchmarks.rivals")
    path = Path(next(iter(found.submodule_search_locations))) / file
    spec = importlib.util.spec_from_file_location(f"rival_{package}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_net(net: nn.Module, *inputs: torch.Tensor) -> Spent:
    """Measure one forward pass."""
    with torch.inference_mode():
        return measure(lambda: net(*inputs))


def mean(costs: list[Spent]) -> Spent:
    """Return the mean of several costs."""
    return sum(costs[1:], costs[0]) / len(costs)


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Return (1, 3, H, W) float32."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))[None]).float()


class SyncNetShape:
    """S3FD on every frame at a quarter of its size, then SyncNet's two towers on every frame of the face."""

    def __init__(self, images: list[np.ndarray], decode: Cost):
        self._images, self._decode = images, decode
        self._finder = load_part("face_alignment", "detection/sfd/net_s3fd.py").s3fd().eval()
        self._sync = load_part("syncnet_python", "SyncNetModel.py").S().eval()

    def __call__(self) -> Spent:
        found = [run_net(self._finder, to_tensor(self._shrink(image))) for image in self._images]
        lips = torch.zeros(len(self._images), 3, 5, SYNCNET_PX, SYNCNET_PX)
        sound = torch.zeros(len(self._images), 1, 13, 20)
        with torch.inference_mode():
            towers = measure(lambda: (self._sync.forward_lip(lips), self._sync.forward_aud(sound)))
        return self._decode() + (mean(found) + towers / len(self._images)) * FPS

    def _shrink(self, image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, (0, 0), fx=SYNCNET_SCALE, fy=SYNCNET_SCALE)


class AlignmentShape:
    """S3FD on every frame at its full size, then the 68 points of FAN, its mirror image included, as by default."""

    def __init__(self, images: list[np.ndarray], decode: Cost):
        self._images, self._decode = images, decode
        self._finder = load_part("face_alignment", "detection/sfd/net_s3fd.py").s3fd().eval()
        self._points = load_part("face_alignment", "models/fan.py").FAN(4).eval()

    def __call__(self) -> Spent:
        found = run_net(self._finder, to_tensor(self._images[0]))
        crops = [to_tensor(cv2.resize(image, (FAN_PX, FAN_PX))) / 255 for image in self._images]
        points = [run_net(self._points, crop) + run_net(self._points, crop.flip(3)) for crop in crops]
        return self._decode() + (found + mean(points)) * FPS


class OwnEveryFrame:
    """Our detector, landmarks and blendshapes on every frame, sequentially."""

    def __init__(self, path: Path, duration_s: float):
        self._path, self._duration_s = path, duration_s
        self._nets = FaceNets.load(registry.face_landmarker(Settings.from_env().data_dir))

    def __call__(self) -> Spent:
        return measure(self._detect) / self._duration_s

    def _detect(self) -> None:
        for frame in open_clip(self._path).read_frames():
            for face in self._nets.find_faces(frame.image)[:1]:
                mesh = self._nets.place_landmarks(frame.image, face.region())
                self._nets.read_blendshapes(mesh.landmarks)


def decode_plainly(path: Path) -> None:
    """Decode with OpenCV."""
    capture = cv2.VideoCapture(str(path))
    while capture.read()[0]:
        pass
    capture.release()


def list_methods(path: Path, n_frames: int) -> list[Method]:
    """List the compared methods, ours first."""
    clip = open_clip(path)
    images = [frame.image for frame in clip.read_frames()][:: max(1, clip.n_frames // n_frames)][:n_frames]
    engine = Engine.load(Settings.from_env())

    def decode() -> Spent:
        return measure(lambda: decode_plainly(path)) / clip.duration_s

    return [
        Method("wayspeak, end to end", lambda: measure(lambda: engine.analyse(path)) / clip.duration_s),
        Method("OpenCV, decoding alone (the floor)", decode),
        Method("our own detector on every frame", OwnEveryFrame(path, clip.duration_s)),
        Method("as syncnet-python: S3FD at 1/4, SyncNet", SyncNetShape(images, decode), True),
        Method("as SpeechForensics: S3FD, FAN", AlignmentShape(images, decode), True),
    ]


def compare_methods(methods: list[Method], rounds: int) -> dict[str, list[Spent]]:
    """Measure all methods in turn, several times, since the machine may have other load."""
    for method in methods[:1]:
        method.cost()  # warm
    taken: dict[str, list[Spent]] = {method.name: [] for method in methods}
    for _ in range(rounds):
        for method in methods:
            taken[method.name].append(method.cost())
    return taken


def print_methods(methods: list[Method], taken: dict[str, list[Spent]]) -> None:
    """Print one row per method; ratios are of CPU time within one round."""
    ours = taken[methods[0].name]
    print("| per second of 720p video, one face | wall s | processor s | times ours, by processor (least to most) |")
    print("| --- | --- | --- | --- |")
    for method in methods:
        own = taken[method.name]
        wall, cpu = (median_range([getattr(one, name) for one in own])[0] for name in ("wall_s", "cpu_s"))
        middle, low, high = median_range([one.cpu_s / us.cpu_s for one, us in zip(own, ours, strict=True)])
        ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})" if middle < 10 else f"{middle:.0f} ({low:.0f} to {high:.0f})"
        met = "" if not method.is_rival else ", met" if middle >= TARGET_RATIO else f", aim {TARGET_RATIO:.0f}: MISSED"
        print(f"| {method.name} | {wall:.3f} | {cpu:.3f} | {ratio}{met} |")


def main(
    file: Annotated[Path | None, typer.Argument(help="Video; by default a synthetic one.")] = None,
    seconds: Annotated[float, typer.Option(help="Length of the synthetic video.")] = 10.0,
    frames: Annotated[int, typer.Option(min=1, help="Frames of the video for the baselines.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions of each measurement.")] = 3,
) -> None:
    """Compare the methods."""
    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if file is None:
            file = Path(folder) / "portrait.mp4"
            write_portrait(file, seconds)
        methods = list_methods(file, frames)
        print_methods(methods, compare_methods(methods, rounds))
    print(describe_machine())


if __name__ == "__main__":
    typer.run(main)
