"""Render synthetic talking heads: move the landmarks, warp the image, draw the mouth interior.

Portrait, motion and voice vary independently. The warp is piecewise affine over a triangle mesh of the landmarks.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from engine.synthesis import portrait as portraits
from engine.synthesis.portrait import Portrait
from engine.synthesis.tts import Speech
from engine.synthesis.visemes import Motion
from engine.synthesis.warping import bend, span_triangles
from engine.types import FPS


def animate(portrait: Portrait, motion: Motion) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB frames at 25 fps, one per row of the motion."""
    mesh = HeadMesh(portrait)
    for row in range(len(motion)):
        yield _draw_frame(portrait, mesh, _place_points(portrait, motion, row), motion, row)


def write_clip(path: Path, frames: Iterator[np.ndarray], speech: Speech) -> None:
    """Write frames at 25 fps and the speech as H.264 and AAC; the file is complete or absent."""
    partial = path.with_name(path.name + ".part")
    with av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"}) as out:
        sound = out.add_stream("aac", rate=speech.rate_hz, layout="mono", bit_rate=96_000)
        picture = None
        for image in frames:
            if picture is None:
                picture = out.add_stream(
                    "libx264", rate=FPS, options={"crf": "20", "preset": "veryfast", "threads": "1"}
                )
                picture.height, picture.width, picture.pix_fmt = image.shape[0], image.shape[1], "yuv420p"
            out.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        if picture is None:
            raise ValueError("no frame to write")
        out.mux(picture.encode())
        for packet_frame in _sound_frames(speech):
            out.mux(sound.encode(packet_frame))
        out.mux(sound.encode())
    partial.replace(path)


def _sound_frames(speech: Speech) -> Iterator[av.AudioFrame]:
    for start in range(0, len(speech.audio), 1024):
        samples = np.ascontiguousarray(speech.audio[None, start : start + 1024], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = speech.rate_hz, start, Fraction(1, speech.rate_hz)
        yield frame


def _place_points(portrait: Portrait, motion: Motion, row: int) -> np.ndarray:
    """(468, 2) pixels of this frame, before the head turn."""
    opened = float(motion.open[row])
    amounts = np.zeros(5)
    amounts[[portraits.OPEN, portraits.SPREAD, portraits.TUCK]] = max(opened, 0.0), motion.spread[row], motion.tuck[row]
    amounts[[portraits.PRESS, portraits.BLINK]] = max(-opened, 0.0) / 0.3, motion.blink[row]
    amounts = amounts[:, None] * np.ones(portraits.N_MESH)  # (5, 468)
    amounts[: portraits.BLINK] *= 1 + motion.skew * portrait.sides
    return portrait.rest + np.einsum("fp,fpi->pi", amounts, portrait.basis)


class HeadMesh:
    """Triangle mesh of face, hair and surroundings, with its vertices in the image."""

    def __init__(self, portrait: Portrait):
        face = portrait.landmarks[: portraits.N_MESH]
        centre = face[portraits.OVAL, :2].mean(0)
        self.centre = np.append(centre, face[portraits.OVAL, 2].mean())
        hair = centre + 1.4 * (face[portraits.OVAL, :2] - centre)
        height, width = portrait.image.shape[:2]
        radius = 2.4 * np.abs(face[portraits.OVAL, :2] - centre).max(0)
        x0, y0 = np.maximum(centre - radius, 0).astype(int)
        x1, y1 = np.minimum(centre + radius, [width - 1, height - 1]).astype(int)
        edge = [(x, y) for x in np.linspace(x0, x1, 7) for y in (y0, y1)]
        edge += [(x, y) for y in np.linspace(y0, y1, 7)[1:-1] for x in (x0, x1)]
        inside = ((hair > [x0, y0]) & (hair < [x1, y1])).all(1)
        self.hair = np.column_stack([hair, np.full(len(hair), self.centre[2])])[inside]  # (R, 3)
        self.edge = np.array(edge)
        self.box = (int(x0), int(y0), int(x1) + 1, int(y1) + 1)
        self.source = np.vstack([face[:, :2], self.hair[:, :2], self.edge]).astype(np.float32)  # (V, 2)
        opened = np.vstack([portrait.rest + portrait.basis[portraits.OPEN], self.hair[:, :2], self.edge])
        self.triangles = span_triangles(opened, opened[portraits.INNER_LIPS])  # (M, 3)

    def place(self, face: np.ndarray, linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """(V, 2): `face` (468, 3) and the hair turned by `linear` (2, 3) and shifted, the surroundings fixed."""
        solid = np.vstack([face, self.hair]) - self.centre
        return np.vstack([solid @ linear.T + self.centre[:2] + shift, self.edge])


def _turn_head(turn_deg: np.ndarray) -> np.ndarray:
    """(2, 3): projection of yaw, pitch and roll to x and y."""
    yaw, pitch, roll = np.deg2rad(turn_deg)
    turned = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, np.cos(pitch), -np.sin(pitch)]])
    return np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]) @ turned


def _draw_frame(portrait: Portrait, mesh: HeadMesh, points: np.ndarray, motion: Motion, row: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    solid = np.column_stack([points, portrait.landmarks[: portraits.N_MESH, 2]])
    target = mesh.place(solid, _turn_head(motion.turn_deg[row]), motion.shift[row] * portrait.eye_px)
    x0, y0, x1, y1 = mesh.box
    bent = bend(portrait.image, mesh.source, target, mesh.triangles, mesh.box)
    hole = ~bent.covered
    if hole.any():
        bent.image[hole] = _draw_inner_mouth(portrait, mesh, target, float(motion.open[row]))[hole]
    frame = portrait.image.copy()
    frame[y0:y1, x0:x1] = bent.image
    return frame


def _draw_inner_mouth(portrait: Portrait, mesh: HeadMesh, target: np.ndarray, opened: float) -> np.ndarray:
    """(h, w, 3) uint8: cavity, tongue and teeth; upper teeth fixed to the skull, lower ones to the jaw."""
    x0, y0, x1, y1 = mesh.box
    canvas = np.full((y1 - y0, x1 - x0, 3), (52, 16, 18), np.uint8)
    eye_px = portrait.eye_px
    along = target[portraits.LEFT_EYE] - target[portraits.RIGHT_EYE]
    angle = float(np.degrees(np.arctan2(along[1], along[0])))
    down = np.array([-along[1], along[0]]) / np.linalg.norm(along)
    skull = (
        target[portraits.RIGHT_EYE]
        + (portrait.rest[13] - portrait.rest[portraits.RIGHT_EYE]) @ portrait.axes[1] * down
        + along / 2
    )
    lower_lip = target[14]

    def ellipse(middle: np.ndarray, half: tuple[float, float], colour: tuple[int, int, int]) -> None:
        box = (tuple(np.asarray(middle - [x0, y0], float)), (2 * half[0] * eye_px, 2 * half[1] * eye_px), angle)
        cv2.ellipse(canvas, box, colour, -1, cv2.LINE_AA)

    ellipse(lower_lip - 0.01 * eye_px * down, (0.16, 0.075), (138, 62, 66))  # tongue
    if opened > 0.35:
        ellipse(lower_lip + 0.005 * eye_px * down, (0.15, 0.03), (188, 178, 166))
    ellipse(skull - 0.035 * eye_px * down, (0.20, 0.075), (214, 205, 194))  # upper teeth
    return cv2.GaussianBlur(canvas, (0, 0), max(0.5, eye_px / 130))
