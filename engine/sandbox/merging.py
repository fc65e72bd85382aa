"""Picture and sound of two files in one, put together by a confined process; what it writes comes over its link."""

import math
from pathlib import Path
from typing import BinaryIO

from engine.containers import identify_container
from engine.errors import Code
from engine.limits import check_file
from engine.sandbox.decoder import Decoder, garbled
from engine.settings import MediaLimits


def merge(picture: Path, sound: Path, merged: BinaryIO, limits: MediaLimits) -> None:
    """Write one file with the picture of the first and the sound of the second, neither decoded.

    Raises UNREADABLE_VIDEO, CODEC_REFUSED, NO_VIDEO and the codes of a limit exceeded; the merged file may then hold
    a part.
    """
    for path in (picture, sound):
        check_file(path, limits)
    note = {"demuxers": [identify_container(picture), identify_container(sound)]}
    with sound.open("rb") as other, Decoder(picture, "merge", note, b"", limits, other.fileno()) as decoder:
        while (message := decoder.receive()).kind == "piece":
            place = message.note.get("at")
            if not isinstance(place, int) or place < 0:
                raise garbled(f"a piece at {str(place)[:20]}")
            if place + len(message.data) > limits.max_bytes:
                raise Code.FILE_TOO_LARGE(
                    f"Picture and sound together have more than the {math.floor(limits.max_bytes / 2**20)} MB allowed.",
                    "Cut the part that matters, and upload that.",
                )
            merged.seek(place)
            merged.write(message.data)
    if message.kind != "end":
        raise garbled(f"{message.kind[:20]!r} where a piece is due")
