"""Interpolate and compare the regions of the mesh."""

import numpy as np

from engine.faces.landmarker import Region


def interpolate_region(start: Region, end: Region, share: float) -> Region:
    """Return the region between two: centre and log side linear, angle the shortest way."""
    centre = start.centre * (1 - share) + end.centre * share
    side_px = start.side_px ** (1 - share) * end.side_px**share
    return Region(centre, side_px, start.angle + share * _turn(start.angle, end.angle))


def measure_shift(a: Region, b: Region) -> float:
    """Return the largest difference of two regions: of centre over side, of log side, of angle in radians."""
    centre = float(np.abs(a.centre - b.centre).max()) / a.side_px
    return max(centre, abs(float(np.log(b.side_px / a.side_px))), abs(_turn(a.angle, b.angle)))


def _turn(start: float, end: float) -> float:
    """Return the shortest turn between two angles, in [-pi, pi)."""
    return (end - start + np.pi) % (2 * np.pi) - np.pi
