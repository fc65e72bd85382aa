"""Portrait with a linear face model: landmarks, shape at rest and five displacement fields.

The points of a frame are the rest plus amounts times fields, in the axes and size of the face.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.errors import EngineError
from engine.faces.landmarker import FaceNets

# Landmark rows of the lips from the outside in, right corner to left corner; upper and lower share the corners.
UPPER = np.array(
    [
        [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291],
        [76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306],
        [62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292],
        [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308],
    ]
)
LOWER = np.array(
    [
        [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291],
        [76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306],
        [62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292],
        [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308],
    ]
)
INNER_LIPS = np.array([*UPPER[3], *LOWER[3, -2:0:-1]])
"""Rim of the mouth opening, in order."""
_UPPER_ROW, _LOWER_ROW = np.arange(11), np.array([0, *range(19, 10, -1), 10])  # rows of INNER_LIPS, corner to corner
LIP_STRIP = np.array(
    [
        corners
        for i in range(10)
        for corners in (
            (_UPPER_ROW[i], _UPPER_ROW[i + 1], _LOWER_ROW[i + 1]),
            (_UPPER_ROW[i], _LOWER_ROW[i + 1], _LOWER_ROW[i]),
        )
    ]
)
"""(20, 3) triangles of the mouth opening, as rows of INNER_LIPS."""
OVAL = np.array(
    [
        10,
        338,
        297,
        332,
        284,
        251,
        389,
        356,
        454,
        323,
        361,
        288,
        397,
        365,
        379,
        378,
        400,
        377,
        152,
        148,
        176,
        149,
        150,
        136,
        172,
        58,
        132,
        93,
        234,
        127,
        162,
        21,
        54,
        103,
        67,
        109,
    ]
)
_JAW = {
    152: 1.0,
    148: 0.97,
    377: 0.97,
    176: 0.9,
    400: 0.9,
    149: 0.8,
    378: 0.8,
    150: 0.65,
    379: 0.65,
    136: 0.45,
    365: 0.45,
}
_STILL = np.array([*OVAL[:10], *OVAL[-10:], 33, 133, 362, 263, 1, 2, 4, 98, 327, 129, 358, 6, 168, 116, 345, 50, 280])
UPPER_LIDS = np.array([246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398])
LOWER_LIDS = np.array([7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382])
_LID_FOLDS = np.array([247, 30, 29, 27, 28, 56, 190, 467, 260, 259, 257, 258, 286, 414])
RIGHT_EYE, LEFT_EYE = 33, 263
N_MESH = 468  # the ten iris points would fold under a closing lid

OPEN, SPREAD, TUCK, PRESS, BLINK = range(5)


@dataclass(frozen=True)  # not slotted: cached properties
class Portrait:
    """Image of a face with landmarks and displacement fields."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    landmarks: np.ndarray  # (478, 3) float32, pixels

    @property
    def eye_px(self) -> float:
        """Outer eye distance in pixels, the unit of all motion."""
        return float(np.linalg.norm(self.landmarks[LEFT_EYE, :2] - self.landmarks[RIGHT_EYE, :2]))

    @cached_property
    def axes(self) -> np.ndarray:
        """(2, 2) rows: unit vectors along the eyes to the right of the image, and down the face."""
        along = (self.landmarks[LEFT_EYE, :2] - self.landmarks[RIGHT_EYE, :2]) / self.eye_px
        return np.array([along, [-along[1], along[0]]], dtype=np.float64)

    @cached_property
    def rest(self) -> np.ndarray:
        """(468, 2) pixels: the face with just closed lips."""
        return self.landmarks[:N_MESH, :2] + _close_lips(self)

    @cached_property
    def basis(self) -> np.ndarray:
        """(5, 468, 2) pixels: displacement by one unit of open, spread, tuck, press and blink."""
        return np.stack([_open_lips(self), _spread_lips(self), _tuck_lip(self), _press_lips(self), _shut_lids(self)])

    @cached_property
    def sides(self) -> np.ndarray:
        """(468,) from -1 at the person's right mouth corner and beyond to 1 at the left one; 0 in the middle."""
        corners = self.rest[[61, 291]]
        half = np.linalg.norm(corners[1] - corners[0]) / 2
        sides: np.ndarray = np.clip((self.rest - corners.mean(0)) @ self.axes[0] / half, -1, 1)
        return sides


def find_portrait(image: np.ndarray, nets: FaceNets) -> Portrait:
    """Find the face in an RGB image; `EngineError` where there is none."""
    faces = nets.find_faces(image)
    if not faces:
        raise EngineError("No face was found in the portrait.", "Use a picture of one face seen from the front.")
    mesh = nets.place_landmarks(image, faces[0].region())
    mesh = nets.place_landmarks(image, mesh.region())
    return Portrait(image, mesh.landmarks)


# Displacement fields of lips, jaw and lids: the 468 points in pixels.


def _in_face(portrait: Portrait, x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
    """(..., 2) pixels of displacements given in eye distances along the face axes."""
    x, y = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    return portrait.eye_px * (x[..., None] * portrait.axes[0] + y[..., None] * portrait.axes[1])


def _extend(portrait: Portrait, moved: dict[int, np.ndarray]) -> np.ndarray:
    """(468, 2): the given points' displacements, zero at the still points, smooth in between."""
    from scipy.interpolate import RBFInterpolator  # here: slow to import, and the page renders no portrait

    still = {int(point): np.zeros(2) for point in _STILL if int(point) not in moved}
    controls = {**still, **moved}
    index = np.array(list(controls))
    places = portrait.landmarks[:N_MESH, :2].astype(np.float64)
    field = RBFInterpolator(places[index], np.stack(list(controls.values())), kernel="linear", smoothing=0.5)(places)
    field[index] = np.stack(list(controls.values()))
    return field


def _rows(points: np.ndarray, fields: np.ndarray) -> dict[int, np.ndarray]:
    """Landmark rows (4, 11) with displacements (4, 11, 2) as one table."""
    return {int(p): d for p, d in zip(points.ravel(), fields.reshape(-1, 2), strict=True)}


def _jaw(portrait: Portrait, down: float) -> dict[int, np.ndarray]:
    return {point: _in_face(portrait, 0.0, down * share) for point, share in _JAW.items()}


def _close_lips(portrait: Portrait) -> np.ndarray:
    """(468, 2): closes the inner lip edges, mostly with the lower lip."""
    down = portrait.axes[1]
    gap = (portrait.landmarks[LOWER[3], :2] - portrait.landmarks[UPPER[3], :2]) @ down / portrait.eye_px  # (11,)
    upper = np.array([0.55, 0.7, 0.9, 1.0])[:, None] * 0.35 * gap
    lower = np.array([0.85, 0.9, 0.97, 1.0])[:, None] * -0.65 * gap
    moved = _rows(UPPER, _in_face(portrait, 0.0, upper)) | _rows(LOWER, _in_face(portrait, 0.0, lower))
    return _extend(portrait, moved | _jaw(portrait, -0.5 * float(gap[5])))


def _open_lips(portrait: Portrait) -> np.ndarray:
    """(468, 2) of open 1: the lower lip and jaw sink, the upper lip rises a little, the corners come in."""
    across = np.linspace(-1, 1, 11)
    profile = 1 - np.abs(across) ** 2.2
    inward = -0.035 * across * np.ones((4, 1))
    upper = np.array([0.7, 0.8, 0.95, 1.0])[:, None] * -0.07 * profile + 0.03 * (1 - profile)
    lower = np.array([0.82, 0.87, 0.95, 1.0])[:, None] * 0.27 * profile + 0.03 * (1 - profile)
    moved = _rows(UPPER, _in_face(portrait, inward, upper)) | _rows(LOWER, _in_face(portrait, inward, lower))
    return _extend(portrait, moved | _jaw(portrait, 0.2))


def _spread_lips(portrait: Portrait) -> np.ndarray:
    """(468, 2) of spread 1: corners out, lips thinner; at -1 in and fuller."""
    across = np.linspace(-1, 1, 11)
    outward = 0.085 * across * np.ones((4, 1))
    bulge = (1 - across**2) * np.array([1.0, 0.7, 0.3, 0.0])[:, None]
    upper, lower = 0.025 * bulge, -0.03 * bulge
    moved = _rows(UPPER, _in_face(portrait, outward, upper)) | _rows(LOWER, _in_face(portrait, outward, lower))
    return _extend(portrait, moved)


def _tuck_lip(portrait: Portrait) -> np.ndarray:
    """(468, 2) of tuck 1: the lower lip rolls in under the upper teeth, the upper lip lifts off it."""
    profile = 1 - np.linspace(-1, 1, 11) ** 2
    lower = np.array([-0.05, -0.035, -0.015, 0.005])[:, None] * profile
    upper = np.array([-0.02, -0.025, -0.03, -0.035])[:, None] * profile
    moved = _rows(UPPER, _in_face(portrait, 0.0, upper)) | _rows(LOWER, _in_face(portrait, 0.0, lower))
    return _extend(portrait, moved)


def _press_lips(portrait: Portrait) -> np.ndarray:
    """(468, 2) of press 1: both lips thinner about their shared line."""
    middle = portrait.landmarks[[*UPPER[3], *LOWER[3]], :2].mean(0)
    moved: dict[int, np.ndarray] = {}
    for rows in (UPPER, LOWER):
        height = (portrait.landmarks[rows, :2] + _close_lips(portrait)[rows] - middle) @ portrait.axes[1]
        line = height[3]
        moved |= _rows(rows, (-0.45 * (height - line))[..., None] * portrait.axes[1])
    return _extend(portrait, moved)


def _shut_lids(portrait: Portrait) -> np.ndarray:
    """(468, 2) of blink 1: the upper lids come down to the lower ones, with half of the fold above."""
    field = np.zeros((N_MESH, 2))
    field[UPPER_LIDS] = 0.95 * (portrait.landmarks[LOWER_LIDS, :2] - portrait.landmarks[UPPER_LIDS, :2])
    field[_LID_FOLDS] = 0.4 * field[UPPER_LIDS]
    return field
