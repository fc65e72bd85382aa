import random
import zipfile
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from torch._dynamo.testing import CompileCounter

from engine.errors import WeightsDamaged
from engine.faces import torch_nets
from engine.faces.landmarker import BLENDSHAPE_LANDMARKS, DETECTOR, MESH, SCALES, SHAPES, FaceNets, Region, _letterbox
from engine.faces.litert_nets import LiteRTNetwork
from engine.faces.torch_nets import MAX_BATCH, TorchNetwork, build_net
from engine.media.clip import open_clip
from engine.weights import registry

CLIPS = Path(__file__).parents[3] / ".." / "shared" / "data" / "clips"
SIZES = {DETECTOR: (128, 128, 3), MESH: (256, 256, 3)}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
TURNS = [(0.0, 150.0), (0.3, 180.0), (-0.5, 120.0), (0.0, 320.0)]  # radians, side in pixels


@cache
def read_models() -> dict[str, bytes]:
    with zipfile.ZipFile(registry.face_landmarker()) as bundle:
        return {name: bundle.read(name) for name in SCALES}


@cache
def load_litert() -> FaceNets:
    return FaceNets.load(registry.face_landmarker())


@cache
def run_litert(name: str) -> list[np.ndarray]:
    return LiteRTNetwork(read_models()[name], SCALES[name]).run(draw_inputs(name))


def list_regions() -> list[Region]:
    return [Region(np.array([224.0, 130.0]), side, angle) for angle, side in TURNS]


@cache
def draw_inputs(name: str) -> np.ndarray:
    """Return inputs of a network: faces in several views, then noise."""
    rng, portrait = np.random.default_rng(0), data.astronaut()
    if name == SHAPES:
        meshes = load_litert().place_landmarks_batch([portrait] * len(TURNS), list_regions())
        faces = np.stack([mesh.landmarks[BLENDSHAPE_LANDMARKS, :2] for mesh in meshes])
        moved = [faces, 3 * faces + 900, faces + rng.normal(0, 2, faces.shape), rng.uniform(0, 200, faces.shape)]
        return np.concatenate(moved).astype(np.float32)
    noise = rng.integers(0, 256, (2, *SIZES[name])).astype(np.uint8)
    if name == DETECTOR:
        views = [portrait, portrait[:300, :400], np.rot90(portrait), 255 - portrait]
        return np.concatenate([np.stack([_letterbox(view) for view in views]), noise])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crops = [cv2.warpAffine(portrait, region.to_image(), (256, 256), flags=flags) for region in list_regions()]
    return np.concatenate([np.stack([*crops, *(crop[:, ::-1] for crop in crops)]), noise])


def squash(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(float).clip(-80, 80)))


@pytest.mark.parametrize("device", DEVICES)
def test_the_detector_finds_what_litert_finds(device: str) -> None:
    places, logits = TorchNetwork(read_models()[DETECTOR], SCALES[DETECTOR], device).run(draw_inputs(DETECTOR))
    expected_places, expected_logits = run_litert(DETECTOR)
    np.testing.assert_allclose(squash(logits), squash(expected_logits), rtol=0, atol=1e-4)
    np.testing.assert_allclose(places, expected_places, rtol=0, atol=128 * 1e-4)
    assert (squash(expected_logits) > 0.5).any(1).sum() >= 2  # views in which a face is found


@pytest.mark.parametrize("device", DEVICES)
def test_the_mesh_places_points_as_litert_does(device: str) -> None:
    points, presence, tongue = TorchNetwork(read_models()[MESH], SCALES[MESH], device).run(draw_inputs(MESH))
    expected_points, expected_presence, expected_tongue = run_litert(MESH)
    np.testing.assert_allclose(points, expected_points, rtol=0, atol=256 * 1e-5)
    np.testing.assert_allclose(squash(presence), squash(expected_presence), rtol=0, atol=1e-4)
    np.testing.assert_allclose(tongue, expected_tongue, rtol=0, atol=1e-4)
    assert squash(expected_presence).min() < 0.1 and (squash(expected_presence) > 0.9).sum() >= 6


@pytest.mark.parametrize("device", DEVICES)
def test_blendshapes_are_those_of_litert(device: str) -> None:
    (shapes,) = TorchNetwork(read_models()[SHAPES], SCALES[SHAPES], device).run(draw_inputs(SHAPES))
    np.testing.assert_allclose(shapes, run_litert(SHAPES)[0], rtol=0, atol=1e-4)
    assert shapes.max(0).max() > 0.5


@pytest.mark.parametrize("device", DEVICES)
def test_the_mesh_in_float16_places_points_of_faces_within_a_thousandth_of_its_input(device: str) -> None:
    faces = slice(0, 2 * len(TURNS))  # not noise
    network = TorchNetwork(read_models()[MESH], SCALES[MESH], device, is_half=True)
    points, presence, _ = network.run(draw_inputs(MESH)[faces])
    expected_points, expected_presence, _ = (output[faces] for output in run_litert(MESH))
    assert points.dtype == np.float32
    assert 0 < abs(points - expected_points).max() < 256 * 1e-3
    np.testing.assert_allclose(squash(presence), squash(expected_presence), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", SCALES)
def test_a_batch_is_each_of_it_alone_and_may_be_larger_than_fits_the_device_at_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = TorchNetwork(read_models()[name], SCALES[name], "cpu")
    inputs = draw_inputs(name)
    together = network.run(inputs)
    alone = [network.run(inputs[i : i + 1]) for i in range(len(inputs))]
    sizes: list[int] = []
    network._net.register_forward_pre_hook(lambda net, values: sizes.append(len(values[0])))
    monkeypatch.setattr(torch_nets, "MAX_BATCH", 4)
    divided = network.run(inputs)
    assert sizes == [4] * (len(inputs) // 4) + [len(inputs) % 4] * (len(inputs) % 4 > 0)
    for place, output in enumerate(together):
        assert len(output) == len(inputs) <= MAX_BATCH
        np.testing.assert_allclose(output, np.concatenate([one[place] for one in alone]), rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(output, divided[place], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", SCALES)
def test_a_network_is_one_graph_for_any_batch(name: str) -> None:
    net, counter = build_net(read_models()[name]), CompileCounter()
    compiled = torch.compile(net, backend=counter, fullgraph=True, dynamic=True)
    values = SCALES[name](torch.from_numpy(draw_inputs(name)[:5]).float())
    with torch.no_grad():
        for size in (2, 3, 5):
            for found, expected in zip(compiled(values[:size]), net(values[:size]), strict=True):
                torch.testing.assert_close(found, expected)
    assert counter.frame_count == 1


def test_the_asked_for_network_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    network = TorchNetwork(read_models()[SHAPES], SCALES[SHAPES], "cpu", compiles=True)
    (shapes,) = network.run(draw_inputs(SHAPES))
    assert counter.frame_count == 1
    np.testing.assert_allclose(shapes, run_litert(SHAPES)[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_faces_are_found_and_placed_as_by_litert(device: str) -> None:
    nets, oracle, portrait = FaceNets.load_torch(read_models(), device), load_litert(), data.astronaut()
    for found, expected in zip(
        nets.find_faces(portrait, closely=True), oracle.find_faces(portrait, closely=True), strict=True
    ):
        assert found.score == pytest.approx(expected.score, abs=1e-3)
        np.testing.assert_allclose(found.box, expected.box, atol=0.05)
    regions = list_regions()
    meshes = nets.place_landmarks_batch([portrait] * len(regions), regions)
    for mesh, region in zip(meshes, regions, strict=True):
        expected_mesh = oracle.place_landmarks(portrait, region)
        assert mesh.presence == pytest.approx(expected_mesh.presence, abs=1e-3)
        np.testing.assert_allclose(mesh.landmarks, expected_mesh.landmarks, atol=region.side_px * 1e-3)
        shapes = nets.read_blendshapes(expected_mesh.landmarks)
        np.testing.assert_allclose(shapes, oracle.read_blendshapes(expected_mesh.landmarks), atol=1e-4)


def test_another_device_than_the_cpu_takes_the_modules_and_half_precision_for_the_mesh_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[int, tuple[Any, ...], dict[str, Any]]] = []

    class Recorder:
        def __init__(self, model: bytes, scale: Any, *rest: Any, **named: Any) -> None:
            made.append((len(model), rest, named))

    monkeypatch.setattr(torch_nets, "TorchNetwork", Recorder)
    assert isinstance(FaceNets.load(registry.face_landmarker())._mesh, LiteRTNetwork) and not made
    FaceNets.load(registry.face_landmarker(), device="cuda", compiles=True)
    sizes = [len(read_models()[name]) for name in (DETECTOR, MESH, SHAPES)]
    assert made == [
        (size, ("cuda",), {"is_half": is_half, "compiles": True})
        for size, is_half in zip(sizes, (False, True, False), strict=True)
    ]


@pytest.mark.parametrize("name", SCALES)
def test_a_network_with_damaged_bytes_is_read_or_refused(name: str) -> None:
    model, rng, n_refused = read_models()[name], random.Random(name), 0
    for _ in range(40 if name == MESH else 130):
        damaged = bytearray(model)
        for _ in range(rng.choice((1, 3, 20))):
            reach = rng.choice((200, 4000, len(model)))  # tables are at both ends, weights in the middle
            place = rng.randrange(reach)
            damaged[place if rng.random() < 0.5 else -1 - place] = rng.randrange(256)
        try:
            build_net(bytes(damaged[: rng.randrange(len(model))] if rng.random() < 0.1 else damaged))
        except WeightsDamaged as error:
            assert "face network cannot be read" in error.message and error.hint
            n_refused += 1
    assert n_refused > 10


@pytest.mark.skipif(not CLIPS.is_dir(), reason="no recorded clips here")
@pytest.mark.parametrize("path", sorted(CLIPS.glob("*.mp4"))[::600], ids=lambda path: path.stem)
def test_recorded_faces_are_found_and_placed_as_by_litert(path: Path) -> None:
    nets, oracle = FaceNets.load_torch(read_models(), "cpu"), load_litert()
    image = next(iter(open_clip(path).read_frames())).image
    found, expected = nets.find_faces(image), oracle.find_faces(image)
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-3)
    for one in expected:
        mesh, known = nets.place_landmarks(image, one.region()), oracle.place_landmarks(image, one.region())
        assert mesh.presence == pytest.approx(known.presence, abs=1e-3)
        np.testing.assert_allclose(mesh.landmarks, known.landmarks, atol=one.region().side_px * 1e-3)
        shapes = nets.read_blendshapes(known.landmarks)
        np.testing.assert_allclose(shapes, oracle.read_blendshapes(known.landmarks), atol=1e-4)
