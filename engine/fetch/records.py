"""What fetching gives. Importing it imports nothing of the network."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MediaDescription:
    """What a site says of its video; nothing of it has been checked."""

    title: str  # one printable line, to be escaped where it is shown
    duration_s: float | None  # None where the site does not tell
    extractor: str  # which of yt-dlp's extractors read the page
    thumbnail: bytes  # JPEG, PNG, WebP or GIF as it came, told by its first bytes; empty where there is none
    thumbnail_type: str  # "image/jpeg" and so on


@dataclass(frozen=True, slots=True)
class FetchedMedia:
    """A file that was fetched, and where it is from."""

    path: Path  # of a name made here; nothing of it is the site's
    sha256: str  # of the bytes as they were written
    n_bytes: int
    title: str  # one printable line, to be escaped where it is shown
    duration_s: float | None  # as the site tells it; None where it does not
    extractor: str
    final_url: str  # where the media came from after all redirects, without query
    fetched_at: datetime  # UTC, when it was complete
    ytdlp_version: str
    layers: tuple[str, ...]  # what confined the child, see `confinement.Layer`
    parts_sha256: tuple[str, ...] = ()  # of picture and sound, where the site has them apart and this file holds both
