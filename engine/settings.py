"""Paths, device and limits; built once and passed on, never global."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from platformdirs import user_data_path

from engine.errors import EngineError

MAX_MINUTES, MAX_MB = 240, 4096
"""The highest values of WAYSPEAK_MAX_MINUTES and WAYSPEAK_MAX_MB."""
MAX_WORKERS = 64
KEPT_FILES = 10  # of the largest size, which an owner may keep


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Limits of `media.clip.open_clip` on files, and on resources of its decoding process."""

    max_duration_s: float = 900.0
    max_pixels: int = 8_294_400  # 4K UHD
    max_source_frames: int = 108_000  # 15 minutes at 120 frames per second
    max_bytes: int = 500 * 1024 * 1024
    max_rate_hz: float = 120.0  # frames per second
    max_streams: int = 32  # video and audio; few of them are decoded
    max_channels: int = 8  # of audio
    max_sound_hz: int = 192_000  # audio samples per second
    max_memory_bytes: int = 1536 * 1024 * 1024  # address space of the decoding process, including libraries
    max_cpu_s: int = 1800  # CPU time of one pass over the file
    max_stall_s: float = 45.0  # without progress; generous, for busy machines


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Size and time limits of `fetch`."""

    max_bytes: int = 500 * 1024 * 1024
    max_duration_s: float = 900.0  # as stated by the site
    describe_s: float = 90.0  # until the metadata is known
    wall_s: float = 300.0  # total
    socket_s: float = 15.0  # without data on a connection
    min_bytes_per_s: int = 8_000  # mean over `rate_window_s` during the media download
    rate_window_s: float = 30.0
    cpu_s: int = 120
    memory_bytes: int = 2 * 1024**3  # address space
    allow_loopback: bool = False  # for developers: loopback addresses and any port


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Limits on queued and running jobs and on their disk space."""

    max_queued: int = 20  # per owner, without batches
    max_batch: int = 50  # per owner, queued in all batches together
    max_running: int = 2  # per owner
    max_hourly: int | None = None  # per owner; None: unlimited, for a single-user installation
    max_bytes: int = 5 * 1024**3  # stored files per owner
    min_free_share: float = 0.1  # of the disk; a file is refused if less than this share and less than
    min_free_bytes: int = 20 * 1024**3  # so many bytes would stay free


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths, device and limits; parameters that change results are in the options of each stage."""

    data_dir: Path
    device: str = "auto"  # auto: CUDA if available, else CPU
    threads: int = 0  # 0: all of the machine
    workers: int = 0  # segments of a recording processed at a time; 0: as many as there are cores for this process
    limits: MediaLimits = field(default_factory=MediaLimits)
    fetch_limits: FetchLimits = field(default_factory=FetchLimits)
    database: str | None = field(default=None, repr=False)  # URL of the gallery; None: a file in the data folder
    queue: QueueLimits = field(default_factory=QueueLimits)
    compile_nets: bool = False  # the face networks on CUDA by torch.compile

    @classmethod
    def from_env(cls) -> "Settings":
        """Read the WAYSPEAK_ variables of docs/command-line.md over the defaults; raise EngineError for a bad limit.

        The default data folder is that of the user: on Linux `wayspeak` in XDG_DATA_HOME or ~/.local/share.
        """
        home = Path(os.environ.get("WAYSPEAK_DATA") or user_data_path("wayspeak", appauthor=False))
        device = os.environ.get("WAYSPEAK_DEVICE", "auto")
        threads = int(os.environ.get("WAYSPEAK_THREADS", "0"))
        allow_loopback = os.environ.get("WAYSPEAK_ALLOW_LOOPBACK_FETCH") == "1"
        settings = cls(
            home,
            device,
            threads,
            fetch_limits=FetchLimits(allow_loopback=allow_loopback),
            database=os.environ.get("WAYSPEAK_DATABASE") or None,
            compile_nets=os.environ.get("WAYSPEAK_COMPILE") == "1",
            workers=_read_limit("WAYSPEAK_WORKERS", MAX_WORKERS, least=0) or 0,
        )
        return settings.allow(_read_limit("WAYSPEAK_MAX_MINUTES", MAX_MINUTES), _read_limit("WAYSPEAK_MAX_MB", MAX_MB))

    def count_workers(self) -> int:
        """Return the number of segments of a recording to process at a time."""
        return self.workers or count_cores()

    def allow(self, minutes: int | None, megabytes: int | None) -> "Settings":
        """Set the length and size allowed of a recording, alike for files, links, uploads and kept files."""
        limits, fetch_limits, queue = self.limits, self.fetch_limits, self.queue
        if minutes is not None:
            factor = max(60 * minutes / limits.max_duration_s, 1.0)  # times and counts grow with the length
            limits = replace(
                limits,
                max_duration_s=60.0 * minutes,
                max_source_frames=round(limits.max_source_frames * factor),
                max_cpu_s=round(limits.max_cpu_s * factor),
            )
            fetch_limits = replace(fetch_limits, max_duration_s=60.0 * minutes)
        if megabytes is not None:
            n_bytes = megabytes * 2**20
            factor = max(n_bytes / fetch_limits.max_bytes, 1.0)
            limits = replace(limits, max_bytes=n_bytes)
            fetch_limits = replace(
                fetch_limits,
                max_bytes=n_bytes,
                wall_s=fetch_limits.wall_s * factor,
                cpu_s=round(fetch_limits.cpu_s * factor),
            )
            queue = replace(queue, max_bytes=max(queue.max_bytes, KEPT_FILES * n_bytes))
        return replace(self, limits=limits, fetch_limits=fetch_limits, queue=queue)


def count_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_cores(n_processes: int) -> int:
    """Return the number of workers for each of several processes that run at a time."""
    return max(1, count_cores() // n_processes)


def _read_limit(name: str, most: int, least: int = 1) -> int | None:
    """Return a whole number from the environment; None if it is not set."""
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= most):
        raise EngineError(f"{name} is {text[:40]!r}.", f"Set a whole number from {least} to {most}, or leave it out.")
    return int(text)
