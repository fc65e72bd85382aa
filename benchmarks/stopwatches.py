"""Time of the wall and of the processor, the decoding processes' included, and what machine it was."""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from engine.media.sandbox.process import start_server


@dataclass(frozen=True, slots=True)
class Spent:
    """What something took, in seconds."""

    wall_s: float
    cpu_s: float  # of all threads and decoders; a busy machine changes it less

    def __truediv__(self, parts: float) -> "Spent":
        return Spent(self.wall_s / parts, self.cpu_s / parts)

    def __mul__(self, times: float) -> "Spent":
        return Spent(self.wall_s * times, self.cpu_s * times)

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)


def measure(work: Callable[[], object]) -> Spent:
    """Do it once."""
    began, began_cpu = time.perf_counter(), read_processor_s()
    work()
    took = time.perf_counter() - began
    return Spent(took, read_processor_s() - began_cpu)


def read_processor_s() -> float:
    """Processor time so far of this process, of the server, and of the decoders that it has buried."""
    server = psutil.Process(start_server(os.getpid())._process.pid)
    while server.children():
        time.sleep(0.002)
    there = server.cpu_times()
    return time.process_time() + there.user + there.system + there.children_user + there.children_system


def describe_machine() -> str:
    """The processor, its cores, and how busy it is."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def find_middle(values: list[float]) -> tuple[float, float, float]:
    """Median, least and most."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[0], ordered[-1]
