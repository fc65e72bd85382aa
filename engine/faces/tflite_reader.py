"""Read the operators and constants of a TFLite flatbuffer, checking every index, size and type.

The tables are read by the accessors that LiteRT ships, which raise for an offset outside the file; the counts that they
return are bounded here before anything is read by them.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from engine.errors import WeightsDamaged

IDENTIFIER = b"TFL3"
MAX_TENSORS, MAX_OPERANDS, MAX_RANK = 4096, 16, 5
MAX_VALUES = 2**24  # of one tensor
TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 2: np.dtype("<i4")}  # of TensorType
CONV = "Padding StrideW StrideH DilationWFactor DilationHFactor FusedActivationFunction"
OPTIONS = {
    "CONV_2D": ("Conv2DOptions", CONV),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", CONV),
    "MAX_POOL_2D": ("Pool2DOptions", "Padding StrideW StrideH FilterWidth FilterHeight FusedActivationFunction"),
    "CONCATENATION": ("ConcatenationOptions", "Axis FusedActivationFunction"),
    "ADD": ("AddOptions", "FusedActivationFunction"),
    "SUB": ("SubOptions", "FusedActivationFunction"),
    "MUL": ("MulOptions", "FusedActivationFunction"),
    "DIV": ("DivOptions", "FusedActivationFunction"),
    "MEAN": ("ReducerOptions", "KeepDims"),
    "SUM": ("ReducerOptions", "KeepDims"),
    "STRIDED_SLICE": ("StridedSliceOptions", "BeginMask EndMask EllipsisMask NewAxisMask ShrinkAxisMask"),
}
"""Table of options and the fields of it that are read; other operators have none that matter."""


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """Shape as stored, with a batch of 1, and the values of a constant."""

    shape: tuple[int, ...]
    constant: np.ndarray | None = None  # float32, float16 or int32, of that shape


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator; inputs are indices of tensors of the graph, and so is the only output."""

    name: str  # of BuiltinOperator
    inputs: tuple[int, ...]
    output: int
    options: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Operators in the order in which they run."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    input: int
    outputs: tuple[int, ...]


def damaged(what: str) -> WeightsDamaged:
    """Create the error for a network that cannot be read."""
    return WeightsDamaged(f"A face network cannot be read: {what}.", "Reinstall the landmark package.")


def read_graph(model: bytes) -> Graph:
    """Read a network with one input and one subgraph; raises WeightsDamaged."""
    if model[4:8] != IDENTIFIER:
        raise damaged("it is not a TFLite file")
    try:
        return _read(model)
    except (struct.error, ValueError, TypeError, AttributeError, LookupError, OverflowError, MemoryError) as cause:
        raise damaged("its tables lead outside the file") from cause


def _read(model: bytes) -> Graph:
    from ai_edge_litert import schema_py_generated as schema

    root = schema.Model.GetRootAs(model, 0)
    if root.SubgraphsLength() != 1:
        raise damaged(f"it has {root.SubgraphsLength()} subgraphs, not one")
    graph = root.Subgraphs(0)
    tensors = tuple(_read_tensor(root, graph.Tensors(i)) for i in range(_count(graph.TensorsLength(), MAX_TENSORS)))
    operators = tuple(
        _read_operator(schema, root, graph.Operators(i), len(tensors))
        for i in range(_count(graph.OperatorsLength(), MAX_TENSORS))
    )
    inputs = _read_indices(graph.InputsLength, graph.Inputs, len(tensors))
    outputs = _read_indices(graph.OutputsLength, graph.Outputs, len(tensors))
    if len(inputs) != 1 or not outputs:
        raise damaged(f"it has {len(inputs)} inputs and {len(outputs)} outputs")
    _check_order(tensors, operators, inputs[0], outputs)
    return Graph(tensors, operators, inputs[0], outputs)


def _count(found: int, most: int) -> int:
    if found > most:
        raise damaged(f"{found} entries where at most {most} are expected")
    return found


def _read_indices(length: Callable[[], int], get: Callable[[int], Any], n_tensors: int) -> tuple[int, ...]:
    indices = tuple(int(get(i)) for i in range(_count(length(), MAX_OPERANDS)))
    if not all(0 <= index < n_tensors for index in indices):
        raise damaged("it refers to a tensor that it does not have")
    return indices


def _read_tensor(root: Any, tensor: Any) -> Tensor:
    shape = tuple(int(tensor.Shape(i)) for i in range(_count(tensor.ShapeLength(), MAX_RANK)))
    if any(side < 1 for side in shape) or prod(shape) > MAX_VALUES:
        raise damaged(f"a tensor has the shape {shape}")
    kind = TYPES.get(tensor.Type())
    if kind is None:
        raise damaged(f"a tensor has the type {tensor.Type()}")
    if tensor.Sparsity() is not None:
        raise damaged("a tensor is sparse")
    if not 0 <= tensor.Buffer() < root.BuffersLength():
        raise damaged("it refers to a buffer that it does not have")
    buffer = root.Buffers(tensor.Buffer())
    if buffer.DataLength() == 0:
        return Tensor(shape)
    values = np.frombuffer(buffer.DataAsNumpy().tobytes(), kind)
    if values.size != prod(shape):
        raise damaged(f"a constant of the shape {shape} has {values.size} values")
    return Tensor(shape, values.reshape(shape))


def _read_operator(schema: Any, root: Any, operator: Any, n_tensors: int) -> Operator:
    if not 0 <= operator.OpcodeIndex() < root.OperatorCodesLength():
        raise damaged("it refers to an operator code that it does not have")
    code = root.OperatorCodes(operator.OpcodeIndex())
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = next((key for key, value in vars(schema.BuiltinOperator).items() if value == number), f"operator {number}")
    inputs = _read_indices(operator.InputsLength, operator.Inputs, n_tensors)
    outputs = _read_indices(operator.OutputsLength, operator.Outputs, n_tensors)
    if len(outputs) != 1 or not inputs:
        raise damaged(f"{name} has {len(inputs)} inputs and {len(outputs)} outputs")
    return Operator(name, inputs, outputs[0], _read_options(schema, operator, name))


def _read_options(schema: Any, operator: Any, name: str) -> dict[str, int]:
    if name not in OPTIONS:
        return {}
    kind, names = OPTIONS[name]
    stored = operator.BuiltinOptions()
    if stored is None or operator.BuiltinOptionsType() != getattr(schema.BuiltinOptions, kind):
        raise damaged(f"{name} has no {kind}")
    table = getattr(schema, kind)()
    table.Init(stored.Bytes, stored.Pos)
    return {one: int(getattr(table, one)()) for one in names.split()}


def _check_order(
    tensors: tuple[Tensor, ...], operators: tuple[Operator, ...], first: int, outputs: tuple[int, ...]
) -> None:
    """Check that every operand is a constant, the input, or the output of an earlier operator."""
    known = {index for index, tensor in enumerate(tensors) if tensor.constant is not None}
    if first in known:
        raise damaged("its input is a constant")
    known.add(first)
    for operator in operators:
        if not known.issuperset(operator.inputs) or operator.output in known:
            raise damaged(f"{operator.name} reads a tensor before it is computed, or computes one twice")
        known.add(operator.output)
    if not known.issuperset(outputs):
        raise damaged("an output is never computed")
