import zipfile
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from engine.errors import WeightsDamaged
from engine.faces.landmarker import DETECTOR, MESH, SHAPES
from engine.faces.tflite_reader import Operator, read_graph
from engine.weights import registry
from tests.engine.faces.tflite_files import pack, write_model

SHAPE = (1, 4, 6, 3)


@pytest.fixture(scope="module")
def models() -> dict[str, bytes]:
    with zipfile.ZipFile(registry.face_landmarker()) as bundle:
        return {name: bundle.read(name) for name in (DETECTOR, MESH, SHAPES)}


@pytest.mark.parametrize(
    ("name", "shape", "sizes", "operators"),
    [
        (DETECTOR, (1, 128, 128, 3), [896, 14336], {"CONV_2D": 21, "DEPTHWISE_CONV_2D": 16, "PAD": 11}),
        (MESH, (1, 256, 256, 3), [1, 1, 1434], {"CONV_2D": 72, "DEPTHWISE_CONV_2D": 34, "PRELU": 69}),
        (SHAPES, (1, 146, 2), [52], {"CONV_2D": 19, "MEAN": 18, "SQUARED_DIFFERENCE": 8}),
    ],
)
def test_the_networks_are_read_as_they_are(
    models: dict[str, bytes], name: str, shape: tuple[int, ...], sizes: list[int], operators: dict[str, int]
) -> None:
    graph = read_graph(models[name])
    assert graph.tensors[graph.input].shape == shape
    assert sorted(int(np.prod(graph.tensors[index].shape)) for index in graph.outputs) == sizes
    counts = Counter(operator.name for operator in graph.operators)
    assert operators.items() <= counts.items()
    half = [tensor for tensor in graph.tensors if tensor.constant is not None and tensor.constant.dtype == np.float16]
    assert len(half) == counts["DEQUANTIZE"]  # every weight is stored as float16


def test_constants_and_options_are_read() -> None:
    slopes = np.array([[[0.5, -2.0, 3.0]]], np.float32)
    graph = read_graph(write_model("PRELU", [SHAPE, slopes], SHAPE))
    np.testing.assert_array_equal(graph.tensors[1].constant, slopes)
    assert graph.operators == (Operator("PRELU", (0, 1), 2),)
    pool = {"Padding": 1, "StrideW": 2, "StrideH": 3, "FilterWidth": 4, "FilterHeight": 5, "FusedActivationFunction": 1}
    graph = read_graph(write_model("MAX_POOL_2D", [SHAPE], (1, 1, 2, 3), pool))
    assert graph.operators == (Operator("MAX_POOL_2D", (0,), 1, pool),)


def alter(change: Callable[[schema.ModelT], None]) -> bytes:
    """Return the file of a sum of the input and a constant, changed before it is written."""
    model = schema.ModelT.InitFromPackedBuf(write_model("ADD", [SHAPE, np.ones(3, np.float32)], SHAPE))
    change(model)
    return repack(model)


def repack(model: schema.ModelT) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


DAMAGES: dict[str, tuple[Callable[[schema.ModelT], None], str]] = {
    "no graph": (lambda model: model.subgraphs.clear(), "0 subgraphs"),
    "two graphs": (lambda model: model.subgraphs.append(model.subgraphs[0]), "2 subgraphs"),
    "no output": (lambda model: setattr(model.subgraphs[0], "outputs", []), "0 outputs"),
    "two inputs": (lambda model: setattr(model.subgraphs[0], "inputs", [0, 0]), "2 inputs"),
    "a constant as input": (lambda model: setattr(model.subgraphs[0], "inputs", [1]), "input is a constant"),
    "an unknown tensor": (lambda model: setattr(model.subgraphs[0], "outputs", [9]), "a tensor that it does not have"),
    "an optional tensor": (
        lambda model: setattr(model.subgraphs[0].operators[0], "inputs", [0, -1]),
        "a tensor that it does not have",
    ),
    "an operator of itself": (lambda model: setattr(model.subgraphs[0].operators[0], "inputs", [0, 2]), "before it is"),
    "one tensor twice": (
        lambda model: model.subgraphs[0].operators.append(model.subgraphs[0].operators[0]),
        "or computes one twice",
    ),
    "an output of nothing": (lambda model: model.subgraphs[0].operators.clear(), "never computed"),
    "two outputs": (lambda model: setattr(model.subgraphs[0].operators[0], "outputs", [2, 2]), "2 outputs"),
    "an unknown code": (lambda model: setattr(model.subgraphs[0].operators[0], "opcodeIndex", 7), "operator code"),
    "no options": (lambda model: setattr(model.subgraphs[0].operators[0], "builtinOptions", None), "no AddOptions"),
    "an unknown buffer": (lambda model: setattr(model.subgraphs[0].tensors[1], "buffer", 5), "a buffer that"),
    "a short constant": (lambda model: setattr(model.subgraphs[0].tensors[1], "shape", [4]), "has 3 values"),
    "a side of nothing": (lambda model: setattr(model.subgraphs[0].tensors[0], "shape", [1, 0, 6, 3]), "the shape"),
    "a huge tensor": (lambda model: setattr(model.subgraphs[0].tensors[0], "shape", [1, 9999, 9999, 9]), "the shape"),
    "too many axes": (lambda model: setattr(model.subgraphs[0].tensors[0], "shape", [1] * 9), "9 entries"),
    "text": (lambda model: setattr(model.subgraphs[0].tensors[0], "type", 5), "the type 5"),
    "a sparse tensor": (
        lambda model: setattr(model.subgraphs[0].tensors[0], "sparsity", schema.SparsityParametersT()),
        "sparse",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_graph_is_refused_with_its_damage(name: str) -> None:
    change, text = DAMAGES[name]
    with pytest.raises(WeightsDamaged, match=text):
        read_graph(alter(change))


def test_the_undamaged_graph_is_read() -> None:
    assert read_graph(alter(lambda model: None)).operators[0].name == "ADD"


def test_thousands_of_tensors_are_refused() -> None:
    graph = schema.SubGraphT()
    tensor = schema.TensorT()
    tensor.shape = [1]
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor] * 4097, [0], [1], []
    with pytest.raises(WeightsDamaged, match="4097 entries"):
        read_graph(pack(graph, [schema.BufferT()], "ADD"))


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"not a network", b"\x00" * 64, b"\xff\xff\xff\xffTFL3" + b"\xff" * 64]
)
def test_a_file_of_another_kind_is_refused(content: bytes) -> None:
    with pytest.raises(WeightsDamaged, match="face network cannot be read"):
        read_graph(content)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_network_is_refused(models: dict[str, bytes], share: float) -> None:
    for model in models.values():
        with pytest.raises(WeightsDamaged):
            read_graph(model[: int(share * len(model))])
