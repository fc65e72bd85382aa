"""Common parts of the benchmarks: a synthetic 720p talking head, and wall-clock and CPU time with decoding processes.

The talking head is a public-domain portrait with moving head and mouth, and noise as its voice.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import psutil
from skimage import data

from engine.media.sandbox.process import start_server
from engine.media.scan import WORKER_MODULE
from engine.types import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME

WIDTH, HEIGHT = 1280, 720
FACE_LEFT = 274  # left edge of a tile with the face in its centre
MOUTH = np.array([314.0, 206.0])  # in the portrait enlarged to 720 pixels: NASA's picture of Eileen Collins


def write_portrait(path: Path, seconds: float, height_px: int = HEIGHT, n_faces: int = 1) -> None:
    """Write a 16:9 MP4 (H.264, AAC) with one to four faces, each in a separate tile."""
    n_frames = round(seconds * FPS)
    opening = np.convolve(np.random.default_rng(0).random(n_frames + 4), np.ones(5) / 5, "valid")
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", FPS, options={"preset": "veryfast", "crf": "23"})
        video.width, video.height, video.pix_fmt = 2 * round(height_px * WIDTH / HEIGHT / 2), height_px, "yuv420p"
        audio = container.add_stream("aac", SAMPLE_RATE, layout="mono")
        for index, image in enumerate(_draw(opening)):
            if (n_faces, height_px) != (1, HEIGHT):
                image = _tile(image, n_faces, (video.width, video.height))
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = index
            container.mux(video.encode(frame))
            container.mux(audio.encode(_sound(index, opening[index])))
        container.mux(video.encode())
        container.mux(audio.encode())


def loop_file(source: Path, target: Path, seconds: float) -> None:
    """Repeat the packets of a file, without re-encoding, up to the given length."""
    with av.open(str(source)) as known, av.open(str(target), "w") as container:
        # with a gap, because the first packets of a repetition are decoded before they are shown
        length_s = (known.duration or 0) / av.time_base + 5 / FPS
        streams = {stream.index: container.add_stream_from_template(stream) for stream in known.streams}
        for turn in range(int(np.ceil(seconds / length_s))):
            known.seek(0)
            for packet in known.demux():
                if packet.dts is None or packet.pts is None or packet.time_base is None:
                    continue
                shift = round(turn * length_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = streams[packet.stream.index]
                container.mux(packet)


def _draw(opening: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (720, 1280, 3) uint8 RGB for each opening of the mouth in [0, 1]."""
    portrait = cv2.resize(data.astronaut(), (HEIGHT, HEIGHT), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:HEIGHT, :HEIGHT].astype(np.float32)
    near = np.exp(-(((columns - MOUTH[0]) / 45) ** 2 + ((rows - MOUTH[1]) / 30) ** 2)).astype(np.float32)
    stretch = np.tanh((rows - MOUTH[1]) / 8).astype(np.float32) * near
    for index, amount in enumerate(opening):
        moved = cv2.remap(portrait, columns, rows - 12 * np.float32(amount) * stretch, cv2.INTER_LINEAR)
        turn = cv2.getRotationMatrix2D((HEIGHT / 2, HEIGHT / 2), 3 * np.sin(index / 19), 1.0)
        turn[:, 2] += (WIDTH - HEIGHT) / 2 + 15 * np.sin(index / 31), 8 * np.sin(index / 23)
        yield cv2.warpAffine(moved, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_CONSTANT)


def _tile(image: np.ndarray, n_faces: int, size_px: tuple[int, int]) -> np.ndarray:
    """Return (H, W, 3) uint8 of the given size: the picture, or a 2 x 2 grid with `n_faces` faces."""
    if n_faces > 1:
        part = image[: HEIGHT // 2, FACE_LEFT : FACE_LEFT + WIDTH // 2]
        tiles = [part if place < n_faces else np.zeros_like(part) for place in range(4)]
        image = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    return cv2.resize(image, size_px, interpolation=cv2.INTER_AREA)


def _sound(index: int, amount: float) -> av.AudioFrame:
    noise = np.random.default_rng(index).normal(size=(1, SAMPLES_PER_FRAME)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.clip(0.2 * float(amount) * noise, -1, 1), "fltp", "mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE, index * SAMPLES_PER_FRAME
    return frame


@dataclass(frozen=True, slots=True)
class Spent:
    """Wall-clock and CPU seconds."""

    wall_s: float
    cpu_s: float  # of all threads and decoders; depends less on other load

    def __truediv__(self, parts: float) -> "Spent":
        return Spent(self.wall_s / parts, self.cpu_s / parts)

    def __mul__(self, times: float) -> "Spent":
        return Spent(self.wall_s * times, self.cpu_s * times)

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)


def measure(call: Callable[[], object]) -> Spent:
    """Measure one call."""
    began, began_cpu = time.perf_counter(), read_cpu_s()
    call()
    took = time.perf_counter() - began
    return Spent(took, read_cpu_s() - began_cpu)


def read_cpu_s() -> float:
    """Return CPU seconds of this process, of the fork server, and of its finished decoders."""
    server = psutil.Process(start_server(WORKER_MODULE)._process.pid)
    while server.children():
        time.sleep(0.002)
    spent = server.cpu_times()
    return time.process_time() + spent.user + spent.system + spent.children_user + spent.children_system


def read_peak_gb() -> float:
    """Return the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)


def run_child(module: str, *arguments: object, n_cores: int | None = None) -> dict[str, Any]:
    """Run a module in a new process, on the first `n_cores`; return the JSON that it prints last."""
    cores = sorted(os.sched_getaffinity(0))[:n_cores] if n_cores else []
    pin = partial(os.sched_setaffinity, 0, cores) if cores else None
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=pin)
    if done.returncode:
        raise RuntimeError(f"the child process failed: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def describe_machine() -> str:
    """Describe processor, cores and load."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def median_range(values: list[float]) -> tuple[float, float, float]:
    """Return median, minimum and maximum."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[0], ordered[-1]


@contextmanager
def stopwatch(spent_s: Counter[str], name: str) -> Iterator[None]:
    """Add wall-clock seconds to `NAME`, and CPU seconds, less dependent on other load, to `cpu NAME`.

    CPU time covers all threads of this process, without the decoders.
    """
    began, began_cpu = time.perf_counter(), time.process_time()
    yield
    spent_s[name] += time.perf_counter() - began  # type: ignore[assignment]
    spent_s[f"cpu {name}"] += time.process_time() - began_cpu  # type: ignore[assignment]


def compare(name: str, value: float, target: float) -> None:
    """Print a value and whether it meets its target."""
    print(f"{name}: {value:.3f}, target {target}: {'met' if value <= target else 'MISSED'}")
