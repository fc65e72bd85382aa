"""Write TFLite files of one operator, to be run by LiteRT and by our modules."""

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from engine.faces.tflite_reader import OPTIONS

TYPES = {"float32": 0, "float16": 1, "int32": 2}


def write_model(
    name: str,
    operands: Sequence[tuple[int, ...] | np.ndarray],
    output: tuple[int, ...],
    options: dict[str, int] | None = None,
) -> bytes:
    """Return a file with one operator: shapes among the operands are its input, arrays are constants."""
    buffers, tensors = [schema.BufferT()], []
    for operand in (*operands, output):
        tensor = schema.TensorT()
        tensor.name = f"tensor {len(tensors)}".encode()
        tensor.shape = list(operand.shape if isinstance(operand, np.ndarray) else operand)
        if isinstance(operand, np.ndarray):
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(operand.tobytes(), np.uint8)
            tensor.buffer, tensor.type = len(buffers), TYPES[operand.dtype.name]
            buffers.append(buffer)
        tensors.append(tensor)
    graph = schema.SubGraphT()
    graph.tensors = tensors
    graph.inputs = [next(i for i, operand in enumerate(operands) if isinstance(operand, tuple))]
    graph.outputs = [len(operands)]
    graph.operators = [_make_operator(name, len(operands), options or {})]
    return pack(graph, buffers, name)


def pack(graph: Any, buffers: list[Any], name: str) -> bytes:
    """Return the file of a graph with one kind of operator."""
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = 1
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _make_operator(name: str, n_operands: int, options: dict[str, int]) -> Any:
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = list(range(n_operands)), [n_operands]
    if name in OPTIONS:
        kind = OPTIONS[name][0]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        operator.builtinOptions = getattr(schema, f"{kind}T")()
        for key, value in options.items():
            setattr(operator.builtinOptions, key[0].lower() + key[1:], value)
    return operator
