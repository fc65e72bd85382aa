"""Shapes and textures of drawn covers: alpha masks (H, W) float32 in [0, 1] and colours (H, W, 3) float32."""

import cv2
import numpy as np

Point = np.ndarray  # (2,) float, pixels
Generator = np.random.Generator


def draw_noise(rng: Generator, height: int, width: int, scale: float) -> np.ndarray:
    """Return smooth noise (H, W) of unit variance with grains of `scale` pixels."""
    coarse = rng.normal(size=(max(2, int(height / scale) + 2), max(2, int(width / scale) + 2))).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def fill_polygon(height: int, width: int, points: np.ndarray) -> np.ndarray:
    """Return the alpha of a polygon (P, 2)."""
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(np.asarray(points) * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    return mask.astype(np.float32) / 255


def fill_capsule(
    height: int, width: int, start: Point, end: Point, radius: float, end_radius: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the alpha of a thick line with round ends, and the distance from its axis over the radius."""
    end_radius = radius if end_radius is None else end_radius
    y, x = np.mgrid[:height, :width]
    along = np.asarray(end, float) - start
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(1e-6, float(along @ along))
    share = np.clip(share, 0, 1)
    distance = np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])
    thickness = radius + (end_radius - radius) * share
    alpha = np.clip(thickness - distance + 0.5, 0, 1).astype(np.float32)
    return alpha, np.clip(distance / np.maximum(thickness, 1e-3), 0, 1)


def fill_ellipse(
    height: int, width: int, centre: Point, radii: tuple[float, float], angle: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the alpha of an ellipse, the distance from its centre over the radius, and that along each axis."""
    y, x = np.mgrid[:height, :width]
    cos, sin = np.cos(angle), np.sin(angle)
    u = ((x - centre[0]) * cos + (y - centre[1]) * sin) / radii[0]
    v = (-(x - centre[0]) * sin + (y - centre[1]) * cos) / radii[1]
    distance = np.hypot(u, v)
    return np.clip((1 - distance) * min(radii) + 0.5, 0, 1).astype(np.float32), np.clip(distance, 0, 1), u, v


def fill_blob(rng: Generator, height: int, width: int, centre: Point, radius: float) -> np.ndarray:
    """Return the alpha of a closed random curve."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    lengths = np.ones(60)
    for wave in range(1, 6):
        lengths += rng.normal(0, 0.18 / wave) * np.cos(wave * angles + rng.uniform(0, 6.3))
    ratio = rng.uniform(0.6, 1.5)
    across, down = radius * ratio * lengths, radius / ratio * lengths
    return fill_polygon(
        height, width, np.column_stack([centre[0] + across * np.cos(angles), centre[1] + down * np.sin(angles)])
    )


def choose_colour(rng: Generator) -> np.ndarray:
    """Return a random RGB colour (3,) in [0, 255], in a third of the cases grey."""
    if rng.random() < 0.35:
        return np.full(3, rng.uniform(5, 250)) + rng.normal(0, 5, 3)
    hsv = np.array([[[rng.integers(180), rng.integers(30, 255), rng.integers(30, 255)]]], np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(float)


def weave_cloth(rng: Generator, height: int, width: int, base: np.ndarray, unit: float) -> np.ndarray:
    """Return cloth of a base colour: plain, striped, checked, dotted or spotted, with folds; `unit` in pixels."""
    cloth = np.tile(np.asarray(base, np.float32), (height, width, 1))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    kind, angle, period = rng.integers(6), rng.uniform(0, np.pi), rng.uniform(0.06, 0.35) * unit
    u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    other = choose_colour(rng)
    waves = np.sin(2 * np.pi * u / period), np.sin(2 * np.pi * v / period)
    if kind == 1:
        pattern = waves[0] > rng.uniform(-0.5, 0.7)
    elif kind == 2:
        pattern = (waves[0] > 0) ^ (waves[1] > 0)
    elif kind == 3:
        pattern = (waves[0] > 0.3) & (waves[1] > 0.3)
    elif kind == 4:
        pattern = draw_noise(rng, height, width, period) > 0.5
    else:
        pattern = np.zeros((height, width), bool)
    alpha = (rng.uniform(0.3, 1) * cv2.GaussianBlur(pattern.astype(np.float32), (0, 0), 0.6))[..., None]
    cloth = cloth * (1 - alpha) + other * alpha
    cloth += draw_noise(rng, height, width, 0.5 * unit)[..., None] * rng.uniform(3, 22)  # folds
    if rng.random() < 0.5:  # knit or pleats
        cloth += np.sin(2 * np.pi * u / (rng.uniform(0.03, 0.08) * unit))[..., None] * rng.uniform(2, 14)
    woven: np.ndarray = cloth + rng.normal(0, rng.uniform(0, 5), (height, width, 1))
    return woven
