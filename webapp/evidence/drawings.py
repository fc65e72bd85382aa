"""The two curves of a face as plain SVG: for paper, and for readers that run no script."""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from engine.types import SyncCurve, Window
from webapp.templates import fill

WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 38  # pixels kept free for the words
N_TICKS = 5


def draw_timeline(windows: Sequence[Window], duration_s: float, unit: str = "score") -> Markup:
    """Draw the score over the seconds of the video, a point a window."""
    points = [((one.start_s + one.end_s) / 2, one.score) for one in windows]
    return _draw(points, (0.0, max(duration_s, 1.0)), ("time in the video, s", unit), has_dots=True)


def draw_curve(curve: SyncCurve) -> Markup:
    """Draw the mean similarity over the offset of the sound; offsets with too few pairs are left out."""
    known = np.isfinite(curve.similarity)
    points = [(float(x), float(y)) for x, y in zip(curve.offsets_s[known], curve.similarity[known], strict=True)]
    span = (float(curve.offsets_s[0]), float(curve.offsets_s[-1]))
    return _draw(points, span, ("offset of the sound, s (+ is late)", "mean similarity"))


def _draw(
    points: Sequence[tuple[float, float]], across: tuple[float, float], titles: tuple[str, str], has_dots: bool = False
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
    )


def _choose_ticks(low: float, high: float) -> list[float]:
    """Round values within the span: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / N_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(step * n, 10) for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
