"""JSON and terminal text of a search for the source of a motion."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from engine.calibration.records import Task
from engine.calibration.verbal_scale import state
from engine.motion.comparison import SourceComparison, SourceSearch, SourceSegment

DIGITS = 3
NOT_FOUND = "No segment follows it."
STILL = "Its faces hardly move, so it cannot be compared."
CAUTION = (
    "A segment that follows a recording shows where its motion is from. Whether the recording or the clip came first, "
    "and with which intent, the motion does not show."
)


def to_json(found: SourceSearch) -> dict[str, Any]:
    """Build the JSON of `wayspeak source`; times are seconds, `llr` is a log10 likelihood ratio."""
    built: dict[str, Any] = _round(asdict(found))
    for written, recording in zip(built["recordings"], found.recordings, strict=True):
        written["sentence"] = describe_recording(recording)
        for segment, one in zip(written["segments"], recording.segments, strict=True):
            segment["sentence"] = one.sentence
            segment["strength"] = None if one.llr is None else state(one.llr, Task.SOURCE).text
    return built


def describe_recording(one: SourceComparison) -> str:
    """Return one sentence about a recording."""
    if one.is_still:
        return STILL
    if not one.segments:
        return NOT_FOUND
    n = len(one.segments)
    return f"{one.seconds:.1f} s in {n} segment{'s' if n > 1 else ''} follow it."


def list_lines(found: SourceSearch) -> Iterator[str]:
    """Yield the lines of the terminal."""
    yield f"{found.name}: {found.duration_s:.1f} s, compared with {len(found.recordings)} recordings"
    if found.is_still:
        yield f"  {STILL}"
        return
    for recording in found.recordings:
        yield f"{recording.name}: {describe_recording(recording)}"
        for segment in recording.segments:
            yield from _list_segment(segment)
    if found.calibration is None:
        yield "No calibration of this recipe is in force: there are scores, but no likelihood ratios."
    yield CAUTION


def _list_segment(one: SourceSegment) -> Iterator[str]:
    extras = [f"{one.speed:.3f} times its speed"] * (abs(one.speed - 1) > 0.002) + ["mirrored"] * one.mirrored
    at = f"{one.from_s:.2f}-{one.to_s:.2f} s follow {one.source_from_s:.2f}-{one.source_to_s:.2f} s"
    yield "  " + ", ".join([at, f"offset {one.offset_s:+.2f} s", *extras])
    regions = ", ".join(
        f"{region.region} {'follows' if region.follows else 'does not' if region.judged else 'is still'}"
        f" ({region.correlation:.2f})"
        for region in one.regions
    )
    yield f"    {regions}; {one.sentence}"
    if one.llr is not None:
        yield f"    log10 LR {one.llr:+.1f}. {state(one.llr, Task.SOURCE).text}"


def _round(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {name: _round(one) for name, one in value.items()}
    return [_round(one) for one in value] if isinstance(value, list | tuple) else value
