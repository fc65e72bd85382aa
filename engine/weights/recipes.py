"""Recipe of a result: weight files by hash and options by digest, as one string.

Calibrations, galleries and caches store the recipe and refuse values of another one. The digest therefore does not
depend on names in the code: the hashed text uses the names pinned here, in the form that `repr` of the option
dataclasses had for the first calibrations. Classes and modules can be renamed; a new field needs one line in
`ADDED_FIELDS`.
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
    "SpanOptions": (
        "min_frames",
        "break_frames",
        "level_window",
        "level_percentile",
        "least_level",
        "rounds",
        "other",
        "variance",
        "change_cost",
        "least_gain",
        "border_drop",
    ),
    "SignatureOptions": ("smoothing", "limit"),
}
"""Version 1: fields that are always written, in this order, by `recipe_name` of the class. Never change it."""
ADDED_FIELDS: dict[str, dict[str, object]] = {
    "ConsistencyOptions": {"offset_cost": 0.0, "near_offset": 5},
    "GateOptions": {"max_covered": 0.2, "quiet_dbfs": -45.0, "min_still_s": 4.0, "clear_speech_s": 4.0},
}
"""Fields added later with the value of the earlier behaviour; written only if they differ from it."""

IGNORED: Mapping[str, Mapping[str, object]] = {"FaceOptions": {"max_faces": 8}}
"""Fields that change no score, by how they were written in the first recipes."""


def write_recipe(files: Sequence[Path], options: object, labels: Sequence[str] = ()) -> str:
    """Build the recipe from weight files, labels and options; it is a valid folder name."""
    hashes = [f"{path.stem}-{registry.hash_file(path)[:12]}" for path in files]
    return "+".join([*hashes, *labels, f"options-{hash_options(options)}"])


def hash_options(options: object) -> str:
    """Return the digest of options, 8 hexadecimal digits; TypeError for a type or field that is not pinned."""
    return hashlib.sha256(_describe(options).encode()).hexdigest()[:8]


def _describe(value: object) -> str:
    """Return the text of a value that is hashed."""
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
    """Return the text of an option dataclass by its pinned names."""
    name = getattr(options, "recipe_name", "")
    pinned, added = FIELDS.get(name, ()), ADDED_FIELDS.get(name, {})
    values = {field.name: getattr(options, field.name) for field in fields(options)}  # type: ignore[arg-type]
    values |= IGNORED.get(name, {})
    if not pinned or values.keys() != {*pinned, *added}:
        raise TypeError(f"pin the fields of {type(options).__name__} in engine/weights/recipes.py: {', '.join(values)}")
    written = [*pinned, *sorted(field for field in added if values[field] != added[field])]
    return f"{name}({', '.join(f'{field}={_describe(values[field])}' for field in written)})"
