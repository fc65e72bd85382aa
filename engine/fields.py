"""Interlaced pictures: two moments in one, line by line. One of them is taken, or every moving edge is a comb.

The two fields of a picture are half a picture's time apart, so a moving mouth is seen twice in it. The field that is
shown first is kept and stretched over the lines of the other; that is the moment that the picture's time tells of.
"""

import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

BOTTOM_FIRST = (3, 4)  # AVFieldOrder: bottom field shown first, whichever is coded first; 0 is unknown
TOP, BOTTOM = 0, 1  # the first line of each field


def find_first_field(field_order: int) -> int:
    """The line at which the field begins that is shown first; where nobody tells, it is the top one."""
    return BOTTOM if field_order in BOTTOM_FIRST else TOP


def take_field(picture: VideoFrame, first_line: int) -> VideoFrame:
    """Every other line of a picture, from `first_line` on: half its height, in its own pixel format and colours.

    The lines of colour belong to the fields in turn as those of brightness do, so they are parted alike.
    """
    field = VideoFrame(picture.width, (picture.height + 1 - first_line) // 2, picture.format.name)
    for source, target in zip(picture.planes, field.planes, strict=True):
        lines = _read_lines(source)[first_line::2][: target.height]
        copied = np.zeros((target.height, target.line_size), np.uint8)
        width = min(lines.shape[1], target.line_size)
        copied[: len(lines), :width] = lines[:, :width]
        copied[len(lines) :] = copied[len(lines) - 1]  # of an odd number of lines of colour
        target.update(copied.tobytes())
    field.colorspace, field.color_range = picture.colorspace, picture.color_range
    return field


def _read_lines(plane: VideoPlane) -> np.ndarray:
    """(height, bytes of a line) uint8."""
    return np.frombuffer(memoryview(plane), np.uint8)[: plane.height * plane.line_size].reshape(
        plane.height, plane.line_size
    )
