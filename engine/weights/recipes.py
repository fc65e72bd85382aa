"""Recipe of a result: a string of the weight files by hash and of the options by digest.

Calibrations, galleries and caches keep the recipe, and a value of another recipe is refused. The digest therefore
depends on no name of the code: the text that is hashed is written from the names pinned here, in the form that
`repr` of the option dataclasses had when the first calibrations were made. A class or a module can be renamed; a
field can be added with one line in `ADDED_FIELDS`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path

from engine.weights import registry

FIELDS: Mapping[str, tuple[str, ...]] = {
    "FaceOptions": (
        "detect_every",
        "min_presence",
        "max_gap",
        "min_length",
        "max_faces",
        "cut_difference",
        "cut_ratio",
    ),
    "VoiceOptions": ("threshold", "min_speech_ms", "min_silence_ms", "pad_ms"),
    "ConsistencyOptions": (
        "max_offset",
        "min_pairs",
        "baseline_share",
        "overlap_power",
        "wide_offset",
        "wide_margin",
        "window",
        "hop",
        "path_window",
        "drift_cost",
        "background_offset",
        "peak_reach",
    ),
    "GateOptions": (
        "silence_dbfs",
        "min_length_s",
        "min_speech_s",
        "full_speech_s",
        "min_mouth_seen",
        "min_face_px",
        "full_face_px",
        "min_mouth_motion",
        "max_drift_frames",
        "clear_score",
        "clear_margin",
    ),
    "OpinionOptions": ("clear", "unclear", "max_apart_frames"),
    "EngineOptions": ("faces", "consistency", "gates", "opinions"),
    "EmbeddingOptions": ("lowest",),
}
"""Version 1: the fields that are always written, in this order, by the `recipe_name` of the class. Never change it."""
ADDED_FIELDS: dict[str, dict[str, object]] = {}
"""Fields added later, each with the value that reproduces the behaviour before it; written only where it differs."""


def write_recipe(files: Sequence[Path], options: object, words: Sequence[str] = ()) -> str:
    """Name each weight file by its hash, and all options by theirs; safe as the name of a folder."""
    hashes = [f"{path.stem}-{registry.hash_file(path)[:12]}" for path in files]
    return "+".join([*hashes, *words, f"options-{hash_options(options)}"])


def hash_options(options: object) -> str:
    """Digest of options, 8 hexadecimal digits; TypeError for a type or a field that is not pinned."""
    return hashlib.sha256(_describe(options).encode()).hexdigest()[:8]


def _describe(value: object) -> str:
    """Write a value as the text that is hashed."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_describe, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(_describe, value))}]"
    if is_dataclass(value):
        return _describe_options(value)
    if isinstance(value, int | float | str | bytes | None) and not isinstance(value, Enum):
        return repr(value)
    raise TypeError(f"{value!r} has no pinned text in a recipe")


def _describe_options(options: object) -> str:
    """Write an option dataclass by its pinned names."""
    name = getattr(options, "recipe_name", "")
    pinned, added = FIELDS.get(name, ()), ADDED_FIELDS.get(name, {})
    values = {field.name: getattr(options, field.name) for field in fields(options)}  # type: ignore[arg-type]
    if not pinned or values.keys() != {*pinned, *added}:
        raise TypeError(f"pin the fields of {type(options).__name__} in engine/weights/recipes.py: {', '.join(values)}")
    written = [*pinned, *sorted(field for field in added if values[field] != added[field])]
    return f"{name}({', '.join(f'{field}={_describe(values[field])}' for field in written)})"
