"""Patches of lower faces from genuine clips: clear, with drawn hair or lipstick, and with covers on and off the mouth.

Each picture is covered and degraded before the landmarks are placed, since a cover moves them too.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from engine.datasets.manifest import Row
from engine.errors import EngineError
from engine.faces.landmarker import FaceNets, Mesh
from engine.faces.occlusion import cut_lower_face
from engine.media.clip import open_clip
from engine.training.cover.covers import COVERS, LIPS, cover_mouth
from engine.training.cover.shapes import Generator, draw_noise, fill_polygon
from engine.types import MediaSelection

CLEAR, HAIR = "clear", "hair"  # kinds of patch without a cover
N_CLEAR, N_HAIR, N_BESIDE, N_COVERED = 3, 1, 2, 5  # patches of each picture
FIRST_S = 8.0  # of a clip that is read
MIN_FACE_PX, MAX_FACE_PX, SMALLEST_PX = 40.0, 170.0, 44.0
MIN_PRESENCE = 0.3  # of the mesh on the finished picture
BEARD = (361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132)
ABOVE_BEARD = ((207, 206, 203, 2, 423, 426, 427), (212, 202, 204, 18, 424, 422, 432))  # with and without a moustache
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
HAIR_COLOURS = np.array([[20, 15, 12], [60, 40, 25], [120, 110, 105], [90, 60, 30], [190, 185, 180]], float)
LIPSTICKS = np.array([[180, 20, 40], [120, 10, 40], [90, 20, 60], [230, 120, 130], [40, 10, 20]], float)


@dataclass(frozen=True, slots=True, eq=False)
class CoverPatches:
    """Patches with the share of the lips that is hidden, the kind of cover and the person of each."""

    pictures: np.ndarray  # (N, 48, 48, 3) uint8 RGB
    hidden: np.ndarray  # (N,) float32
    kinds: np.ndarray  # (N,) str: a key of `COVERS`, CLEAR or HAIR
    people: np.ndarray  # (N,) str
    sources: np.ndarray  # (N,) str

    @classmethod
    def join(cls, parts: Sequence["CoverPatches"]) -> "CoverPatches":
        """Concatenate the patches of several clips."""
        names = ("pictures", "hidden", "kinds", "people", "sources")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def choose_rows(rows: Sequence[Row], per_source: int, seed: int) -> list[Row]:
    """Choose real clips at random, at most `per_source` of each source."""
    order = np.random.default_rng(seed).permutation(len(rows))
    chosen: list[Row] = []
    counts: dict[str, int] = {}
    for row in (rows[number] for number in order):
        if row.is_real and counts.get(row.source, 0) < per_source:
            chosen.append(row)
            counts[row.source] = counts.get(row.source, 0) + 1
    return chosen


def collect_patches(
    rows: Sequence[Row], landmarker: Path, per_clip: int, workers: int, on_clip: Callable[[int, int], None]
) -> CoverPatches:
    """Make the patches of all clips in several processes; clips that cannot be read are skipped."""
    parts: list[CoverPatches] = []
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for done, part in enumerate(pool.map(_make_in_worker, rows, [landmarker] * len(rows), [per_clip] * len(rows))):
            parts += [part] if part is not None else []
            on_clip(done + 1, len(rows))
    return CoverPatches.join(parts)


@cache
def _load_nets(landmarker: Path) -> FaceNets:
    cv2.setNumThreads(1)
    return FaceNets.load(landmarker)


def _make_in_worker(row: Row, landmarker: Path, per_clip: int) -> CoverPatches | None:
    try:
        return make_patches(row, _load_nets(landmarker), per_clip)
    except EngineError:
        return None


def make_patches(row: Row, nets: FaceNets, per_clip: int) -> CoverPatches | None:
    """Make the patches of one clip, the same for the same path; None if it shows no face."""
    rng = np.random.default_rng(zlib.crc32(row.written.encode()))
    found: list[tuple[np.ndarray, float, str]] = []
    for image in _read_images(row.path, rng, per_clip):
        face = _cut_face(image, nets)
        if face is not None:
            found += _vary(rng, *face, spare=image, nets=nets)
    if not found:
        return None
    person = np.full(len(found), row.speaker or row.written)
    return CoverPatches(
        np.stack([picture for picture, _, _ in found]),
        np.array([hidden for _, hidden, _ in found], np.float32),
        np.array([kind for _, _, kind in found]),
        np.char.add(f"{row.source}|", person),
        np.full(len(found), row.source),
    )


def _read_images(path: Path, rng: Generator, count: int) -> Iterator[np.ndarray]:
    """Yield frames at random times of the first seconds."""
    clip = open_clip(path, selection=MediaSelection(to_s=FIRST_S))
    wanted = set(rng.integers(0, clip.n_frames, count).tolist())
    for frame in clip.read_frames():
        if frame.index in wanted:
            yield frame.image
        if frame.index >= max(wanted):
            return


def _cut_face(image: np.ndarray, nets: FaceNets) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the picture around the best face, not larger than needed, and its landmarks (478, 3)."""
    found = nets.find_faces(image)
    if not found:
        return None
    mesh = nets.place_landmarks(image, nets.place_landmarks(image, found[0].region()).region())
    box = mesh.box()
    width = float(box[2] - box[0])
    if mesh.presence < 0.5 or width < MIN_FACE_PX:
        return None
    centre, reach = (box[:2] + box[2:]) / 2, 1.15 * float((box[2:] - box[:2]).max())
    x0, y0 = np.maximum(0, np.round(centre - reach)).astype(int)
    x1, y1 = np.round(centre + reach).astype(int)
    scale = min(1.0, MAX_FACE_PX / width)
    cut = cv2.resize(image[y0:y1, x0:x1], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cut, (mesh.landmarks.astype(np.float64) - (x0, y0, 0)) * scale


def _vary(
    rng: Generator, image: np.ndarray, points: np.ndarray, spare: np.ndarray, nets: FaceNets
) -> list[tuple[np.ndarray, float, str]]:
    """Return patches of one face, each with the hidden share of the lips and its kind."""
    kinds = list(COVERS)
    varied: list[tuple[np.ndarray, float, str]] = [(image, 0.0, CLEAR)] * N_CLEAR
    varied += [(_draw_hair(rng, image, points), 0.0, HAIR) for _ in range(N_HAIR)]
    for _ in range(N_BESIDE):
        kind, angle, away = kinds[rng.integers(len(kinds))], rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0)
        shift = 1.3 * away * np.cos(angle), away * np.sin(angle)
        varied.append((*cover_mouth(rng, image, points, kind, spare, shift), kind))
    for number in rng.choice(len(kinds), N_COVERED, replace=False):
        varied.append((*cover_mouth(rng, image, points, kinds[number], spare), kinds[number]))
    patches = ((_finish(rng, picture, points, nets), hidden, kind) for picture, hidden, kind in varied)
    return [(patch, hidden, kind) for patch, hidden, kind in patches if patch is not None]


def _finish(rng: Generator, image: np.ndarray, points: np.ndarray, nets: FaceNets) -> np.ndarray | None:
    """Degrade a picture, place its landmarks as the tracker does, and cut the patch; None if the face is lost."""
    image, points = degrade(rng, image, points)
    jitter = (*rng.normal(0, 0.02 * float(np.ptp(points[:, 0])), 2), 0.0)
    mesh = nets.place_landmarks(image, Mesh(1.0, (points + jitter).astype(np.float32)).region())
    if rng.random() < 0.5 and mesh.presence > MIN_PRESENCE:
        mesh = nets.place_landmarks(image, mesh.region())
    return cut_lower_face(image, mesh.landmarks) if mesh.presence > MIN_PRESENCE else None


def degrade(rng: Generator, image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture as a poor camera, light, scaling and codec leave it, and its scaled landmarks."""
    width = float(np.ptp(points[:, 0]))
    scale = min(1.0, float(np.exp(rng.uniform(np.log(SMALLEST_PX), np.log(max(SMALLEST_PX + 2, width))))) / width)
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3))
    light: np.ndarray = image.astype(np.float32)
    if rng.random() < 0.5:
        light = 255 * (light / 255) ** rng.uniform(0.6, 1.8)
    if rng.random() < 0.5:
        light = light * rng.uniform(0.35, 1.2) + rng.uniform(-10, 20)
    if rng.random() < 0.3:
        light = light * rng.uniform(0.8, 1.2, 3).astype(np.float32)
    if rng.random() < 0.1:
        light = np.repeat(light.mean(2, keepdims=True), 3, 2)
    if rng.random() < 0.3:
        light = light + rng.normal(0, rng.uniform(1, 9), light.shape).astype(np.float32)
    image = np.ascontiguousarray(np.clip(light, 0, 255).astype(np.uint8)[..., ::-1])
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 95))])
    decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return np.ascontiguousarray(decoded[..., ::-1]), points * scale


def _draw_hair(rng: Generator, image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Draw a beard that leaves the lips free, or lipstick."""
    shape, places = (image.shape[0], image.shape[1]), points[:, :2]
    under = image.astype(np.float32)
    lips = fill_polygon(*shape, places[list(LIPS)])
    if rng.random() < 0.7:
        above = ABOVE_BEARD[int(rng.random() > 0.8)]
        unit = 0.62 * float(np.hypot(*(places[152] - places[10])))
        alpha = cv2.GaussianBlur(fill_polygon(*shape, places[[*BEARD, *above]]), (0, 0), 0.04 * unit)
        alpha = alpha * (1 - cv2.GaussianBlur(lips, (0, 0), 0.8))
        grain = draw_noise(rng, *shape, max(1.2, 0.015 * unit))
        colour = HAIR_COLOURS[rng.integers(len(HAIR_COLOURS))] + grain[..., None] * rng.uniform(5, 25)
        alpha = rng.uniform(0.35, 0.95) * np.clip(1 + 0.3 * grain, 0.2, 1.2) * alpha
    else:
        alpha = cv2.GaussianBlur(lips * (1 - fill_polygon(*shape, places[list(INNER_LIPS)])), (0, 0), 0.8)
        alpha = alpha * rng.uniform(0.3, 0.85)
        tone = LIPSTICKS[rng.integers(len(LIPSTICKS))]
        colour = tone * (0.4 + 0.6 * image.mean(2, keepdims=True) / 128)
    return np.clip(under * (1 - alpha[..., None]) + colour * alpha[..., None], 0, 255).astype(np.uint8)
