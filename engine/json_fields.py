"""JSON formats for fields of frozen dataclasses; imports pydantic only on use.

The dataclass is the only definition of a record: `Annotated` fields carry these formats, and a `pydantic.TypeAdapter`
of the dataclass writes and reads it.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Rounded:
    """Write a number with `digits` decimals; null if it is not finite."""

    digits: int

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        written = core_schema.plain_serializer_function_ser_schema(self.write)
        return {**handler(source), "serialization": written}

    def write(self, value: float) -> float | None:
        """Round to a float, never -0.0; None if it is not finite."""
        return round(float(value), self.digits) + 0.0 if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class ArrayField:
    """Write a 1-D array as a list: floats rounded, non-finite values as null, which is read as NaN."""

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
    """Describe the first error of a document with its location."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return f"{error} is missing" if isinstance(error, KeyError) else str(error)
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)
