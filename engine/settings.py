"""Where things are and how much is allowed: built once, passed on, never a module global."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_data_path


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What `media.open_clip` accepts, and what the process that decodes for it may use."""

    max_duration_s: float = 900.0
    max_pixels: int = 8_294_400  # 4K UHD
    max_source_frames: int = 108_000  # 15 minutes at 120 pictures a second
    max_bytes: int = 500 * 1024 * 1024
    max_rate_hz: float = 120.0  # pictures a second
    max_streams: int = 4  # of picture and sound
    max_channels: int = 8  # of sound
    max_sound_hz: int = 192_000  # samples a second
    max_memory_bytes: int = 1536 * 1024 * 1024  # address space of the decoding process, its libraries included
    max_cpu_s: int = 1800  # processor time of one pass over the file
    max_stall_s: float = 45.0  # without a sign of progress; a busy machine can keep it waiting


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What `fetch` takes from the web, and how long it waits."""

    max_bytes: int = 500 * 1024 * 1024
    max_duration_s: float = 900.0  # as the site tells it
    describe_s: float = 90.0  # until the site has told what there is
    wall_s: float = 300.0  # of everything
    socket_s: float = 15.0  # without a byte on a connection
    min_bytes_per_s: int = 8_000  # mean over `rate_window_s`, once the media is being sent
    rate_window_s: float = 30.0
    cpu_s: int = 120
    memory_bytes: int = 2 * 1024**3  # of address space
    allow_loopback: bool = False  # for developers: loopback addresses and any port


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How many jobs may wait and run, and how much room they may take."""

    max_queued: int = 20  # of one owner, batches apart
    max_batch: int = 50  # of one owner's batches: what waits of all of them together
    max_running: int = 2  # of one owner
    max_hourly: int | None = None  # of one owner; None: as many as there are, as on one's own machine
    max_bytes: int = 5 * 1024**3  # of the files that are kept for one owner
    min_free_share: float = 0.1  # of the disk; a file is refused where less of it, and less than
    min_free_bytes: int = 20 * 1024**3  # so many bytes, would stay free


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths, device and limits; numbers that change a result live in the stages' own options."""

    data_dir: Path
    device: str = "auto"  # auto: CUDA where there is one, else the CPU
    threads: int = 0  # 0: as many as the machine has
    limits: MediaLimits = field(default_factory=MediaLimits)
    fetch_limits: FetchLimits = field(default_factory=FetchLimits)
    database: str | None = field(default=None, repr=False)  # URL of the gallery; None: a file in the data folder
    queue: QueueLimits = field(default_factory=QueueLimits)

    @classmethod
    def from_env(cls) -> "Settings":
        """WAYSPEAK_DATA, WAYSPEAK_DEVICE, WAYSPEAK_THREADS and WAYSPEAK_DATABASE over the defaults.

        Data stands where the system keeps a user's: on Linux in `wayspeak` under XDG_DATA_HOME or ~/.local/share.
        """
        home = Path(os.environ.get("WAYSPEAK_DATA") or user_data_path("wayspeak", appauthor=False))
        device = os.environ.get("WAYSPEAK_DEVICE", "auto")
        threads = int(os.environ.get("WAYSPEAK_THREADS", "0"))
        allow_loopback = os.environ.get("WAYSPEAK_ALLOW_LOOPBACK_FETCH") == "1"
        fetch_limits = FetchLimits(allow_loopback=allow_loopback)
        return cls(
            home, device, threads, fetch_limits=fetch_limits, database=os.environ.get("WAYSPEAK_DATABASE") or None
        )
