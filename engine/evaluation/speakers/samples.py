"""Pool clips of a speaker into samples with one embedding, and find which samples may be compared."""

import zlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from engine.datasets.manifest import Row, Skipped
from engine.evaluation.speakers.embeddings import EmbeddedRow
from engine.style.embedder import Nature, pool_embeddings, sum_length

_Piece = list[EmbeddedRow]  # never split


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One or more pooled clips of one speaker."""

    speaker: str  # of a forged sample: the person of the motion
    face_owner: str  # the person of the face; the speaker, except in forged samples
    method: str  # of the forgery; empty: real
    enrol: bool | None  # True: enrolment only; False: probe only; None: either
    sessions: frozenset[tuple[str, str]]  # speaker and session of all source clips
    files: frozenset[str]  # all source files, by path and by content hash
    motion_placed: bool  # the session of every motion is known
    face_placed: bool  # the session of every face is known
    vector: np.ndarray  # (D,) float64, unit length
    weight: float  # of the vector when pooled with others
    seconds: float
    is_natural: bool  # False: the motion was manipulated; no speaker is returned
    names: tuple[str, ...]  # of its clips, as written in the manifest

    @property
    def is_real(self) -> bool:
        """Not forged; may be enrolled."""
        return not self.method


@dataclass(frozen=True, slots=True, eq=False)
class PooledSamples:
    """All embedded rows: each one is in a sample or skipped."""

    samples: tuple[Sample, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class _Kind:
    """Properties shared by the clips of one sample."""

    speaker: str
    face_owner: str
    method: str
    enrol: bool | None


@dataclass(frozen=True, slots=True)
class _Origin:
    """Sessions and files of a clip and of its source clips."""

    sessions: frozenset[tuple[str, str]]
    files: frozenset[str]
    motion_placed: bool
    face_placed: bool


def name_speaker(row: Row) -> str:
    """Return the person of the motion: of a forged clip, the motion owner if the manifest names one."""
    return row.speaker if row.is_real else row.motion_owner or row.speaker


def name_face(row: Row) -> str:
    """Return the person of the face."""
    return row.speaker if row.is_real else row.face_owner or name_speaker(row)


def name_method(row: Row) -> str:
    """Return the forgery method; empty for a real clip."""
    return "" if row.is_real else row.method or row.label


def pool_rows(
    embedded: Sequence[EmbeddedRow], manifest: Sequence[Row], nature: Nature, pool_s: float | None = None, seed: int = 0
) -> PooledSamples:
    """Pool embeddings into samples, as if all their windows were of one clip (`pool_embeddings`).

    Rows with the same `sample` cell, speaker and method are one sample; any other row is one by itself. With `pool_s`
    these are joined further until they have so many seconds: within a session if it is long enough; shorter sessions
    are joined whole, so that no two of their samples share a session. The remainder joins the last sample, or is
    skipped if there is none. The order is drawn by the seed from the names of sessions and files, so that clips made
    from others are pooled in the same order.
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
    return PooledSamples(tuple(samples), tuple(skipped))


def find_comparable(
    probes: Sequence[Sample], gallery: Sequence[Sample], has_sessions: bool, same_session: bool = False
) -> np.ndarray:
    """Return (P, G) bool: which probe may be compared with which enrolled sample.

    Never if both were made from one file. Unless `same_session`, not if they share a session of one speaker, nor, if
    the manifest has sessions (`has_sessions`), if the session of either is unknown and both are of one speaker.
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
    """Group rows by their `sample` cell."""
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
    """Find the sessions and files of the clip itself, its driving clip and its face donor."""
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
    """Join pieces of one kind into samples of `pool_s` seconds; return them and the remainder that is too short."""
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
    """Join pieces in order until each pool is long enough; the remainder joins the last pool or is returned."""
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
    """Return the name of the driving clip, or of the clip itself."""
    return (_find(one.row.driver_path, places) or one.row).written


def _draw(seed: int, name: str) -> tuple[int, str]:
    """Return a sort key drawn by the seed, independent of all other names."""
    return zlib.crc32(f"{seed} {name}".encode()), name


def _both(some: Sequence[bool], others: Sequence[bool]) -> np.ndarray:
    """Return (P, G) bool: both are true."""
    return np.outer(np.array(some, bool), np.array(others, bool))


def _share(some: Sequence[Iterable[Hashable]], others: Sequence[Iterable[Hashable]]) -> np.ndarray:
    """Return (P, G) bool: which sets intersect."""
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
