"""People drawn as numbers: each has a direction of his own, and clips of him point about there."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.datasets.manifest import Row
from engine.evaluation.speakers.embeddings import EmbeddedRow, EmbeddedRows
from engine.style.embedder import Nature
from engine.types import DynamicEmbedding

RECIPE = "drawn"
NATURE = Nature(mean=0.0, between=0.6, within=0.8)  # one window is natural above -2.6


def make_row(number: int, speaker: str, session: str | None = None, label: str = "real", **cells: object) -> Row:
    """Build a manifest row with a file named by its number."""
    name = f"{number}.mp4"
    return Row(number, Path(name), label, speaker=speaker, session=session, written=name, **cells)  # type: ignore[arg-type]


def embed(
    row: Row,
    vector: Sequence[float] | np.ndarray,
    seconds: float = 1.0,
    sha256: str = "",
    evidence: float = 0.0,
) -> EmbeddedRow:
    """The row with a vector, brought to length 1, of windows of a second that all agree."""
    direction = np.asarray(vector, np.float64)
    unit = (direction / np.linalg.norm(direction)).astype(np.float32)
    n_windows = max(1, round(seconds))
    found = DynamicEmbedding(unit, seconds, 0.0, RECIPE, n_windows, evidence, NATURE.admits(evidence, n_windows))
    return EmbeddedRow(row, sha256 or f"{row.number:064x}", found)


def gather(*embedded: EmbeddedRow) -> EmbeddedRows:
    """All that were embedded, with none skipped."""
    return EmbeddedRows(embedded, (), RECIPE, "seen", NATURE)


def draw_people(
    n_people: int, n_sessions: int, per_session: int = 1, noise: float = 0.3, size: int = 16, seed: int = 0
) -> list[EmbeddedRow]:
    """Clips of 1 s of people in sessions; `noise` is each clip's own share, infinite leaves nothing of the person."""
    rng = np.random.default_rng(seed)
    found = []
    for person in range(n_people):
        centre = rng.normal(size=size)
        for session in range(n_sessions):
            for _ in range(per_session):
                own = rng.normal(size=size)
                vector = own if np.isinf(noise) else centre + noise * own
                found.append(embed(make_row(len(found) + 1, f"p{person}", f"s{session}"), vector))
    return found
