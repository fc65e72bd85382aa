from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from engine.errors import WeightsDamaged
from engine.faces.litert_nets import LiteRTNetwork
from engine.faces.torch_layers import BINARY, BUILDERS, UNARY
from engine.faces.torch_nets import build_net
from tests.engine.faces.tflite_files import write_model

RNG = np.random.default_rng(0)
SAME, VALID = 0, 1


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def count(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


@dataclass(frozen=True)
class Case:
    """One operator with its operands (a tuple: the input) and the shape of its output."""

    name: str
    operands: tuple[tuple[int, ...] | np.ndarray, ...]
    output: tuple[int, ...]
    options: dict[str, int] = field(default_factory=dict)

    def write(self) -> bytes:
        return write_model(self.name, self.operands, self.output, self.options)


def convolve(name: str, side: int, kernel: int, stride: int, padding: int, activation: int = 0) -> Case:
    """A convolution of `side` rows and one column more."""
    is_plain = name == "CONV_2D"
    weight = draw(5, kernel, kernel, 3) if is_plain else draw(1, kernel, kernel, 3)
    rows, columns = (
        -(-length // stride) if padding == SAME else (length - kernel) // stride + 1 for length in (side, side + 1)
    )
    channels = 5 if is_plain else 3
    options = {"Padding": padding, "StrideW": stride, "StrideH": stride, "DilationWFactor": 1, "DilationHFactor": 1}
    operands = ((1, side, side + 1, 3), weight, draw(channels))
    return Case(name, operands, (1, rows, columns, channels), options | {"FusedActivationFunction": activation})


PLACES = (1, 4, 6, 3)
POOL = {"Padding": VALID, "StrideW": 2, "StrideH": 2, "FilterWidth": 2, "FilterHeight": 2}
CONVOLUTIONS = [(8, 3, 1, SAME), (8, 3, 2, SAME), (9, 3, 2, SAME), (8, 5, 2, SAME), (8, 5, 2, VALID), (6, 1, 1, VALID)]
CASES: dict[str, Case] = {
    **{
        f"{name}, {kernel} by {stride} of {side}, {'same' if padding == SAME else 'valid'}": convolve(
            name, side, kernel, stride, padding
        )
        for name in ("CONV_2D", "DEPTHWISE_CONV_2D")
        for side, kernel, stride, padding in CONVOLUTIONS
    },
    "a convolution with ReLU": convolve("CONV_2D", 8, 3, 1, SAME, activation=1),
    "pooling": Case("MAX_POOL_2D", (PLACES,), (1, 2, 3, 3), POOL),
    "PReLU": Case("PRELU", (PLACES, draw(1, 1, 3)), PLACES),
    "padding of channels": Case("PAD", (PLACES, np.array([[0, 0], [0, 0], [0, 0], [0, 5]], np.int32)), (1, 4, 6, 8)),
    "padding of all sides": Case("PAD", (PLACES, np.array([[0, 0], [1, 2], [3, 0], [0, 1]], np.int32)), (1, 7, 9, 4)),
    "places in a row": Case("RESHAPE", (PLACES, count(1, 24, 3)), (1, 24, 3)),
    "channels apart": Case("RESHAPE", (PLACES, count(1, 36, 2)), (1, 36, 2)),
    "a row in places": Case("RESHAPE", ((1, 24, 3), count(1, 4, 6, 3)), PLACES),
    "width and channels": Case("TRANSPOSE", (PLACES, count(0, 1, 3, 2)), (1, 4, 3, 6)),
    "height and width": Case("TRANSPOSE", (PLACES, count(0, 2, 1, 3)), (1, 6, 4, 3)),
    "mean of channels": Case("MEAN", (PLACES, count(3)), (1, 4, 6, 1), {"KeepDims": 1}),
    "mean of places": Case("MEAN", (PLACES, count(1, 2)), (1, 1, 1, 3), {"KeepDims": 1}),
    "sum of the last but one": Case("SUM", ((1, 5, 2), count(-2)), (1, 1, 2), {"KeepDims": 1}),
    "a part": Case(
        "STRIDED_SLICE",
        (PLACES, count(0, 1, 0, 0), count(0, 3, 2, 0), count(1, 1, 1, 1)),
        (1, 2, 2, 3),
        {"BeginMask": 13, "EndMask": 9},
    ),
    "no batch": Case(
        "STRIDED_SLICE",
        ((1, 7), count(0, 0), count(1, 7), count(1, 1)),
        (7,),
        {"BeginMask": 2, "EndMask": 2, "ShrinkAxisMask": 1},
    ),
    "a token first": Case("CONCATENATION", (draw(1, 4, 1, 3), PLACES), (1, 4, 7, 3), {"Axis": -2}),
    "by channels": Case("CONCATENATION", (PLACES, draw(1, 4, 6, 2)), (1, 4, 6, 5), {"Axis": 3}),
    **{f"{name} of a channel": Case(name, (PLACES, draw(3)), PLACES) for name in BINARY},
    **{f"{name} from a number": Case(name, (draw(), PLACES), PLACES) for name in BINARY},
    "of rows": Case("MUL", ((1, 5, 2), draw(5, 1)), (1, 5, 2)),
    "a sum with ReLU": Case("ADD", (PLACES, draw(3)), PLACES, {"FusedActivationFunction": 1}),
    **{name: Case(name, (PLACES,), PLACES) for name in UNARY},
}


def test_every_operator_has_a_case() -> None:
    assert {case.name for case in CASES.values()} == set(BUILDERS)


@pytest.mark.parametrize("name", CASES)
def test_a_layer_computes_what_litert_does_for_each_of_a_batch(name: str) -> None:
    case = CASES[name]
    shape = next(operand for operand in case.operands if isinstance(operand, tuple))
    values = draw(3, *shape[1:])
    if case.name in ("SQRT", "RSQRT"):
        values = abs(values) + 0.1
    model = case.write()
    (expected,) = LiteRTNetwork(model, lambda x: x).run(values)
    with torch.no_grad():
        (found,) = build_net(model)(torch.from_numpy(values))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert np.abs(expected).max() > 0.05


REFUSED = {
    "an unknown operator": (Case("COS", (PLACES,), PLACES), "operator COS is not"),
    "an unknown activation": (Case("ADD", (PLACES, draw(3)), PLACES, {"FusedActivationFunction": 3}), "activation"),
    "a dilation": (
        Case(
            "CONV_2D",
            (PLACES, draw(5, 3, 3, 3), draw(5)),
            (1, 2, 2, 5),
            {"Padding": 0, "StrideW": 1, "StrideH": 1, "DilationWFactor": 2, "DilationHFactor": 1},
        ),
        "dilation",
    ),
    "no stride": (
        Case(
            "CONV_2D",
            (PLACES, draw(5, 3, 3, 3), draw(5)),
            (1, 2, 2, 5),
            {"StrideW": 0, "StrideH": 1, "DilationWFactor": 1, "DilationHFactor": 1},
        ),
        "stride is 0",
    ),
    "a pool with padding": (Case("MAX_POOL_2D", ((1, 5, 5, 3),), (1, 3, 3, 3), POOL | {"Padding": SAME}), "padding"),
    "slopes of places": (Case("PRELU", (PLACES, draw(4, 6, 3)), PLACES), "slope"),
    "a padded batch": (Case("PAD", (PLACES, np.array([[1, 0]] + [[0, 0]] * 3, np.int32)), (2, 4, 6, 3)), "padding"),
    "a padding of another size": (Case("PAD", (PLACES, np.zeros((4, 2), np.int32)), (1, 4, 6, 8)), "does not fit"),
    "a moved batch": (Case("TRANSPOSE", (PLACES, count(1, 0, 2, 3)), (4, 1, 6, 3)), "order"),
    "a mean of the batch": (Case("MEAN", (PLACES, count(0)), PLACES, {"KeepDims": 1}), "axis 0"),
    "an axis too many": (Case("MEAN", (PLACES, count(4)), PLACES, {"KeepDims": 1}), "axis 4"),
    "a dropped axis": (Case("MEAN", (PLACES, count(3)), (1, 4, 6), {"KeepDims": 0}), "missing axis"),
    "a wrong shape": (Case("RELU", (PLACES,), (1, 4, 6, 4)), "and not"),
    "a wrong size": (Case("RESHAPE", (PLACES, count(1, 5)), (1, 5)), "do not fit"),
    "operands that do not fit": (Case("ADD", (PLACES, draw(4)), PLACES), "do not fit"),
    "a growing operand": (Case("ADD", ((1, 4, 1, 3), draw(1, 1, 6, 1)), (1, 4, 1, 3)), "shape of an operand"),
    "a step of two": (Case("STRIDED_SLICE", ((1, 8), count(0, 0), count(1, 8), count(1, 2)), (1, 4)), "range"),
    "a new axis": (
        Case("STRIDED_SLICE", ((1, 8), count(0, 0), count(1, 8), count(1, 1)), (1, 1, 8), {"NewAxisMask": 2}),
        "mask",
    ),
    "float32 to dequantise": (Case("DEQUANTIZE", (PLACES,), PLACES), "DEQUANTIZE"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_layer_has_is_named(name: str) -> None:
    case, text = REFUSED[name]
    with pytest.raises(WeightsDamaged, match=text):
        build_net(case.write())
