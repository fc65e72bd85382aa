"""Stretches of a face track that follow a recording: exact ends, offset and speed, and which regions follow."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from engine.motion.alignment import AGREEMENT, Line, Stretch, SuspectSearch, interpolate
from engine.motion.channels import PARITY, REGION, REGIONS, MotionRegion, sum_regions
from engine.motion.signature import MotionSignature, build_signature, find_covariance
from engine.types import FPS

MAX_MATCHES = 8  # stretches of one track in one recording
MIN_FRAMES = 40  # of a stretch
SPEED_REACH = 0.025  # relative change of the speed in refinement
OFFSET_REACH = 3  # frames
MIN_CHANNELS = 1.0  # of a region that move, below which the region is not judged
FOLLOWS_Z, FOLLOWS_CORRELATION = 3.0, 0.15  # a region follows from both on
MIN_SCORE = 2.0  # a stretch with less is not searched for further ones


@dataclass(frozen=True, slots=True)
class RegionMatch:
    """How a region of the suspect follows that of the candidate over a stretch."""

    region: MotionRegion
    correlation: float  # of the rows
    z: float  # product over its deviation for unrelated motion
    channels: float  # that move, each counted by its weight: the lesser of both sides

    @property
    def moves(self) -> bool:
        """Whether the region moves enough to be judged."""
        return self.channels >= MIN_CHANNELS

    @property
    def follows(self) -> bool:
        """Whether the region follows the candidate."""
        return self.moves and self.z >= FOLLOWS_Z and self.correlation >= FOLLOWS_CORRELATION


@dataclass(frozen=True, slots=True)
class MotionMatch:
    """A stretch of a suspect and the recording that it follows best; frames are those of the clips at 25 Hz."""

    first: int
    last: int  # after the last frame
    line: Line
    score: float  # deviations beyond those expected of the best among as many alignments of unrelated motion
    correlation: float  # of the rows of the searched regions
    n_frames: int  # compared
    regions: tuple[RegionMatch, ...]

    @property
    def seconds(self) -> float:
        """Seconds compared."""
        return self.n_frames / FPS

    @property
    def channels(self) -> float:
        """Channels that move in the stretch, on both sides."""
        return sum(one.channels for one in self.regions)

    @property
    def following(self) -> float:
        """Channels that move in the regions that follow."""
        return sum(one.channels for one in self.regions if one.follows)


def find_matches(suspect: MotionSignature, candidate: MotionSignature) -> Iterator[MotionMatch]:
    """Yield the stretches of a suspect that follow a candidate, those with the most evidence first.

    At least the best stretch is yielded if both are long enough, whatever its score.
    """
    rest = suspect
    for _ in range(MAX_MATCHES):
        match = find_match(SuspectSearch(rest), candidate)
        if match is None:
            return
        yield match
        if match.score < MIN_SCORE:
            return
        rest = _blank(rest, match.first - rest.start, match.last - rest.start)


def find_match(prepared: SuspectSearch, candidate: MotionSignature) -> MotionMatch | None:
    """Return the stretch of a suspect that follows a candidate best; None if either is too short."""
    suspect = prepared.suspect
    stretch = prepared.find(candidate)
    if stretch is None or stretch.z <= 0:
        return None
    chosen = _select(stretch.regions)
    log_tried = float(np.log(prepared.count(candidate)))
    stretch = replace(stretch, z=_measure(*_pair(suspect, candidate, stretch), chosen)[1])
    if stretch.evidence > log_tried:
        stretch = _refine(suspect, candidate, stretch)
    one, other, n_frames = _pair(suspect, candidate, stretch)
    if n_frames < MIN_FRAMES:
        return None
    correlation, z = _measure(one, other, n_frames, chosen)
    evidence = replace(stretch, z=z).evidence - log_tried
    line = stretch.line
    moved = replace(line, offset=line.offset + candidate.start - line.speed * suspect.start)
    lesser = np.minimum(_count_moving(one, n_frames), _count_moving(other, n_frames))
    return MotionMatch(
        first=suspect.start + stretch.first,
        last=suspect.start + stretch.last,
        line=moved,
        score=float(np.sign(evidence) * np.sqrt(2 * abs(evidence))),
        correlation=correlation,
        n_frames=n_frames,
        regions=tuple(
            RegionMatch(region, *_measure(one, other, n_frames, _select((region,))), float(lesser[number]))
            for number, region in enumerate(REGIONS)
        ),
    )


def _select(regions: tuple[MotionRegion, ...]) -> np.ndarray:
    """Return (C,) bool: the channels of these regions."""
    return np.isin(REGION, [REGIONS.index(region) for region in regions])


def _pair(suspect: MotionSignature, candidate: MotionSignature, stretch: Stretch) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the rows (N, C) of both sides over a stretch, zero where either is not valid, and the number that is."""
    frames = np.arange(stretch.first, stretch.last)
    places = stretch.line.map(frames)
    inside = (places >= 0) & (places <= len(candidate.rows) - 1)
    near = np.clip(places, 0, len(candidate.rows) - 1)
    usable = inside & suspect.valid[frames] & candidate.valid[np.round(near).astype(int)]
    one = np.where(usable[:, None], suspect.rows[frames], 0)
    other = np.where(usable[:, None], interpolate(candidate.rows, near), 0)
    return one, other * PARITY if stretch.line.mirrored else other, int(usable.sum())


def _measure(one: np.ndarray, other: np.ndarray, n_frames: int, chosen: np.ndarray) -> tuple[float, float]:
    """Return the correlation of paired rows over the chosen channels, and z by the autocovariances of these rows."""
    if not n_frames:
        return 0.0, 0.0
    a, b = one[:, chosen], other[:, chosen]
    product, energy = float((a * b).sum()), float(np.sqrt((a**2).sum() * (b**2).sum()))
    products = (find_covariance(a, n_frames) * find_covariance(b, n_frames)).sum(axis=(1, 2))
    chance = float(products[0] + 2 * products[1:].sum())
    return product / max(energy, 1e-9), product / float(np.sqrt(max(n_frames * chance, 1e-9)))


def _count_moving(rows: np.ndarray, n_frames: int) -> np.ndarray:
    """Return for each region (R,) how many channels move, each counted by its weight."""
    return sum_regions(np.minimum(np.sqrt((rows**2).sum(axis=0) / max(n_frames, 1)), 1))


def _refine(suspect: MotionSignature, candidate: MotionSignature, stretch: Stretch) -> Stretch:
    """Improve speed and offset over the stretch, then move its ends, twice."""
    chosen = _select(stretch.regions)
    for _ in range(2):
        stretch = _tune(suspect, candidate, stretch, chosen)
        stretch = _extend(suspect, candidate, stretch, chosen)
    return stretch


def _tune(suspect: MotionSignature, candidate: MotionSignature, stretch: Stretch, chosen: np.ndarray) -> Stretch:
    """Search speeds and offsets near those of a stretch for the largest product, about its middle."""
    middle = (stretch.first + stretch.last - 1) / 2
    placed = float(stretch.line.map(np.array(middle)))
    best = stretch.line
    highest = _product(suspect, candidate, stretch, chosen)
    step = 1 / max(stretch.last - stretch.first, 1)  # the ends move by half a frame
    n_steps = int(min(SPEED_REACH * stretch.line.speed / step, 12)) if stretch.line.speed != 1 else 0
    for change in np.arange(-n_steps, n_steps + 1) * step:
        for shift in np.arange(-OFFSET_REACH, OFFSET_REACH + 0.25, 0.5):
            speed = stretch.line.speed + float(change)
            line = replace(best, speed=speed, offset=placed + float(shift) - speed * middle)
            product = _product(suspect, candidate, replace(stretch, line=line), chosen)
            if product > highest:
                highest, best = product, line
    return replace(stretch, line=best)


def _product(suspect: MotionSignature, candidate: MotionSignature, stretch: Stretch, chosen: np.ndarray) -> float:
    """Return the correlation over a stretch."""
    one, other, _ = _pair(suspect, candidate, stretch)
    a, b = one[:, chosen], other[:, chosen]
    return float((a * b).sum() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-9))


def _extend(suspect: MotionSignature, candidate: MotionSignature, stretch: Stretch, chosen: np.ndarray) -> Stretch:
    """Return the run of frames on the line with the largest gain, if it overlaps the stretch."""
    one, other, _ = _pair(suspect, candidate, replace(stretch, first=0, last=len(suspect.rows)))
    a, b = one[:, chosen], other[:, chosen]
    gain = (a * b - AGREEMENT * (a**2 + b**2) / 2).sum(axis=1)
    total = np.concatenate([[0.0], np.cumsum(gain)])
    lowest = np.minimum.accumulate(total)
    last = int((total - lowest).argmax())
    first = int(total[: last + 1].argmin())
    if last - first < MIN_FRAMES or last <= stretch.first or first >= stretch.last:
        return stretch
    return replace(stretch, first=first, last=last)


def _blank(signature: MotionSignature, first: int, last: int) -> MotionSignature:
    """Return the signature without the rows from `first` to `last`."""
    rows, valid = signature.rows.copy(), signature.valid.copy()
    rows[first:last], valid[first:last] = 0, False
    return build_signature(signature.start, rows, valid)
