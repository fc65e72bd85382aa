"""PyTorch layers for the TFLite operators of the face networks; tensors of rank 4 are NCHW, others as TFLite has them.

The first axis is the batch everywhere; no operator may move, reduce or cut it. Shapes, axes and constants below are
those of the file: NHWC, with a batch of 1.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from engine.errors import WeightsDamaged
from engine.faces.tflite_reader import Operator, Tensor, damaged

SAME, NO_ACTIVATION, RELU = 0, 0, 1
PLACES = (0, 2, 3, 1)  # of the axes of NHWC in NCHW
UNARY: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "RELU": torch.relu,
    "LOGISTIC": torch.sigmoid,
    "NEG": torch.neg,
    "RSQRT": torch.rsqrt,
    "SQRT": torch.sqrt,
}
BINARY: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "ADD": torch.add,
    "SUB": torch.sub,
    "MUL": torch.mul,
    "DIV": torch.div,
    "SQUARED_DIFFERENCE": lambda a, b: (a - b).square(),
}
REDUCTIONS: dict[str, Callable[..., torch.Tensor]] = {"MEAN": torch.mean, "SUM": torch.sum}


def to_channels_first(x: torch.Tensor) -> torch.Tensor:
    """Turn NHWC into NCHW; other ranks stay."""
    return x.permute(0, 3, 1, 2) if x.dim() == 4 else x


def to_channels_last(x: torch.Tensor) -> torch.Tensor:
    """Turn NCHW into NHWC; other ranks stay."""
    return x.permute(0, 2, 3, 1) if x.dim() == 4 else x


def build_layer(operator: Operator, operands: Sequence[Tensor], output: Tensor) -> nn.Module:
    """Build the layer of an operator from its operands; its `forward` takes those that are no constants.

    Raises WeightsDamaged for an operator, option or operand that is not supported.
    """
    name = operator.name
    if operator.options.get("FusedActivationFunction", NO_ACTIVATION) not in (NO_ACTIVATION, RELU):
        raise unsupported(name, "its activation")
    if name not in BUILDERS:
        raise damaged(f"the operator {name} is not supported")
    layer = BUILDERS[name](operator, operands, output)
    return Rectified(layer) if operator.options.get("FusedActivationFunction") == RELU else layer


def unsupported(name: str, what: str) -> WeightsDamaged:
    """Create the error for an operand or option that no layer here has."""
    return damaged(f"{what} of the operator {name} is not supported")


class Rectified(nn.Module):
    """ReLU of another layer's output."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layer(*values))


class Convolution(nn.Module):
    """Convolution with TFLite's SAME padding, which is larger at the end than at the start by up to one."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, stride: tuple[int, int], padding: list[int]):
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.stride, self.padding = stride, padding  # left, right, top, bottom
        self.groups = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right, top, bottom = self.padding
        if (left, top) != (right, bottom):
            x, top, left = F.pad(x, self.padding), 0, 0
        return F.conv2d(x, self.weight, self.bias, self.stride, (top, left), groups=self.groups)


class Function(nn.Module):
    """Function of one tensor with fixed arguments."""

    def __init__(self, function: Callable[..., torch.Tensor], *arguments: Any):
        super().__init__()
        self.function, self.arguments = function, arguments

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, *self.arguments)


class Joining(nn.Module):
    """Function of several tensors, of which some are constants: a sum, a product, a concatenation."""

    def __init__(self, function: Callable[..., torch.Tensor], constants: Sequence[torch.Tensor | None], expands: bool):
        super().__init__()
        self.function, self.expands = function, expands
        self.is_constant = [constant is not None for constant in constants]
        for place, constant in enumerate(constants):
            self.register_buffer(f"constant{place}", constant)

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        rest = iter(values)
        operands = [
            self._get_constant(place, values[0]) if constant else next(rest)
            for place, constant in enumerate(self.is_constant)
        ]
        return self.function(*operands)

    def _get_constant(self, place: int, like: torch.Tensor) -> torch.Tensor:
        constant: torch.Tensor = getattr(self, f"constant{place}")
        return constant.expand(like.shape[0], *constant.shape[1:]) if self.expands else constant


def _build_convolution(operator: Operator, operands: Sequence[Tensor], output: Tensor) -> nn.Module:
    weight, bias = _get_constants(operator, operands, 3)
    options = operator.options
    if (options["DilationWFactor"], options["DilationHFactor"]) != (1, 1):
        raise unsupported(operator.name, "the dilation")
    if weight.ndim != 4 or len(operands[0].shape) != 4:
        raise unsupported(operator.name, "the rank")
    padding = _find_padding(options, operands[0].shape, (weight.shape[1], weight.shape[2]))
    stride = options["StrideH"], options["StrideW"]
    is_depthwise = operator.name == "DEPTHWISE_CONV_2D"
    order = (3, 0, 1, 2) if is_depthwise else (0, 3, 1, 2)
    layer = Convolution(_to_float(weight).permute(order), _to_float(bias), stride, padding)
    layer.groups = operands[0].shape[3] if is_depthwise else 1
    return layer


def _find_padding(options: dict[str, int], shape: Sequence[int], kernel: tuple[int, int]) -> list[int]:
    """Return left, right, top and bottom."""
    stride = options["StrideH"], options["StrideW"]
    if min(stride) < 1:
        raise damaged(f"a stride is {min(stride)}")
    if options["Padding"] != SAME:
        return [0, 0, 0, 0]
    total = [
        max((-(-side // step) - 1) * step + size - side, 0)
        for side, step, size in zip(shape[1:3], stride, kernel, strict=True)
    ]
    return [total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2]


def _build_pool(operator: Operator, operands: Sequence[Tensor], output: Tensor) -> nn.Module:
    options = operator.options
    kernel = options["FilterHeight"], options["FilterWidth"]
    if min(kernel) < 1 or any(_find_padding(options, operands[0].shape, kernel)):
        raise unsupported(operator.name, "the padding")
    return Function(F.max_pool2d, kernel, (options["StrideH"], options["StrideW"]))


def _build_prelu(operator: Operator, operands: Sequence[Tensor], output: Tensor) -> nn.Module:
    (slopes,) = _get_constants(operator, operands, 2)
    if slopes.size != slopes.shape[-1]:
        raise unsupported(operator.name, "a slope for each place")
    layer = nn.PReLU(slopes.size)
    layer.weight = nn.Parameter(_to_float(slopes.reshape(-1)), requires_grad=False)
    return layer


def _build_pad(operator: Operator, operands: Sequence[Tensor], output: Tensor) -> nn.Module:
    (amounts,) = _get_constants(operator, operands, 2)
    if amounts.shape != (4, 2) or amounts[0].any() or (amounts < 0).any():
        raise unsupported(operator.name, "the padding")
    if tuple(np.array(operands[0].shape) + amounts.sum(1)) != output.shape:
        raise damaged("a padding does not fit its output")
    return Function(F.pad, [int(amount) for axis in (2, 1, 3) for amount in amounts[axis]])


def _build_reshape(operator: Operator, operands: Sequence[Tensor], output: Tensor) -> nn.Module:
    if operands[0].shape[0] != 1 or output.shape[0] != 1:
        raise unsupported(operator.name, "the batch")
    return Function(_reshape, output.shape[1:])


def _reshape(x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    return to_channels_first(to_channels_last(x).reshape(x.shape[0], *shape))


def _build_transposition(operator: Operator, operands: Sequence[Tensor], output: Tensor) -> nn.Module:
    (order,) = _get_constants(operator, operands, 2)
    if len(operands[0].shape) != 4 or sorted(order.tolist()) != [0, 1, 2, 3] or order[0] != 0:
        raise unsupported(operator.name, "the order")
    return Function(torch.permute, [PLACES[order[axis]] for axis in (0, 3, 1, 2)])


def _build_reduction(operator: Operator, operands: Sequence[Tensor], output: Tensor) -> nn.Module:
    (axes,) = _get_constants(operator, operands, 2)
    rank = len(operands[0].shape)
    places = [_find_axis(operator.name, int(axis), rank) for axis in axes.reshape(-1)]
    if not operator.options["KeepDims"]:
        raise unsupported(operator.name, "the missing axis")
    return Function(REDUCTIONS[operator.name], places, True)


def _build_slice(operator: Operator, operands: Sequence[Tensor], output: Tensor) -> nn.Module:
    begin, end, stride = _get_constants(operator, operands, 4)
    options, shape = operator.options, operands[0].shape
    # the batch stays whole, also where the file drops its axis of 1
    if options["EllipsisMask"] or options["NewAxisMask"] or options["ShrinkAxisMask"] not in (0, 1):
        raise unsupported(operator.name, "the mask")
    if not (begin.shape == end.shape == stride.shape == (len(shape),)) or shape[0] != 1 or (stride != 1).any():
        raise unsupported(operator.name, "the range")
    cuts = [slice(None)] + [
        slice(
            None if options["BeginMask"] >> axis & 1 else int(begin[axis]),
            None if options["EndMask"] >> axis & 1 else int(end[axis]),
        )
        for axis in range(1, len(shape))
    ]
    return Function(_cut, tuple(cuts[axis] for axis in (0, 3, 1, 2)) if len(shape) == 4 else tuple(cuts))


def _cut(x: torch.Tensor, cuts: tuple[slice, ...]) -> torch.Tensor:
    return x[cuts]


def _build_concatenation(operator: Operator, operands: Sequence[Tensor], output: Tensor) -> nn.Module:
    place = _find_axis(operator.name, operator.options["Axis"], len(output.shape))
    constants = [_read_constant(operator, operand, len(output.shape)) for operand in operands]
    return Joining(lambda *values: torch.cat(values, place), constants, expands=True)


def _build_unary(operator: Operator, operands: Sequence[Tensor], output: Tensor) -> nn.Module:
    return Function(UNARY[operator.name])


def _build_binary(operator: Operator, operands: Sequence[Tensor], output: Tensor) -> nn.Module:
    if len(operands) != 2 or np.broadcast_shapes(*(operand.shape for operand in operands)) != output.shape:
        raise unsupported(operator.name, "the shape of an operand")
    constants = [_read_constant(operator, operand, len(output.shape)) for operand in operands]
    return Joining(BINARY[operator.name], constants, expands=False)


def _read_constant(operator: Operator, operand: Tensor, rank: int) -> torch.Tensor | None:
    """Return a constant with as many axes as the output, so that it is broadcast; None for another operand."""
    if operand.constant is None:
        return None
    if operand.constant.ndim > rank:
        raise unsupported(operator.name, "the rank")
    shape = (1,) * (rank - operand.constant.ndim) + operand.constant.shape
    return to_channels_first(_to_float(operand.constant).reshape(shape))


def _get_constants(operator: Operator, operands: Sequence[Tensor], count: int) -> list[np.ndarray]:
    """Return the operands after the first, which have to be constants."""
    constants = [operand.constant for operand in operands[1:] if operand.constant is not None]
    if len(operands) != count or len(constants) != count - 1 or operands[0].constant is not None:
        raise unsupported(operator.name, "the number of constants")
    return constants


def _find_axis(name: str, axis: int, rank: int) -> int:
    """Return the place of an axis of the file, which may be negative and is not the batch."""
    if not 0 < axis % rank == (axis if axis >= 0 else axis + rank):
        raise unsupported(name, f"the axis {axis}")
    return PLACES[axis % rank] if rank == 4 else axis % rank


def _to_float(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))


Builder = Callable[[Operator, Sequence[Tensor], Tensor], nn.Module]
BUILDERS: dict[str, Builder] = {
    "CONV_2D": _build_convolution,
    "DEPTHWISE_CONV_2D": _build_convolution,
    "MAX_POOL_2D": _build_pool,
    "PRELU": _build_prelu,
    "PAD": _build_pad,
    "RESHAPE": _build_reshape,
    "TRANSPOSE": _build_transposition,
    "MEAN": _build_reduction,
    "SUM": _build_reduction,
    "STRIDED_SLICE": _build_slice,
    "CONCATENATION": _build_concatenation,
    **dict.fromkeys(UNARY, _build_unary),
    **dict.fromkeys(BINARY, _build_binary),
}
