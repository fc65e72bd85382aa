"""Printable report: one HTML page without scripts and requests, with curves as plain SVG."""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from engine.calibration.records import Task
from engine.calibration.verbal_scale import HYPOTHESES
from engine.reports.media import has_own_clock, to_file_time
from engine.reports.text import CAUTION, describe_span
from engine.types import Analysis, Span, SpanKind, SyncCurve, TrackReport, Window
from webapp.bundle.contents import BundleContents
from webapp.templates import fill, render
from webapp.views import analysis as views

WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 38  # pixels reserved for labels
N_TICKS = 5


def draw_timeline(
    windows: Sequence[Window],
    duration_s: float,
    unit: str = "score",
    from_s: float = 0.0,
    spans: Sequence[Span] = (),
) -> Markup:
    """Draw the score over video time (s), one point per window, of the part of `duration_s` from `from_s` on.

    Spans in which another voice speaks are shaded.
    """
    points = [((one.start_s + one.end_s) / 2, one.score) for one in windows]
    shaded = [(one.start_s, one.end_s) for one in spans if one.kind == SpanKind.INCONSISTENT]
    across = (from_s, from_s + max(duration_s, 1.0))
    return _draw(points, across, ("time in the video, s", unit), has_dots=True, shaded=shaded)


def draw_curve(curve: SyncCurve) -> Markup:
    """Draw the mean similarity over the AV offset; offsets with too few pairs are omitted."""
    known = np.isfinite(curve.similarity)
    points = [(float(x), float(y)) for x, y in zip(curve.offsets_s[known], curve.similarity[known], strict=True)]
    span = (float(curve.offsets_s[0]), float(curve.offsets_s[-1]))
    return _draw(points, span, ("offset of the sound, s (+ is late)", "mean similarity"))


def _draw(
    points: Sequence[tuple[float, float]],
    across: tuple[float, float],
    titles: tuple[str, str],
    has_dots: bool = False,
    shaded: Sequence[tuple[float, float]] = (),
) -> Markup:
    heights = [y for _, y in points]
    up = (min([0.0, *heights]), max([0.5, *heights]))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - across[0]) / (across[1] - across[0]) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - up[0]) / (up[1] - up[0]) * (HEIGHT - TOP - BOTTOM),
        )

    placed = [place(x, y) for x, y in points]
    return fill(
        "drawing.html",
        "drawing",
        width=WIDTH,
        height=HEIGHT,
        top=TOP,
        right=WIDTH - RIGHT,
        middle=((LEFT + WIDTH - RIGHT) / 2, (HEIGHT - BOTTOM) / 2),
        titles=titles,
        across=[(tick, *place(tick, up[0])) for tick in _choose_ticks(*across)],
        up=[(tick, *place(across[0], tick)) for tick in _choose_ticks(*up)],
        points=placed,
        has_dots=has_dots,
        bands=[(place(start, up[0])[0], *place(end, up[0])) for start, end in shaded],
    )


def _choose_ticks(low: float, high: float) -> list[float]:
    """Return round tick values: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / N_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(step * n, 10) for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render_report(contents: BundleContents) -> str:
    """Render results with both hypotheses, reasons, cautions and environment."""
    analysis, asked = contents.analysis, contents.speakers or ""
    return render(
        "report.html",
        policy=POLICY,
        contents=contents,
        original=_describe_original(contents).items(),
        summary=views.describe_analysis(analysis, is_live=False),
        pair=HYPOTHESES[Task.CONSISTENCY],
        evidence=views.EVIDENCE,
        faces=[_describe_face(track, analysis) for track in analysis.tracks],
        has_own_clock=has_own_clock(analysis.media),
        speaker_pair=HYPOTHESES[Task.IDENTIFICATION if '"search"' in asked else Task.VERIFICATION],
        grounds=_describe_grounds(contents).items(),
        cautions=CAUTION,
    )


def _describe_original(contents: BundleContents) -> dict[str, str]:
    origin = contents.origin or {}
    return {
        "File": contents.name,
        "Size": f"{contents.size_bytes} bytes",
        "SHA-256": f"{contents.sha256} (taken while the file was copied, before any decoder saw it)",
        **{f"Origin, {key.replace('_', ' ')}": _join(value) for key, value in origin.items()},
        "Analysed": f"{contents.finished_at:%Y-%m-%d %H:%M:%S} UTC",
        "Content Credentials (C2PA)": contents.credentials.text,
    }


def _join(value: object) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def _describe_face(track: TrackReport, analysis: Analysis) -> dict[str, object]:
    found, part = track.consistency, (analysis.duration_s, "score", analysis.media.from_s)
    return {
        "described": views.describe_face(track, analysis.media),
        "windows": [
            (one, to_file_time(analysis.media, one.start_s), to_file_time(analysis.media, one.end_s))
            for one in found.windows
        ],
        "timeline": draw_timeline(found.windows, *part, found.spans) if found.windows else "",
        "spans": [describe_span(one) for one in found.spans],
        "curve": "" if found.curve is None else draw_curve(found.curve),
    }


def _describe_grounds(contents: BundleContents) -> dict[str, str]:
    environment = contents.environment
    return {
        "Recipe": contents.analysis.recipe,
        "Calibration": ", ".join(sorted(contents.calibrations)) or "none was in force",
        "Program": f"Wayspeak {environment.get('wayspeak')}, Python {environment.get('python')}",
        "System": str(environment.get("system")),
        **{f"Weights, {name}": digest for name, digest in environment.get("weights", {}).items()},
    }
