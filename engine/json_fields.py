"""How fields of frozen records are written as JSON and read back; importing this imports no pydantic.

A record that is written, read and shown has one definition: its dataclass. `Annotated` fields carry these marks, and a
`pydantic.TypeAdapter` of the dataclass writes and reads it.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Rounded:
    """Write a number with so many decimal digits; null where it is not finite."""

    digits: int

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        written = core_schema.plain_serializer_function_ser_schema(self.write)
        return {**handler(source), "serialization": written}

    def write(self, value: float) -> float | None:
        """Round to a plain float, never -0.0; None where it is not finite."""
        return round(float(value), self.digits) + 0.0 if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class ArrayField:
    """Write a one-dimensional array as a list: floats rounded, not finite ones as null, which is read as NaN."""

    dtype: type[np.generic]
    digits: int = 0

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            lambda values: np.array(values, self.dtype),
            handler.generate_schema(list[int] if issubclass(self.dtype, np.integer) else list[float | None]),
            serialization=core_schema.plain_serializer_function_ser_schema(self.write),
        )

    def write(self, values: np.ndarray) -> list[Any]:
        """List the values."""
        if issubclass(self.dtype, np.integer):
            return [int(value) for value in values]
        return [Rounded(self.digits).write(value) for value in values]


def explain(error: Exception) -> str:
    """Say where in a document the first fault is, and what it is."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return f"{error} is missing" if isinstance(error, KeyError) else str(error)
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)
