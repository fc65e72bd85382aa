import numpy as np
import pytest

from engine.faces.landmarker import Region
from engine.faces.regions import interpolate_region, measure_shift


def region(x: float, y: float, side_px: float, angle: float) -> Region:
    return Region(np.array([x, y]), side_px, angle)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.6, 1.0])
def test_centre_is_linear_and_side_by_its_logarithm(share: float) -> None:
    found = interpolate_region(region(10, 20, 50, 0.1), region(30, 0, 200, 0.3), share)
    np.testing.assert_allclose(found.centre, (10 + 20 * share, 20 - 20 * share))
    assert found.side_px == pytest.approx(50 * 4**share)
    assert found.angle == pytest.approx(0.1 + 0.2 * share)


@pytest.mark.parametrize(
    ("start", "end", "middle"),
    [(3.0, -3.0, np.pi), (-3.0, 3.0, np.pi), (-0.2, 0.2, 0.0), (1.0, 1.0 + 2 * np.pi, 1.0), (2.9, -2.7, 3.2416)],
)
def test_angle_goes_the_shortest_way(start: float, end: float, middle: float) -> None:
    found = interpolate_region(region(0, 0, 10, start), region(0, 0, 10, end), 0.5).angle
    assert abs(np.exp(1j * found) - np.exp(1j * middle)) < 1e-4


@pytest.mark.parametrize(
    ("other", "shift"),
    [
        (region(100, 80, 50, 3.1), 0.0),
        (region(105, 80, 50, 3.1), 0.1),
        (region(99, 76, 50, 3.1), 0.08),
        (region(100, 80, 50 * np.exp(-0.2), 3.1), 0.2),
        (region(100, 80, 50, -3.1), 2 * np.pi - 6.2),
    ],
)
def test_shift_is_the_largest_difference(other: Region, shift: float) -> None:
    assert measure_shift(region(100, 80, 50, 3.1), other) == pytest.approx(shift)
