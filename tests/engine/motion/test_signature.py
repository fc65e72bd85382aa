"""Signatures: scale, weights against noise, frames that do not count."""

import numpy as np
import pytest

from engine.faces.landmark_features import N_MOTION
from engine.motion.channels import CHANNELS, N_CHANNELS, REGION
from engine.motion.signature import REACH, describe_signature, find_covariance
from tests.engine.motion.moving import make_face, make_motion


def test_rows_are_velocities_of_unit_variance() -> None:
    found = describe_signature(make_face(make_motion(1), start=7))
    assert (found.start, found.rows.shape, found.seconds) == (7, (250, N_CHANNELS), 10.0)
    np.testing.assert_allclose((found.rows**2).mean(axis=0), 1, atol=0.05)
    rising = np.zeros((100, N_MOTION), np.float32)
    rising[:, -1] = np.clip(np.arange(100) - 50, 0, 10)  # log size rises for 10 frames
    size = next(i for i, channel in enumerate(CHANNELS) if channel.name == "size")
    row = describe_signature(make_face(rising)).rows[:, size]
    assert (row[52:58] > 1).all() and abs(row[:45]).max() == abs(row[66:]).max() == 0


def test_scale_and_level_of_the_motion_do_not_matter() -> None:
    motion = make_motion(2)
    one, other = describe_signature(make_face(motion)), describe_signature(make_face(3 * motion + 5))
    np.testing.assert_allclose(one.rows, other.rows, atol=1e-3)


def test_white_noise_weighs_little_and_motion_above_it_much() -> None:
    noise = np.random.default_rng(3).normal(size=(500, N_MOTION)).astype(np.float32)
    still, moving = (
        describe_signature(make_face(noise)),
        describe_signature(make_face(noise + 20 * make_motion(4, 500))),
    )
    assert still.motion.sum() < 0.35 * N_CHANNELS
    assert moving.motion.sum() > 0.9 * N_CHANNELS
    assert (moving.motion <= np.bincount(REGION) + 0.1).all() and (moving.motion > 0.9 * np.bincount(REGION)).all()


def test_one_jump_does_not_outweigh_the_rest() -> None:
    motion = make_motion(5)
    motion[100:, :] += 50 * motion.std()
    rows = describe_signature(make_face(motion)).rows
    assert abs(rows).max() < 7 and (rows[150:] ** 2).mean() > 0.05


def test_interpolated_frames_and_their_neighbours_are_zero() -> None:
    seen = np.ones(250, bool)
    seen[100:110] = False
    found = describe_signature(make_face(make_motion(6), seen=seen))
    assert np.flatnonzero(~found.valid).tolist() == list(range(98, 112))
    assert not found.rows[~found.valid].any() and found.rows[found.valid].any(axis=1).all()


@pytest.mark.parametrize("n_frames", [1, 3, 30])
def test_short_and_still_tracks_have_no_motion(n_frames: int) -> None:
    found = describe_signature(make_face(np.ones((n_frames, N_MOTION), np.float32)))
    assert not found.rows.any() and found.motion.sum() == 0 and len(found.rows) == n_frames


def test_a_track_that_is_never_seen_has_no_valid_row() -> None:
    found = describe_signature(make_face(make_motion(7, 50), seen=np.zeros(50, bool)))
    assert not found.valid.any() and found.seconds == 0


def test_covariance_of_each_lag() -> None:
    rows = np.random.default_rng(8).normal(size=(60, 3))
    found = find_covariance(rows, 60)
    assert found.shape == (REACH + 1, 3, 3)
    np.testing.assert_allclose(found[4], rows[:-4].T @ rows[4:] / 60)
