"""Run a TFLite network on the CPU by LiteRT, one item at a time."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

MUTING = threading.Lock()  # standard error is global, and several threads may load a network

Scale = Callable[[Any], Any]
"""Arithmetic that turns float32 values, an array or a tensor, into the input of a network."""


class LiteRTNetwork:
    """Thread-safe network with one input: grows to as many interpreters as run at the same time."""

    runs_batches = False

    def __init__(self, model: bytes, scale: Scale, threads: int = 1):
        self._model, self._scale, self._threads = model, scale, threads
        self._idle = [_Interpreter(model, threads)]

    def run(self, values: np.ndarray) -> list[np.ndarray]:
        """Return each output for a batch (B, ...) as (B, n) float32, the outputs with the most values first."""
        try:
            interpreter = self._idle.pop()
        except IndexError:
            interpreter = _Interpreter(self._model, self._threads)
        items = [interpreter.run(self._scale(item[None].astype(np.float32))) for item in values]
        self._idle.append(interpreter)
        return [np.stack([output.ravel() for output in outputs]) for outputs in zip(*items, strict=True)]


class _Interpreter:
    """One LiteRT interpreter with one input; outputs sorted by size, largest first."""

    def __init__(self, model: bytes, threads: int):
        from ai_edge_litert.interpreter import Interpreter

        with _mute_runtime():
            self._interpreter: Any = Interpreter(model_content=model, num_threads=threads)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = self._interpreter.get_output_details()
        self._outputs = [detail["index"] for detail in sorted(outputs, key=lambda d: -int(np.prod(d["shape"])))]

    def run(self, values: np.ndarray) -> list[np.ndarray]:
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(values, dtype=np.float32))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


@contextmanager
def _mute_runtime() -> Iterator[None]:
    """Suppress the runtime's startup message on standard error, which is reserved for error messages."""
    with MUTING:
        sys.stderr.flush()
        kept = os.dup(2)
        with Path(os.devnull).open("wb") as null:
            os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
