"""Synthetic clips of two people, the astronaut and one with another face, with given motion."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from engine.faces.landmarker import FaceNets
from engine.synthesis.animation import animate, write_clip
from engine.synthesis.portrait import N_MESH, OVAL, Portrait, find_portrait
from engine.synthesis.tts import Speech
from engine.synthesis.visemes import Motion
from engine.synthesis.warping import bend, span_triangles
from engine.types import FPS
from engine.weights import registry

SIDE = 256
RATE_HZ = 16_000
TINT = np.array([0.8, 0.95, 1.15])


@dataclass(frozen=True)
class Part:
    """Motion and voice of a clip."""

    seconds: float = 1.4
    syllables_hz: float = 2.6
    phase: float = 0.0
    sways_hz: float = 0.7
    tone_hz: float = 220.0  # of the voice; 0: no sound


@cache
def load_nets() -> FaceNets:
    """The nets that find faces."""
    return FaceNets.load(registry.face_landmarker())


@cache
def draw_astronaut() -> Portrait:
    """NASA's portrait of Eileen Collins (public domain), with room about the head."""
    head = data.astronaut()[0:270, 91:361]
    return find_portrait(cv2.resize(head, (SIDE, SIDE), interpolation=cv2.INTER_AREA), load_nets())


@cache
def draw_stranger() -> Portrait:
    """Another face: mirrored, of another colour, the eyes nearer, the nose and the mouth wider and lower."""
    known = draw_astronaut()
    source = known.landmarks[:N_MESH, :2].astype(np.float64)
    corners = np.array([(0, 0), (SIDE - 1, 0), (0, SIDE - 1), (SIDE - 1, SIDE - 1)], float)
    centre, target = source[OVAL].mean(0), source.copy()
    inner = np.clip(np.linalg.norm(source[:, None] - source[OVAL], axis=2).min(1) / 28, 0, 1)[:, None]
    below = source[:, 1:] > centre[1]
    target += inner * (source - centre) * np.where(below, [0.25, 0.12], [-0.18, -0.1])
    points, moved = np.vstack([source, corners]), np.vstack([target, corners])
    image = known.image.copy()
    bend(known.image, points, moved, span_triangles(moved), (0, 0, SIDE, SIDE)).paint(image)
    image = np.clip(image[:, ::-1] * TINT, 0, 255).astype(np.uint8)
    return find_portrait(np.ascontiguousarray(image), load_nets())


def act(part: Part) -> Motion:
    """Syllables that open the mouth, a swaying head, a blink."""
    times = np.arange(round(part.seconds * FPS)) / FPS
    opened = np.maximum(np.sin(2 * np.pi * part.syllables_hz * times + part.phase), -0.3) * 0.8
    sway = np.sin(2 * np.pi * part.sways_hz * times + part.phase)
    blink = np.isin(np.arange(len(times)), (12, 13, 14)).astype(float)
    turn = np.column_stack([4 * sway, 2 * np.roll(sway, 5), 1.5 * sway])
    spread = 0.4 * np.sin(2 * np.pi * 1.1 * times)
    return Motion(opened, spread, np.zeros_like(times), blink, turn, np.column_stack([0.03 * sway, 0.02 * sway]))


def play(portrait: Portrait, part: Part) -> Iterator[np.ndarray]:
    """Yield the frames of a part."""
    return animate(portrait, act(part))


def film(path: Path, portrait: Portrait, part: Part | None = None) -> Path:
    """Write a clip: the sound is a tone that is loud where the mouth is open."""
    part = part or Part()
    loud = np.repeat(np.maximum(act(part).open, 0), RATE_HZ // FPS)
    tone = np.sin(2 * np.pi * part.tone_hz * np.arange(len(loud)) / RATE_HZ)
    write_clip(path, play(portrait, part), Speech((0.4 * loud * tone).astype(np.float32), RATE_HZ, ()))
    return path
