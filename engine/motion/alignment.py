"""Align two motion signatures: every offset by FFT, several speeds, mirrored or not, for stretches of the suspect.

The suspect is resampled to the clock of the candidate by each speed, and cut into blocks of one second. For each block
and each offset the products and energies of the rows are summed by region and parity. Blocks that follow the candidate
at one offset form a stretch: the run of blocks with the largest sum of `product - AGREEMENT * energy`, which a block
increases where its correlation exceeds `AGREEMENT`. The sums over a run are exact, so that one search covers runs of
every length.

Long signatures are searched in sections, which overlap so far that each alignment is within one of them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, rfft

from engine.motion.channels import GROUP_STARTS, REGION, REGIONS, MotionRegion, sum_regions
from engine.motion.signature import MotionSignature

SPEEDS = (1.0, 24 / 25, 25 / 24, 0.92, 1.09, 0.875, 1.14, 25 / 30, 30 / 25, 0.8, 1.25)
"""Seconds of the candidate per second of the suspect; at the nearest one a block is off by at most a frame."""
BLOCK = 25  # frames
MIN_BLOCKS = 2  # of a stretch
AGREEMENT = 0.25  # correlation above which a block lengthens a stretch
REGION_SETS = (REGIONS, (MotionRegion.HEAD, MotionRegion.EYES), (MotionRegion.MOUTH,))
"""Searched together: everything; all but the mouth, as under a lip-sync; the mouth alone."""
CHOICES = np.array([[region in chosen for region in REGIONS] for chosen in REGION_SETS], np.float32)  # (S, R)
OTHER_SPEED, MIRRORED = math.log(20), math.log(10)  # log odds against another speed, and against a mirrored picture
INDEPENDENT = 3  # frames after which two offsets are independent
SUSPECT_SECTION, CANDIDATE_SECTION = 20 * BLOCK, 80 * BLOCK  # frames


@dataclass(frozen=True, slots=True)
class Line:
    """Frames of the candidate as a function of those of the suspect: `speed * frame + offset`."""

    speed: float
    offset: float
    mirrored: bool

    def map(self, frames: np.ndarray) -> np.ndarray:
        """Return the frames of the candidate."""
        return self.speed * frames + self.offset

    @property
    def log_odds(self) -> float:
        """Log odds of the speed and the mirroring before any comparison, up to a constant."""
        return -OTHER_SPEED * (self.speed != 1) - MIRRORED * self.mirrored


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of the suspect that follow the candidate: the best run of a search."""

    line: Line  # in rows of both
    first: int
    last: int  # after the last row
    z: float  # product over its deviation for unrelated motion
    regions: tuple[MotionRegion, ...]  # one of REGION_SETS

    @property
    def evidence(self) -> float:
        """Log-likelihood gain of a normal product, with the odds of the line."""
        return self.z**2 / 2 + self.line.log_odds


class SuspectSearch:
    """One suspect, prepared for searches against many candidates."""

    def __init__(self, suspect: MotionSignature, speeds: tuple[float, ...] = SPEEDS):
        self.suspect, self.speeds = suspect, speeds
        self._sections = [
            _Section(suspect, start, min(start + SUSPECT_SECTION, len(suspect.rows)), speeds)
            for start in range(0, max(len(suspect.rows) - BLOCK, 1), SUSPECT_SECTION)
        ]

    def find(self, candidate: MotionSignature) -> Stretch | None:
        """Return the stretch of the suspect with the most evidence; None if either has less than a block."""
        if min(self.suspect.valid.sum(), candidate.valid.sum()) < BLOCK:
            return None
        chances = np.array([measure_chance(self.suspect, candidate, regions) for regions in REGION_SETS])
        longest = int(SUSPECT_SECTION * max(self.speeds)) + BLOCK
        found = [
            stretch
            for start in range(0, max(len(candidate.rows) - longest, 1), CANDIDATE_SECTION - longest)
            for section in self._sections
            for stretch in section.search(candidate, start, chances)
        ]
        return max(found, key=lambda one: one.evidence, default=None)

    def count(self, candidate: MotionSignature) -> float:
        """Estimate how many independent alignments a search compares, without the speeds and mirrors."""
        n_suspect, n_candidate = len(self.suspect.rows), len(candidate.rows)
        return (n_suspect + n_candidate) / INDEPENDENT * len(REGION_SETS) * max(1.0, n_suspect / BLOCK / 2)


def measure_chance(one: MotionSignature, other: MotionSignature, regions: tuple[MotionRegion, ...]) -> float:
    """Return the variance per frame of the product of two unrelated signatures, from their autocovariances.

    For independent stationary rows it is the sum over lags of `trace(A(lag) @ B(lag).T)`.
    """
    columns = np.isin(REGION, [REGIONS.index(region) for region in regions])
    products = (one.covariance * other.covariance)[:, columns][:, :, columns].sum(axis=(1, 2))
    return float(max(products[0] + 2 * products[1:].sum(), 1e-9))


def interpolate(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return rows (T, ...) at fractional places (N,) within them, linearly."""
    low = np.clip(np.floor(places).astype(int), 0, max(len(rows) - 2, 0))
    high = np.minimum(low + 1, len(rows) - 1)
    share = (places - low).astype(np.float32)[:, None]
    mixed: np.ndarray = rows[low] * (1 - share) + rows[high] * share
    return mixed


class _Section:
    """A section of a suspect at every speed, in blocks."""

    def __init__(self, suspect: MotionSignature, first: int, last: int, speeds: tuple[float, ...]):
        self.first, self.last, self.speeds = first, last, speeds
        self.mean_energy = _average_energy(suspect)
        self.blocks = [_cut_blocks(_stretch(suspect.rows[first:last], speed)) for speed in speeds]  # (W, BLOCK, C)
        self.energies = [sum_regions((blocks**2).sum(axis=1)) for blocks in self.blocks]  # (W, R)
        self.spectra: dict[int, list[np.ndarray]] = {}

    def search(self, candidate: MotionSignature, start: int, chances: np.ndarray) -> Iterator[Stretch]:
        """Yield the best stretch at each speed within the section of a candidate that begins at `start`."""
        rows = candidate.rows[start : start + CANDIDATE_SECTION]
        length = 1 << (len(rows) + BLOCK - 1).bit_length()
        spectrum = rfft(rows.T, length, axis=1)  # (C, F)
        energy = _slide_energy(rows)  # (R, T + BLOCK - 1)
        floor = CHOICES @ self.mean_energy * (CHOICES @ _average_energy(candidate))  # (S,)
        for number, speed in enumerate(self.speeds):
            products, energies = self._correlate(number, spectrum, energy, length)
            z, first, last = _find_runs(products, energies, chances, floor)  # (2, S, n)
            for mirrored in (False, True):
                regions, place = np.unravel_index(int(z[int(mirrored)].argmax()), z.shape[1:])
                which = int(mirrored), int(regions), int(place)
                offset = int(place) - (len(self.blocks[number]) * BLOCK - 1) + start - speed * self.first
                ends = (round(BLOCK * int(edge[which]) / speed) + self.first for edge in (first, last))
                line = Line(speed, offset, mirrored)
                yield Stretch(line, next(ends), min(next(ends), self.last), float(z[which]), REGION_SETS[int(regions)])

    def _correlate(
        self, number: int, spectrum: np.ndarray, energy: np.ndarray, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return products (W, 6, n) by region and parity and mean energies (W, R, n), by offset of the section."""
        if length not in self.spectra:
            self.spectra[length] = [np.conj(rfft(b.transpose(0, 2, 1), length, axis=2)) for b in self.blocks]
        summed = np.add.reduceat(self.spectra[length][number] * spectrum, GROUP_STARTS, axis=1)
        curves = irfft(summed, length, axis=2)  # (W, 6, L): lags 0, 1 ..., negative ones from the end
        n_blocks, n_lags = len(curves), energy.shape[1]
        curves = np.roll(curves, BLOCK - 1, axis=2)[:, :, :n_lags]  # from a lag of -(BLOCK - 1)
        own = self.energies[number][:, :, None] / 2
        shape = (n_blocks, len(GROUP_STARTS), n_lags + (n_blocks - 1) * BLOCK)
        products = np.zeros(shape, np.float32)
        energies = np.broadcast_to(own, (n_blocks, len(REGIONS), shape[2])).copy()
        for block in range(n_blocks):
            place = slice((n_blocks - 1 - block) * BLOCK, (n_blocks - 1 - block) * BLOCK + n_lags)
            products[block, :, place] = curves[block]
            energies[block, :, place] += energy / 2
        return products, energies


def _find_runs(
    products: np.ndarray, energies: np.ndarray, chances: np.ndarray, floor: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return z, first block and last block + 1 (2, S, n) of the best run: unmirrored and mirrored, per set of regions.

    The deviation of the product is that of unrelated motion with the mean energy of the signatures, or with the energy
    of the run where that is higher, so that neither a rest nor a burst is taken for agreement.
    """
    even, odd = products[:, 0::2], products[:, 1::2]
    product = np.stack([CHOICES @ (even + odd), CHOICES @ (even - odd)], axis=1)  # (W, 2, S, n)
    energy = (CHOICES @ energies)[:, None]  # (W, 1, S, n)
    gain = product - np.float32(AGREEMENT) * energy
    shape = gain.shape[1:]
    running, summed, spent, began = (np.zeros(shape, np.float32) for _ in range(4))
    best, total, used, first, last = (np.zeros(shape, np.float32) for _ in range(5))
    for number in range(len(gain)):
        goes_on = running > 0
        running = running * goes_on + gain[number]
        summed = summed * goes_on + product[number]
        spent = spent * goes_on + energy[number]
        began = np.where(goes_on, began, number)
        better = running > best
        for kept, now in ((best, running), (total, summed), (used, spent), (first, began)):
            np.copyto(kept, now, where=better)
        last[better] = number + 1
    n_frames = np.maximum(last - first, 1) * BLOCK
    scale = np.maximum(used**2 / np.maximum(floor[:, None] * n_frames**2, 1e-9), 1)
    z = np.where(last - first >= MIN_BLOCKS, total / np.sqrt(chances[:, None] * n_frames * scale), 0)
    return z, first, last


def _stretch(rows: np.ndarray, speed: float) -> np.ndarray:
    """Resample rows (T, C) to the clock of the candidate."""
    return rows if speed == 1 else interpolate(rows, np.arange(0, (len(rows) - 1) * speed + 1e-6) / speed)


def _cut_blocks(rows: np.ndarray) -> np.ndarray:
    """Cut rows (T, C) into blocks (W, BLOCK, C); the last one is padded by zeros."""
    n = -(-len(rows) // BLOCK)
    padded = np.zeros((n * BLOCK, rows.shape[1]), np.float32)
    padded[: len(rows)] = rows
    return padded.reshape(n, BLOCK, -1)


def _slide_energy(rows: np.ndarray) -> np.ndarray:
    """Return the energy (R, T + BLOCK - 1) under a block that begins at -(BLOCK - 1) and later."""
    squares = np.pad(sum_regions(rows**2), ((BLOCK, BLOCK - 1), (0, 0)))
    total = np.cumsum(squares, axis=0, dtype=np.float64)
    return (total[BLOCK:] - total[:-BLOCK]).T.astype(np.float32)


def _average_energy(signature: MotionSignature) -> np.ndarray:
    """Return the mean energy (R,) of a valid row."""
    return sum_regions((signature.rows**2).sum(axis=0)) / max(int(signature.valid.sum()), 1)
