"""Channels: regions, parity in a mirrored picture, and the features behind them."""

import numpy as np

from engine.faces.landmark_features import N_MOTION
from engine.faces.landmarker import BLENDSHAPES
from engine.motion.channels import CHANNELS, COLUMNS, GROUP_STARTS, MATRIX, PARITY, POSE, REGION, REGIONS, MotionRegion
from tests.engine.motion.moving import make_motion, mirror


def test_a_mirrored_picture_negates_the_channels_of_odd_parity_only() -> None:
    motion = make_motion(1)
    np.testing.assert_allclose(mirror(motion) @ MATRIX, motion @ MATRIX * PARITY, atol=1e-6)
    assert (PARITY == -1).sum() == 18 and len(CHANNELS) == len(PARITY) == MATRIX.shape[1] == 43


def test_every_feature_that_moves_is_in_a_channel() -> None:
    unused = {name for name, column in COLUMNS.items() if not MATRIX[column].any()}
    still = {"_neutral", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "jawForward"}
    assert unused == still | {"noseSneerLeft", "noseSneerRight"}
    assert list(COLUMNS) == [*BLENDSHAPES, *POSE] and len(COLUMNS) == N_MOTION


def test_regions_are_contiguous_with_even_parity_first() -> None:
    assert [REGIONS[number] for number in REGION[GROUP_STARTS]] == [region for region in MotionRegion for _ in (1, -1)]
    assert PARITY[GROUP_STARTS].tolist() == [1, -1] * 3
    assert (np.diff(REGION) >= 0).all()


def test_gaze_to_the_left_of_the_face_is_one_channel() -> None:
    column = next(i for i, channel in enumerate(CHANNELS) if channel.name == "gazeAcross")
    motion = np.zeros(N_MOTION)
    motion[[COLUMNS["eyeLookOutLeft"], COLUMNS["eyeLookInRight"]]] = 0.4
    assert (motion @ MATRIX)[column] == 0.4
