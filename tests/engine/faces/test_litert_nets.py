import os
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engine.faces.landmarker import FaceNets
from engine.faces.litert_nets import LiteRTNetwork
from engine.weights import registry


def test_loading_in_threads_leaves_standard_error_where_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: FaceNets.load(registry.face_landmarker()), range(3)))
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_outputs_are_one_row_an_item_and_the_largest_comes_first() -> None:
    with zipfile.ZipFile(registry.face_landmarker()) as bundle:
        network = LiteRTNetwork(bundle.read("face_landmarks_detector.tflite"), lambda x: x / 255.0)
    crops = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3)).astype(np.uint8)
    points, presence, tongue = network.run(crops)
    assert (points.shape, presence.shape, tongue.shape) == ((3, 478 * 3), (3, 1), (3, 1))
    np.testing.assert_array_equal(network.run(crops[1:2])[0], points[1:2])
    assert abs(points[0] - points[1]).max() > 0
