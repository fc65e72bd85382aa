"""Deinterlace frames.

The two fields of an interlaced frame are half a frame interval apart, so moving edges would show as a comb. The field
shown first, which is the one at the presentation time of the frame, is kept and scaled to full height.
"""

import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

BOTTOM_FIRST = (3, 4)  # AVFieldOrder: bottom field shown first, whichever is coded first; 0 is unknown
TOP, BOTTOM = 0, 1  # the first line of each field


def find_first_field(field_order: int) -> int:
    """Return the first line of the field shown first; the top field where the order is unknown."""
    return BOTTOM if field_order in BOTTOM_FIRST else TOP


def extract_field(frame: VideoFrame, first_line: int) -> VideoFrame:
    """Extract every other line from `first_line` on: half the height, the same pixel format and colour space.

    Chroma lines alternate between the fields as luma lines do, so they are split in the same way.
    """
    field = VideoFrame(frame.width, (frame.height + 1 - first_line) // 2, frame.format.name)
    for source, target in zip(frame.planes, field.planes, strict=True):
        lines = _read_lines(source)[first_line::2][: target.height]
        copied = np.zeros((target.height, target.line_size), np.uint8)
        width = min(lines.shape[1], target.line_size)
        copied[: len(lines), :width] = lines[:, :width]
        copied[len(lines) :] = copied[len(lines) - 1]  # for an odd number of chroma lines
        target.update(copied.tobytes())
    field.colorspace, field.color_range = frame.colorspace, frame.color_range
    return field


def _read_lines(plane: VideoPlane) -> np.ndarray:
    """Return the lines of a plane, (height, bytes per line) uint8."""
    return np.frombuffer(memoryview(plane), np.uint8)[: plane.height * plane.line_size].reshape(
        plane.height, plane.line_size
    )
