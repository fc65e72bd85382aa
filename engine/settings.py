"""Where things are and how much is allowed: built once, passed on, never a module global."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_data_path


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What `media.open_clip` accepts."""

    max_duration_s: float = 900.0
    max_pixels: int = 8_294_400  # 4K UHD
    max_source_frames: int = 120_000
    max_bytes: int = 500 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths, device and limits; numbers that change a result live in the stages' own options."""

    data_dir: Path
    device: str = "auto"  # auto: CUDA where there is one, else the CPU
    threads: int = 0  # 0: as many as the machine has
    limits: MediaLimits = field(default_factory=MediaLimits)

    @classmethod
    def from_env(cls) -> "Settings":
        """WAYSPEAK_DATA, WAYSPEAK_DEVICE and WAYSPEAK_THREADS over the defaults.

        Data stands where the system keeps a user's: on Linux in `wayspeak` under XDG_DATA_HOME or ~/.local/share.
        """
        home = Path(os.environ.get("WAYSPEAK_DATA") or user_data_path("wayspeak", appauthor=False))
        device = os.environ.get("WAYSPEAK_DEVICE", "auto")
        threads = int(os.environ.get("WAYSPEAK_THREADS", "0"))
        return cls(home, device, threads)
