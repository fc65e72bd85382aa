"""Which FFmpeg the packages bring with them, and whether it is one without the known hole.

PyAV and OpenCV each carry their own, so both are asked. CVE-2026-8461 (writing past the end while MagicYUV is decoded)
is closed in 7.1.5, 8.0.3 and 8.1.2.
"""

import ctypes
import re
from importlib import metadata

CLOSED_IN = ((7, 1, 5), (8, 0, 3), (8, 1, 2))  # by branch; every later branch has it

Version = tuple[int, ...]


def read_version(text: str) -> Version:
    """Numbers of a version as FFmpeg tells it, `8.1.2` or `n8.1.2-10-gabc`; empty where it tells none."""
    found = re.match(r"n?(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in found.group(1).split(".")) if found else ()


def is_safe(version: Version) -> bool:
    """Tell whether the hole is closed in this version; one that is not known is not safe."""
    branch = version[:2]
    fixed = [closed for closed in CLOSED_IN if closed[:2] <= branch]
    return bool(fixed) and (branch > fixed[-1][:2] or version >= fixed[-1])


def find_pyav() -> str:
    """FFmpeg's version inside PyAV. Raises ImportError."""
    import av

    return str(getattr(av, "ffmpeg_version_info", ""))


def find_opencv(package: str = "opencv-python-headless") -> str:
    """FFmpeg's version inside OpenCV's package; empty where it carries none. Raises PackageNotFoundError."""
    for file in metadata.files(package) or ():
        if file.name.startswith("libavutil"):
            try:
                tell = ctypes.CDLL(str(file.locate())).av_version_info
            except (OSError, AttributeError):
                return ""
            tell.restype = ctypes.c_char_p
            return (tell() or b"").decode("ascii", "replace")
    return ""
