"""Draw covers over the mouth of a picture by its landmarks: hands, masks, microphones, scarves, objects, patches."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from engine.training.cover.shapes import (
    Generator,
    Point,
    choose_colour,
    draw_noise,
    fill_blob,
    fill_capsule,
    fill_ellipse,
    fill_polygon,
    weave_cloth,
)

MOUTH = (13, 14, 61, 291, 0, 17)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
JAW = (454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234)
SKIN = (50, 280, 205, 425, 151, 9)
SKIN_TONES = np.array(
    [
        [255, 219, 190],
        [241, 194, 150],
        [224, 172, 120],
        [198, 134, 90],
        [141, 85, 50],
        [90, 56, 37],
        [60, 38, 28],
        [235, 190, 180],
    ],
    float,
)
FACE_SHARE = 0.62  # of the height from forehead to chin: about the distance of the outer eye corners

Layer = tuple[np.ndarray, np.ndarray]
"""Alpha (H, W) and colour (H, W, 3) of a cover."""


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """A picture with the place, size and axes of the mouth in it."""

    rng: Generator
    image: np.ndarray  # (H, W, 3) uint8 RGB
    points: np.ndarray  # (478, 2) float
    centre: Point  # of the cover
    unit: float  # pixels, about the distance of the outer eye corners, steadier when the head turns
    across: Point  # unit vector to the person's left
    down: Point
    spare: np.ndarray  # another picture, to paste from

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def angle(self) -> float:
        """Angle of the line of the eyes."""
        return float(np.arctan2(self.across[1], self.across[0]))

    @property
    def shift(self) -> Point:
        """From the cover to the mouth."""
        moved: Point = self.points[list(MOUTH)].mean(0) - self.centre
        return moved

    def at(self, u: float, v: float) -> Point:
        """Return the point at (u, v) units from the centre in face axes."""
        placed: Point = self.centre + self.unit * (u * self.across + v * self.down)
        return placed

    def flat(self, colour: np.ndarray) -> np.ndarray:
        """Return a picture of one colour."""
        return np.tile(np.asarray(colour, np.float32), (*self.shape, 1))

    def measure(self, origin: Point, axis: Point) -> np.ndarray:
        """Return (H, W): the distance from a point along an axis, in units."""
        y, x = np.mgrid[: self.shape[0], : self.shape[1]]
        distance: np.ndarray = ((x - origin[0]) * axis[0] + (y - origin[1]) * axis[1]) / self.unit
        return distance


def draw_mask(canvas: Canvas) -> Layer:
    """Draw a face mask from the bridge of the nose to the jaw."""
    rng, points = canvas.rng, canvas.points - canvas.shift
    top = 0.45 + 0.5 * rng.uniform(-0.05, 0.5)
    spared = rng.integers(0, 4)
    outline = points[list(JAW[spared : len(JAW) - spared])]
    outline = outline.mean(0) + (outline - outline.mean(0)) * rng.uniform(1.0, 1.08)
    nose = points[6] * (1 - top) + points[4] * top
    outline = np.vstack([outline, (points[117] + points[50]) / 2, nose, (points[346] + points[280]) / 2])
    common = [[120, 170, 205], [235, 238, 240], [25, 25, 28], [150, 190, 170], [225, 190, 165]]
    bases = [*map(np.array, common), choose_colour(rng), choose_colour(rng)]
    cloth = weave_cloth(rng, *canvas.shape, bases[rng.integers(7)] * rng.uniform(0.6, 1.05), canvas.unit)
    if rng.random() < 0.6:  # pleats
        height = canvas.measure(canvas.centre, canvas.down)
        cloth -= (np.abs((height * rng.uniform(2.5, 5)) % 1 - 0.5) < 0.06)[..., None] * rng.uniform(8, 30)
    away = np.hypot(canvas.measure(canvas.centre, canvas.across), canvas.measure(canvas.centre, canvas.down))
    cloth *= np.clip(1.1 - rng.uniform(0.1, 0.4) * away, 0.4, 1.1)[..., None]
    return fill_polygon(*canvas.shape, outline), cloth


def draw_hand(canvas: Canvas) -> Layer:
    """Draw a fist, or fingers laid across the mouth with the back of the hand at one side."""
    rng, unit, shape = canvas.rng, canvas.unit, canvas.shape
    skin = np.clip(_choose_skin(canvas), 15, 250)
    alpha, colour = np.zeros(shape, np.float32), canvas.flat(skin)

    def add(mask: np.ndarray, distance: np.ndarray) -> None:
        nonlocal alpha, colour
        shade = (1 - 0.35 * distance**3) * rng.uniform(0.9, 1.05)
        edge = np.clip((distance - 0.8) * 5, 0, 1)[..., None] * rng.uniform(10, 35)
        colour = colour * (1 - mask[..., None]) + mask[..., None] * (skin * shade[..., None] - edge)
        alpha = np.maximum(alpha, mask)

    style, side = rng.integers(4), rng.choice([-1, 1])
    turn = rng.uniform(-0.5, 0.5) + (0 if side > 0 else np.pi)
    along = np.cos(turn) * canvas.across + np.sin(turn) * canvas.down
    beside = np.array([-along[1], along[0]])
    centre = canvas.at(rng.normal(0, 0.08), rng.normal(0, 0.08))
    if style == 0:
        radii = rng.uniform(0.3, 0.45) * unit, rng.uniform(0.25, 0.36) * unit
        add(*fill_ellipse(*shape, centre, radii, canvas.angle + rng.normal(0, 0.4))[:2])
        for finger in range(4):
            knuckle = centre + unit * ((finger - 1.5) * 0.15 * canvas.across - 0.08 * canvas.down)
            ends = knuckle - 0.1 * unit * canvas.down, knuckle + 0.12 * unit * canvas.down
            add(*fill_capsule(*shape, *ends, 0.075 * unit))
        wrist = centre + unit * (1.4 * canvas.down + rng.normal(0, 0.3) * canvas.across)
        add(*fill_capsule(*shape, centre + 0.2 * unit * canvas.down, wrist, 0.25 * unit, 0.22 * unit))
    else:
        width, length, n_fingers = rng.uniform(0.13, 0.19) * unit, rng.uniform(0.5, 0.9) * unit, rng.integers(2, 5)
        root = centre - along * length * rng.uniform(0.6, 1.0)
        angle = float(np.arctan2(along[1], along[0]))
        add(*fill_ellipse(*shape, root - 0.25 * unit * along, (0.4 * unit, 0.36 * unit), angle)[:2])
        for finger in range(n_fingers):
            place = finger - (n_fingers - 1) / 2
            start = root + beside * (width * 1.85 * place + rng.normal(0, 0.01) * unit)
            tip = start + along * length * rng.uniform(1.3, 1.9) + beside * place * rng.uniform(0, 0.12) * unit
            add(*fill_capsule(*shape, start, tip, width * rng.uniform(0.9, 1.1), width * 0.75))
            if rng.random() < 0.6:  # the nail
                nail = fill_ellipse(*shape, tip - along * width * 0.1, (width * 0.5, width * 0.4), angle)[0][..., None]
                colour = colour * (1 - 0.5 * nail) + 0.5 * nail * (skin * 0.8 + 60)
        if style == 3:
            elbow = root - 2 * unit * along + canvas.down * rng.normal(0.3, 0.5) * unit
            add(*fill_capsule(*shape, root - 0.4 * unit * along, elbow, 0.28 * unit, 0.24 * unit))
    return alpha, colour + draw_noise(rng, *shape, 0.12 * unit)[..., None] * rng.uniform(1, 7)


def draw_microphone(canvas: Canvas) -> Layer:
    """Draw a foam ball or a grille with a handle."""
    rng, unit, shape = canvas.rng, canvas.unit, canvas.shape
    radius, centre = rng.uniform(0.2, 0.42) * unit, canvas.at(rng.normal(0, 0.08), rng.uniform(-0.03, 0.18))
    angle = canvas.angle + rng.normal(0, 0.3)
    alpha, distance, u, v = fill_ellipse(*shape, centre, (radius, radius * rng.uniform(0.9, 1.4)), angle)
    bases = [np.array([25, 25, 27]), np.array([70, 70, 75]), np.array([150, 150, 155]), choose_colour(rng)]
    colour = bases[rng.integers(4)] * (1.15 - 0.6 * distance[..., None] ** 2)
    colour = colour + np.exp(-((u + 0.3) ** 2 + (v + 0.35) ** 2) / 0.08)[..., None] * rng.uniform(0, 60)
    if rng.random() < 0.5:  # grille
        period = rng.uniform(0.04, 0.09) * unit
        y, x = np.mgrid[: shape[0], : shape[1]]
        grid = np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period)
        colour = colour + grid[..., None] * rng.uniform(5, 35)
    else:
        colour = colour + rng.normal(0, rng.uniform(3, 14), (*shape, 1))
    turn = np.pi / 2 + rng.normal(0, 0.6)
    along = np.cos(turn) * canvas.across + np.sin(turn) * canvas.down
    ends = centre + 0.8 * radius * along, centre + rng.uniform(1.2, 2.5) * unit * along
    handle, depth = fill_capsule(*shape, *ends, rng.uniform(0.08, 0.16) * unit)
    bases = [np.array([20, 20, 22]), np.array([90, 90, 95]), choose_colour(rng)]
    colour = np.where((alpha > 0.5)[..., None], colour, bases[rng.integers(3)] * (1 - 0.4 * depth[..., None]))
    return np.maximum(alpha, handle), colour


def draw_scarf(canvas: Canvas) -> Layer:
    """Draw cloth from above the upper lip to below the chin, with a wavy edge."""
    rng = canvas.rng
    across = np.linspace(-1.6, 1.6, 25)
    edge = rng.uniform(-0.42, -0.16) + np.cumsum(rng.normal(0, 0.02, 25)) + rng.normal(0, 0.12) * across
    edge += rng.uniform(0, 0.12) * across**2
    outline = [canvas.at(u, v) for u, v in zip(across, edge, strict=True)]
    cloth = weave_cloth(rng, *canvas.shape, choose_colour(rng), canvas.unit)
    height, side = canvas.measure(canvas.centre, canvas.down), canvas.measure(canvas.centre, canvas.across)
    folds = np.sin(height * rng.uniform(5, 14) + side**2 * rng.uniform(-3, 3) + rng.uniform(0, 6))
    cloth += folds[..., None] * rng.uniform(5, 25)
    return fill_polygon(*canvas.shape, np.array([*outline, canvas.at(1.7, 2.6), canvas.at(-1.7, 2.6)])), cloth


def draw_object(canvas: Canvas) -> Layer:
    """Draw a phone, book, paper or cup: a rectangle with lines of print, a gradient or a round shade."""
    rng = canvas.rng
    centre, size = (
        canvas.at(rng.normal(0, 0.15), rng.uniform(-0.05, 0.3)),
        (rng.uniform(0.35, 1.0), rng.uniform(0.28, 0.8)),
    )
    turn = rng.normal(0, 0.5)
    along = np.cos(turn) * canvas.across + np.sin(turn) * canvas.down
    beside = np.array([-along[1], along[0]])
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    outline = np.array([centre + canvas.unit * (along * size[0] * i + beside * size[1] * j) for i, j in corners])
    outline += rng.normal(0, 0.04 * canvas.unit, (4, 2))
    colour = canvas.flat(choose_colour(rng))
    u, v = canvas.measure(centre, along), canvas.measure(centre, beside)
    if rng.random() < 0.5:
        lines = ((v * rng.uniform(5, 14)) % 1 < 0.45) & (np.abs(u) < size[0] * 0.8)
        lines &= draw_noise(rng, *canvas.shape, 0.05 * canvas.unit) > -0.6
        colour = np.where(lines[..., None], choose_colour(rng), colour)
    if rng.random() < 0.4:
        colour = colour + (u * rng.uniform(-60, 60))[..., None]
    if rng.random() < 0.3:
        colour = colour * (0.6 + 0.5 * np.cos(np.clip(u / size[0], -1, 1) * 1.4))[..., None]
    return fill_polygon(*canvas.shape, outline), colour


def draw_plain(canvas: Canvas) -> Layer:
    """Draw a plain, noisy, pixelated or shaded ellipse or rectangle, in a third of the cases of skin."""
    rng, shape = canvas.rng, canvas.shape
    centre, style = canvas.at(rng.normal(0, 0.08), rng.normal(0, 0.08)), rng.integers(5)
    radii = rng.uniform(0.36, 0.8) * canvas.unit, rng.uniform(0.24, 0.6) * canvas.unit
    if rng.random() < 0.5:
        alpha = fill_ellipse(*shape, centre, radii, canvas.angle + rng.normal(0, 0.3))[0]
    else:
        corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
        outline = [centre + canvas.across * radii[0] * i + canvas.down * radii[1] * j for i, j in corners]
        alpha = fill_polygon(*shape, np.array(outline))
    colour = canvas.flat(_choose_skin(canvas) if rng.random() < 0.35 else choose_colour(rng))
    if style == 1:
        colour = colour + rng.normal(0, rng.uniform(5, 60), (*shape, 3))
    elif style == 2:
        cell = max(2, int(rng.uniform(0.14, 0.35) * canvas.unit))
        size = max(1, shape[1] // cell), max(1, shape[0] // cell)
        coarse = cv2.resize(canvas.image, size, interpolation=cv2.INTER_AREA)
        colour = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_NEAREST).astype(np.float32)
    elif style == 3:
        colour = colour + draw_noise(rng, *shape, 0.4 * canvas.unit)[..., None] * rng.uniform(5, 30)
    elif style == 4:
        away = np.hypot(canvas.measure(centre, canvas.across), canvas.measure(centre, canvas.down)) * canvas.unit
        colour = colour * (1 - 0.4 * np.clip(away / radii[0], 0, 1)[..., None] ** 2)
    return alpha, colour


def draw_pasted(canvas: Canvas) -> Layer:
    """Paste a piece of another picture in a random outline."""
    rng = canvas.rng
    centre = canvas.at(rng.normal(0, 0.1), rng.normal(0, 0.1))
    alpha = fill_blob(rng, *canvas.shape, centre, rng.uniform(0.36, 0.75) * canvas.unit)
    zoom, turn = rng.uniform(0.5, 2.5), rng.choice([0.0, 2.0])
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    height, width = canvas.spare.shape[:2]
    from_spare = np.array([[cos, -sin, rng.uniform(-0.3, 0.6) * width], [sin, cos, rng.uniform(-0.3, 0.6) * height]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = canvas.shape[::-1]
    pasted = cv2.warpAffine(canvas.spare, from_spare, size, flags=flags, borderMode=cv2.BORDER_REFLECT)
    return alpha, pasted.astype(np.float32)


def draw_sleeve(canvas: Canvas) -> Layer:
    """Draw an arm in cloth across the mouth."""
    rng = canvas.rng
    turn = rng.uniform(-0.9, 0.9)
    along = np.cos(turn) * canvas.across + np.sin(turn) * canvas.down
    centre = canvas.at(rng.normal(0, 0.06), rng.normal(0.05, 0.08))
    ends = centre - along * rng.uniform(0.6, 1.6) * canvas.unit, centre + along * 3 * canvas.unit
    alpha, distance = fill_capsule(*canvas.shape, *ends, rng.uniform(0.26, 0.45) * canvas.unit)
    cloth = weave_cloth(rng, *canvas.shape, choose_colour(rng), canvas.unit)
    return alpha, cloth * (1.08 - 0.45 * distance[..., None] ** 2)


COVERS: dict[str, Callable[[Canvas], Layer]] = {
    "mask": draw_mask,
    "hand": draw_hand,
    "microphone": draw_microphone,
    "scarf": draw_scarf,
    "object": draw_object,
    "plain": draw_plain,
    "pasted": draw_pasted,
    "sleeve": draw_sleeve,
}


def cover_mouth(
    rng: Generator,
    image: np.ndarray,
    landmarks: np.ndarray,
    kind: str,
    spare: np.ndarray | None = None,
    shift: tuple[float, float] = (0.0, 0.0),
) -> tuple[np.ndarray, float]:
    """Draw a cover; return the picture and the share of the lips that it hides. `shift` moves it off the mouth."""
    canvas = _place(rng, image, landmarks, image if spare is None else spare, shift)
    alpha, colour = COVERS[kind](canvas)
    light = canvas.measure(canvas.centre, rng.normal(0, 0.2, 2)) * canvas.unit * rng.uniform(0, 0.8)
    colour = colour + light[..., None]
    brightness = 1.0 if kind == "pasted" else float(np.clip(image.mean() / 115, 0.35, 1.25))
    colour = np.clip(colour * brightness * rng.uniform(0.85, 1.1), 0, 255)
    alpha = cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.5, 1.8))
    under = image.astype(np.float32)
    if rng.random() < 0.5:  # shadow
        moved = np.roll(alpha, (int(0.04 * canvas.unit), int(0.02 * canvas.unit)), (0, 1))
        under *= 1 - rng.uniform(0.1, 0.4) * cv2.GaussianBlur(moved, (0, 0), 0.05 * canvas.unit)[..., None]
    covered = under * (1 - alpha[..., None]) + colour * alpha[..., None]
    lips = fill_polygon(*canvas.shape, canvas.points[list(LIPS)])
    hidden = float((lips * alpha).sum() / max(1e-6, lips.sum()))
    return np.clip(covered, 0, 255).astype(np.uint8), hidden


def _place(
    rng: Generator, image: np.ndarray, landmarks: np.ndarray, spare: np.ndarray, shift: tuple[float, float]
) -> Canvas:
    points = landmarks[:, :2].astype(float)
    eyes = points[263] - points[33]
    across = eyes / max(1e-6, float(np.hypot(*eyes)))
    down = np.array([-across[1], across[0]])
    unit = float(np.hypot(*(points[152] - points[10]))) * FACE_SHARE
    centre = points[list(MOUTH)].mean(0) + unit * (shift[0] * across + shift[1] * down)
    return Canvas(rng, image, points, centre, unit, across, down, spare)


def _choose_skin(canvas: Canvas) -> np.ndarray:
    """Return the colour of this person's skin, or of another person's."""
    rng, (height, width) = canvas.rng, canvas.shape
    if rng.random() < 0.7:
        x, y = np.clip(canvas.points[list(SKIN)].astype(int), 0, (width - 1, height - 1)).T
        return np.median(canvas.image[y, x].astype(float), 0) * rng.uniform(0.75, 1.15) + rng.normal(0, 6, 3)
    return SKIN_TONES[rng.integers(len(SKIN_TONES))] * rng.uniform(0.6, 1.05) + rng.normal(0, 6, 3)
