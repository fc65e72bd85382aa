"""Samples of a person: clips pooled to one embedding, and which of them may be held against which."""

import zlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from engine.datasets.manifest import Row, Skipped
from engine.evaluation.speakers.embeddings import EmbeddedRow
from engine.style.embedder import Nature, pool_embeddings, sum_length

_Piece = list[EmbeddedRow]  # that stay together


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One or more clips of one person, pooled."""

    speaker: str  # of a forged one: who moved
    face_owner: str  # whose face is seen; the speaker's own, but for forged ones
    method: str  # how it was made; empty for an untouched one
    enrol: bool | None  # only to be enrolled, only to be looked up, or either
    sessions: frozenset[tuple[str, str]]  # speaker and session of all that went into it
    files: frozenset[str]  # all that went into it, by path and by content
    motion_placed: bool  # the session of every motion is told
    face_placed: bool  # the session of every face is told
    vector: np.ndarray  # (D,) float64, unit length
    weight: float  # of the vector where it is pooled with others
    seconds: float
    is_natural: bool  # False: the motion was tampered with, and names nobody
    names: tuple[str, ...]  # of its clips, as they stand in the manifest

    @property
    def is_real(self) -> bool:
        """Untouched: may be enrolled."""
        return not self.method


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """All rows that were embedded: each is in a sample or skipped."""

    samples: tuple[Sample, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the clips of one sample have in common."""

    speaker: str
    face_owner: str
    method: str
    enrol: bool | None


@dataclass(frozen=True, slots=True)
class _Origin:
    """Sessions and files of a clip, and of those that it was made from."""

    sessions: frozenset[tuple[str, str]]
    files: frozenset[str]
    motion_placed: bool
    face_placed: bool


def name_speaker(row: Row) -> str:
    """Name who moves in a clip: of a forged one the motion's owner, where that is told."""
    return row.speaker if row.is_real else row.motion_owner or row.speaker


def name_face(row: Row) -> str:
    """Name whose face is seen in a clip."""
    return row.speaker if row.is_real else row.face_owner or name_speaker(row)


def name_method(row: Row) -> str:
    """Name how a clip was made: nothing for an untouched one."""
    return "" if row.is_real else row.method or row.label


def pool_rows(
    embedded: Sequence[EmbeddedRow], manifest: Sequence[Row], nature: Nature, pool_s: float | None = None, seed: int = 0
) -> Pooled:
    """Pool embeddings to samples, as if all their windows were of one clip (`dynamics.pool_embeddings`).

    Rows of one `sample` cell, speaker and method are one sample, any other row is one by itself. With `pool_s` these
    are joined further until they are that long: within a session where it is long enough for that; shorter sessions are
    joined whole, so that no two of their samples share one. What is left at the end goes to the last sample; where
    there is none to go to, it is skipped. The order is drawn by the seed, from the names of sessions and files: clips
    made from others are pooled as those are.
    """
    places = {row.path.resolve(): row for row in manifest}
    kinds: dict[_Kind, list[EmbeddedRow]] = {}
    for one in embedded:
        kinds.setdefault(_name_kind(one.row), []).append(one)
    samples: list[Sample] = []
    skipped: list[Skipped] = []
    for kind, rows in kinds.items():
        pieces = _gather_samples(rows)
        pools, rest = (pieces, []) if pool_s is None else _join(pieces, kind.speaker, places, pool_s, seed)
        for pool in pools:
            pooled = _pool(kind, pool, places, nature)
            if pooled is None:
                skipped += [Skipped(one.row.written, "the embeddings of its sample cancel out") for one in pool]
            else:
                samples.append(pooled)
        skipped += [
            Skipped(one.row.written, f"of its kind there is less than a sample of {pool_s:g} s") for one in rest
        ]
    return Pooled(tuple(samples), tuple(skipped))


def may_meet(
    probes: Sequence[Sample], gallery: Sequence[Sample], has_sessions: bool, same_session: bool = False
) -> np.ndarray:
    """(P, G) bool: which sample may be looked up with which one enrolled.

    Never where both were made from one file. Unless `same_session`, not where they share a session of one speaker, nor,
    if the manifest tells sessions (`has_sessions`), where it fails to tell that of either and both are of one speaker.
    """
    apart = ~_share([one.files for one in probes], [one.files for one in gallery])
    if not same_session:
        apart &= ~_share([one.sessions for one in probes], [one.sessions for one in gallery])
        if has_sessions:
            placed = _both([one.motion_placed for one in probes], [one.motion_placed for one in gallery])
            apart &= placed | ~_share([{one.speaker} for one in probes], [{one.speaker} for one in gallery])
    wanted = _both([one.enrol is not True for one in probes], [one.enrol is not False for one in gallery])
    return apart & wanted


def _name_kind(row: Row) -> _Kind:
    return _Kind(name_speaker(row), name_face(row), name_method(row), row.enrol)


def _gather_samples(rows: Sequence[EmbeddedRow]) -> list[_Piece]:
    """Put the rows of one `sample` cell together."""
    pieces: dict[str, _Piece] = {}
    for one in rows:
        pieces.setdefault(f"sample {one.row.sample}" if one.row.sample else f"row {one.row.number}", []).append(one)
    return list(pieces.values())


def _pool(kind: _Kind, rows: Sequence[EmbeddedRow], places: Mapping[Path, Row], nature: Nature) -> Sample | None:
    pooled = pool_embeddings([one.embedding for one in rows], nature)
    if pooled is None:
        return None
    origins = [_trace_origin(one, places) for one in rows]
    return Sample(
        speaker=kind.speaker,
        face_owner=kind.face_owner,
        method=kind.method,
        enrol=kind.enrol,
        sessions=frozenset().union(*(origin.sessions for origin in origins)),
        files=frozenset().union(*(origin.files for origin in origins)),
        motion_placed=all(origin.motion_placed for origin in origins),
        face_placed=all(origin.face_placed for origin in origins),
        vector=pooled.vector.astype(np.float64),
        weight=sum_length(pooled),
        seconds=pooled.seconds,
        is_natural=pooled.is_natural,
        names=tuple(one.row.written for one in rows),
    )


def _trace_origin(one: EmbeddedRow, places: Mapping[Path, Row]) -> _Origin:
    """Find the sessions of the clip itself, of the clip that drives it, and of the one whose face it shows."""
    row = one.row
    driver, donor = _find(row.driver_path, places), _find(row.donor_path, places)
    motion = {(name_speaker(row), row.session)} if row.session else set()
    motion |= {(driver.speaker, driver.session)} if driver and driver.session else set()
    face = {(donor.speaker, donor.session)} if donor and donor.session else set()
    paths = [path.resolve() for path in (row.path, row.driver_path, row.donor_path) if path is not None]
    return _Origin(
        sessions=frozenset(motion | face),
        files=frozenset({one.sha256, *map(str, paths)}),
        motion_placed=bool(motion),
        face_placed=bool(face) or (bool(motion) and name_face(row) == name_speaker(row)),
    )


def _find(path: Path | None, places: Mapping[Path, Row]) -> Row | None:
    return None if path is None else places.get(path.resolve())


def _join(
    pieces: Sequence[_Piece], speaker: str, places: Mapping[Path, Row], pool_s: float, seed: int
) -> tuple[list[_Piece], _Piece]:
    """Join pieces of one kind to samples of `pool_s`, and give what is too little for one."""
    sessions: dict[str, list[_Piece]] = {}
    for piece in sorted(pieces, key=lambda piece: min(_draw(seed, _name_origin(one, places)) for one in piece)):
        sessions.setdefault(" ".join(sorted({one.row.session or "" for one in piece})), []).append(piece)
    pools: list[_Piece] = []
    short: list[_Piece] = []
    for name in sorted(sessions, key=lambda name: _draw(seed, f"{speaker} {name}")):
        own, rest = _fill(sessions[name], pool_s)
        pools += own
        short += [rest] if rest else []
    joined, rest = _fill(short, pool_s)
    return pools + joined, rest


def _fill(pieces: Iterable[_Piece], pool_s: float) -> tuple[list[_Piece], _Piece]:
    """Join pieces in order until each pool is long enough; what remains goes to the last one, or is all there is."""
    pools: list[_Piece] = []
    filling: _Piece = []
    for piece in pieces:
        filling = filling + piece
        if sum(one.embedding.seconds for one in filling) >= pool_s - 1e-6:
            pools.append(filling)
            filling = []
    if pools:
        pools[-1] += filling
        return pools, []
    return [], filling


def _name_origin(one: EmbeddedRow, places: Mapping[Path, Row]) -> str:
    """Name the clip that drives this one, or itself."""
    return (_find(one.row.driver_path, places) or one.row).written


def _draw(seed: int, name: str) -> tuple[int, str]:
    """Give a name its place in an order drawn by the seed, the same whatever other names there are."""
    return zlib.crc32(f"{seed} {name}".encode()), name


def _both(some: Sequence[bool], others: Sequence[bool]) -> np.ndarray:
    """(P, G) bool."""
    return np.outer(np.array(some, bool), np.array(others, bool))


def _share(some: Sequence[Iterable[Hashable]], others: Sequence[Iterable[Hashable]]) -> np.ndarray:
    """(P, G) bool: which sets have a member in common."""
    columns: dict[Hashable, int] = {}
    for members in (*some, *others):
        for member in members:
            columns.setdefault(member, len(columns))
    common: np.ndarray = (_mark(some, columns) @ _mark(others, columns).T).toarray() > 0
    return common


def _mark(sets: Sequence[Iterable[Hashable]], columns: Mapping[Hashable, int]) -> csr_array:
    places = [columns[member] for members in sets for member in members]
    ends = np.cumsum([0, *(len(list(members)) for members in sets)])
    return csr_array((np.ones(len(places), np.int32), places, ends), shape=(len(sets), max(1, len(columns))))
