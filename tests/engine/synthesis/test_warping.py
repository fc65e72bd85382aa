"""Warp of an image: fixed points stay, moved points arrive, uncovered pixels are marked."""

import numpy as np

from engine.synthesis.warping import bend, order_by_depth, span_triangles

SIDE = 40
CORNERS = np.array([(0, 0), (SIDE - 1, 0), (0, SIDE - 1), (SIDE - 1, SIDE - 1)], float)
POINTS = np.vstack([CORNERS, [(20, 20)]])
BOX = (0, 0, SIDE, SIDE)


def ramp() -> np.ndarray:
    """(40, 40, 3) uint8: red encodes x, green encodes y."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    return np.stack([5 * x, 5 * y, np.zeros_like(x)], axis=-1).astype(np.uint8)


def test_points_that_stay_leave_the_picture_as_it_was() -> None:
    bent = bend(ramp(), POINTS, POINTS, span_triangles(POINTS), BOX)
    assert bent.covered.all()
    assert np.array_equal(bent.image, ramp())


def test_each_triangle_moves_by_its_own_affine_map() -> None:
    target = POINTS.copy()
    target[4] = (26, 14)
    bent = bend(ramp(), POINTS, target, span_triangles(POINTS), BOX)
    assert bent.image[14, 26, :2].tolist() == [100, 100], "the middle has come along"
    assert np.abs(bent.image[2, 2].astype(int) - ramp()[2, 2]).max() <= 10, "the corner has stayed"
    middle = (target[4] + CORNERS[0]) / 2  # halfway between the two, in the picture too
    found = bent.image[int(middle[1]), int(middle[0]), :2].astype(int)
    assert np.abs(found - 50).max() <= 5


def test_a_part_of_the_picture_is_drawn_as_the_whole_would_be() -> None:
    target = POINTS.copy()
    target[4] = (26, 14)
    whole = bend(ramp(), POINTS, target, span_triangles(POINTS), BOX)
    part = bend(ramp(), POINTS, target, span_triangles(POINTS), (10, 5, 30, 25))
    assert np.array_equal(part.image, whole.image[5:25, 10:30])


def test_a_hole_has_no_triangle_and_its_pixels_are_uncovered() -> None:
    ring = 20 + 8 * np.array([(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 12, endpoint=False)])
    points = np.vstack([CORNERS, ring])
    whole, pierced = span_triangles(points), span_triangles(points, ring)
    assert 0 < len(pierced) < len(whole)
    bent = bend(ramp(), points, points, pierced, BOX)
    assert not bent.covered[20, 20] and bent.covered[20, 5] and bent.covered[5, 20]


def test_a_triangle_painted_later_hides_an_earlier_one() -> None:
    points = np.array([(0, 0), (39, 0), (0, 39), (39, 39)], float)
    folded = np.array([(0, 0), (39, 0), (0, 39), (2, 2)], float)  # the second triangle lies over the first
    first, second = np.array([[0, 1, 2]]), np.array([[3, 1, 2]])
    on_top = bend(ramp(), points, folded, np.vstack([first, second]), BOX)
    beneath = bend(ramp(), points, folded, np.vstack([second, first]), BOX)
    assert on_top.image[8, 8].tolist() != beneath.image[8, 8].tolist()
    assert beneath.image[8, 8, :2].tolist() == [40, 40]


def test_a_flat_triangle_draws_nothing_and_breaks_nothing() -> None:
    flat = POINTS.copy()
    flat[4] = (20, 0)  # on the upper edge: the triangle above it has no height
    bent = bend(ramp(), POINTS, flat, span_triangles(POINTS), BOX)
    assert bent.covered.all() and bent.image.dtype == np.uint8


def test_the_nearest_triangle_is_painted_last() -> None:
    depths = np.array([5.0, -3.0, 9.0, 0.0])
    points = np.column_stack([np.zeros(12), np.zeros(12), np.repeat(depths, 3)])
    ordered = order_by_depth(np.arange(12).reshape(4, 3), points)
    assert points[ordered[:, 0], 2].tolist() == [9.0, 5.0, 0.0, -3.0]


def test_what_no_triangle_covers_stays_in_the_painted_part() -> None:
    bent = bend(ramp(), POINTS, POINTS, np.array([[0, 1, 4]]), BOX)
    part = np.full((SIDE, SIDE, 3), 77, np.uint8)
    bent.paint(part)
    assert (part[~bent.covered] == 77).all() and np.array_equal(part[bent.covered], ramp()[bent.covered])
    assert 0.2 < bent.covered.mean() < 0.3
