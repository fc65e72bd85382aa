"""Alignment: offset, speed and mirroring of planted motion; the deviation of unrelated motion."""

import numpy as np
import pytest

from engine.motion.alignment import SPEEDS, Line, SuspectSearch, interpolate, measure_chance
from engine.motion.channels import N_CHANNELS, REGIONS, MotionRegion, sum_regions
from engine.motion.signature import MotionSignature, describe_signature
from tests.engine.motion.moving import make_face, make_motion, mirror, play, spoil


def describe(motion: np.ndarray) -> MotionSignature:
    return describe_signature(make_face(motion))


@pytest.mark.parametrize("offset", [0, 1, 40, 137])
@pytest.mark.parametrize("mirrored", [False, True])
def test_finds_a_piece_of_the_candidate(offset: int, mirrored: bool) -> None:
    candidate = make_motion(1, 300)
    piece = spoil(candidate[offset : offset + 100], 0.7)
    found = SuspectSearch(describe(mirror(piece) if mirrored else piece)).find(describe(candidate))
    assert found is not None and found.line == Line(1.0, offset, mirrored)
    assert (found.first, found.last, found.regions) == (0, 100, REGIONS) and found.z > 6


@pytest.mark.parametrize("offset", [30, 100])
def test_finds_a_candidate_within_the_suspect(offset: int) -> None:
    suspect = make_motion(2, 260)
    found = SuspectSearch(describe(suspect)).find(describe(spoil(suspect[offset : offset + 100], 0.5)))
    assert found is not None and found.line == Line(1.0, -offset, False)
    assert offset - 25 < found.first < offset + 25 and offset + 75 < found.last < offset + 125


@pytest.mark.parametrize("speed", [0.8, 25 / 30, 0.9, 0.96, 23.976 / 25, 25 / 24, 1.1, 1.2, 1.25])
def test_finds_the_speed(speed: float) -> None:
    candidate = make_motion(3, 500)
    found = SuspectSearch(describe(spoil(play(candidate[100:350], speed), 0.4))).find(describe(candidate))
    assert found is not None and abs(found.line.speed / speed - 1) < 0.03
    middle = np.array((found.first + found.last) / 2)
    assert abs(found.line.map(middle) - (100 + speed * middle)) < 2


def test_every_speed_from_four_fifths_to_five_fourths_is_near_one_that_is_tried() -> None:
    speeds = np.sort(SPEEDS)
    assert (speeds[0], speeds[-1]) == (0.8, 1.25) and (speeds[1:] / speeds[:-1]).max() < 1.06


def test_long_signatures_are_searched_in_sections() -> None:
    candidate, suspect = make_motion(4, 6000), make_motion(5, 1300)
    suspect[900:1050] = spoil(candidate[4321 : 4321 + 150], 0.3)
    found = SuspectSearch(describe(suspect)).find(describe(candidate))
    assert found is not None and found.line == Line(1.0, 4321 - 900, False)
    assert 880 < found.first < 950 and 1000 <= found.last <= 1075


def test_only_the_eyes_and_the_head_are_found_under_another_mouth() -> None:
    candidate = describe(make_motion(6))
    mouth = candidate.rows.copy()
    columns = slice(int(np.flatnonzero(sum_regions(np.eye(N_CHANNELS))[:, 2])[0]), None)
    mouth[:, columns] = describe(make_motion(7)).rows[:, columns]
    suspect = MotionSignature(0, mouth, candidate.valid, candidate.motion, candidate.covariance)
    found = SuspectSearch(suspect).find(candidate)
    assert (
        found is not None
        and found.regions == (MotionRegion.HEAD, MotionRegion.EYES)
        and found.line == Line(1.0, 0, False)
    )


@pytest.mark.parametrize("n_frames", [10, 24])
def test_less_than_a_block_is_not_searched(n_frames: int) -> None:
    short, long = describe(make_motion(8, n_frames)), describe(make_motion(9))
    assert SuspectSearch(short).find(long) is None and SuspectSearch(long).find(short) is None


def test_products_of_unrelated_motion_have_the_expected_deviation() -> None:
    signatures = [describe(make_motion(seed)) for seed in range(20, 60)]
    z = [
        (one.rows * other.rows).sum() / np.sqrt(250 * measure_chance(one, other, REGIONS))
        for one, other in zip(signatures[::2], signatures[1::2], strict=True)
    ]
    assert abs(np.mean(z)) < 0.7 and 0.6 < np.std(z) < 1.4


def test_a_rest_is_no_agreement() -> None:
    burst, other = make_motion(10), make_motion(11)
    burst[:175] *= 0.001
    other[:175] *= 0.001
    found = SuspectSearch(describe(burst)).find(describe(other))
    assert found is None or found.z < 6


def test_interpolates_rows() -> None:
    rows = np.array([[0.0, 10.0], [1.0, 20.0], [4.0, 30.0]])
    np.testing.assert_allclose(interpolate(rows, np.array([0.5, 2.0, 1.25])), [[0.5, 15.0], [4.0, 30.0], [1.75, 22.5]])
    np.testing.assert_allclose(interpolate(rows[:1], np.array([0.0])), rows[:1])
