"""Run a TFLite network as a PyTorch module, in batches: the networks of faces on CUDA."""

import threading
from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import nn

from engine.faces.litert_nets import Scale
from engine.faces.tflite_reader import Graph, Operator, Tensor, damaged, read_graph
from engine.faces.torch_layers import build_layer, to_channels_first, to_channels_last

MAX_BATCH = 64  # items; bounds the memory of the feature maps


class GraphNet(nn.Module):
    """Layers of a graph in its order: values (B, ...) to each output as (B, n), those with the most values first."""

    def __init__(self, graph: Graph):
        super().__init__()
        tensors, operators = _fold_float16(graph)
        self.layers = nn.ModuleList()
        self.plan: list[tuple[tuple[int, ...], int]] = []  # the tensors that each layer reads and the one it makes
        for operator in operators:
            operands = [tensors[index] for index in operator.inputs]
            self.layers.append(build_layer(operator, operands, tensors[operator.output]))
            inputs = tuple(index for index in operator.inputs if tensors[index].constant is None)
            self.plan.append((inputs, operator.output))
        self.input, self.shapes = graph.input, [tensor.shape for tensor in tensors]
        self.outputs = sorted(graph.outputs, key=lambda index: -prod(self.shapes[index]))
        if not {output for _, output in self.plan}.issuperset(self.outputs):
            raise damaged("an output is a constant")
        self.last_use = {index: step for step, (inputs, _) in enumerate(self.plan) for index in inputs}

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values = {self.input: to_channels_first(x)}
        for step, (layer, (inputs, output)) in enumerate(zip(self.layers, self.plan, strict=True)):
            values[output] = layer(*[values[index] for index in inputs])
            for index in set(inputs):
                if self.last_use[index] == step and index not in self.outputs:
                    del values[index]  # a feature map that no later layer reads
        return tuple(to_channels_last(values[index]).flatten(1) for index in self.outputs)

    def check_shapes(self) -> None:
        """Raise WeightsDamaged unless every layer makes the shape that the file states, for a batch of 2."""
        values = {self.input: to_channels_first(torch.zeros(2, *self.shapes[self.input][1:]))}
        for layer, (inputs, output) in zip(self.layers, self.plan, strict=True):
            values[output] = layer(*[values[index] for index in inputs])
            found, stated = tuple(to_channels_last(values[output]).shape), self.shapes[output]
            if found not in ((2, *stated[1:]), (2, *stated)):  # the second where the file drops the batch
                raise damaged(f"a layer makes the shape {found} and not {stated}")


def build_net(model: bytes) -> GraphNet:
    """Build the module of a TFLite network, float32 on the CPU; raises WeightsDamaged."""
    graph = read_graph(model)
    try:
        with torch.no_grad():
            net = GraphNet(graph)
            net.check_shapes()
    except (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError) as cause:
        raise damaged("its layers do not fit each other") from cause
    return net.eval()


def _fold_float16(graph: Graph) -> tuple[list[Tensor], list[Operator]]:
    """Turn constants that are stored as float16 into float32, without the operators that do so at run time."""
    tensors, operators = list(graph.tensors), []
    for operator in graph.operators:
        if operator.name != "DEQUANTIZE":
            operators.append(operator)
            continue
        stored = tensors[operator.inputs[0]]
        if stored.constant is None or stored.constant.dtype != np.float16:
            raise damaged("the operator DEQUANTIZE is not supported but for a float16 constant")
        tensors[operator.output] = replace(stored, constant=stored.constant.astype(np.float32))
    return tensors, operators


class TorchNetwork:
    """Thread-safe network with one input on a device, in float32 or float16."""

    runs_batches = True

    def __init__(self, model: bytes, scale: Scale, device: str, is_half: bool = False, compiles: bool = False):
        self._dtype = torch.float16 if is_half else torch.float32
        self._net: nn.Module = build_net(model).to(device, self._dtype)
        if compiles:
            self._net.compile(fullgraph=True, dynamic=True)
        self._scale, self._device = scale, device
        self._lock = threading.Lock()  # one call fills the device, and compiling is for one thread

    def run(self, values: np.ndarray) -> list[np.ndarray]:
        """Return each output for a batch (B, ...) as (B, n) float32, the outputs with the most values first."""
        # TF32 rounds as float16 does, and the networks that are not float16 cannot bear it
        with self._lock, torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            parts = [self._run(values[first : first + MAX_BATCH]) for first in range(0, len(values), MAX_BATCH)]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _run(self, values: np.ndarray) -> list[np.ndarray]:
        stored = torch.from_numpy(np.ascontiguousarray(values)).to(self._device)  # uint8 crosses to the device as such
        return [output.float().cpu().numpy() for output in self._net(self._scale(stored.float()).to(self._dtype))]
