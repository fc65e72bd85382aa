"""The two curves of a face as plain SVG: for paper, and for readers that run no script."""

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from engine.types import SyncCurve, Window

WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 38  # pixels kept free for the words
N_TICKS = 5


def draw_timeline(windows: Sequence[Window], duration_s: float, unit: str = "score") -> str:
    """Draw the score over the seconds of the video, a point a window."""
    points = [((one.start_s + one.end_s) / 2, one.score) for one in windows]
    return _draw(points, (0.0, max(duration_s, 1.0)), ("time in the video, s", unit), has_dots=True)


def draw_curve(curve: SyncCurve) -> str:
    """Draw the mean similarity over the offset of the sound; offsets with too few pairs are left out."""
    known = np.isfinite(curve.similarity)
    points = [(float(x), float(y)) for x, y in zip(curve.offsets_s[known], curve.similarity[known], strict=True)]
    span = (float(curve.offsets_s[0]), float(curve.offsets_s[-1]))
    return _draw(points, span, ("offset of the sound, s (+ is late)", "mean similarity"))


def _draw(
    points: Sequence[tuple[float, float]], across: tuple[float, float], titles: tuple[str, str], has_dots: bool = False
) -> str:
    heights = [y for _, y in points]
    up = (min([0.0, *heights]), max([0.5, *heights]))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - across[0]) / (across[1] - across[0]) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - up[0]) / (up[1] - up[0]) * (HEIGHT - TOP - BOTTOM),
        )

    placed = [place(x, y) for x, y in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in placed) if has_dots else ""
    axes = "".join(_mark_across(tick, *place(tick, up[0])) for tick in _choose_ticks(*across))
    axes += "".join(_mark_up(tick, *place(across[0], tick)) for tick in _choose_ticks(*up))
    label = escape(f"{titles[1]} over {titles[0]}", quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{axes}<polyline points="{line}"/>{dots}'
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(titles[0])}</text>'
        f'<text x="12" y="{(HEIGHT - BOTTOM) / 2}" transform="rotate(-90 12 {(HEIGHT - BOTTOM) / 2})" '
        f'text-anchor="middle">{escape(titles[1])}</text></svg>'
    )


def _mark_across(value: float, x: float, y: float) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{y:.1f}"/>'
        f'<text x="{x:.1f}" y="{y + 14:.1f}" text-anchor="middle">{value:g}</text>'
    )


def _mark_up(value: float, x: float, y: float) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
    )


def _choose_ticks(low: float, high: float) -> list[float]:
    """Round values within the span: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / N_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(step * n, 10) for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
