"""Tables of the gallery, the same in SQLite and PostgreSQL.

speaker <- sample <- embedding -> consent: every embedding needs a consent. `template` is derived from the vectors and
the index from `template`; `generation` counts the changes of templates. Ids are never reused, so a stale id never names
another speaker. Triggers of the migrations make `calibration` (once approved) and `audit` immutable. The migrations
also create `result` and `result_speaker`, which are always empty and have no model here.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np
from sqlalchemy import (
    JSON,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

from gallery_db.records import MAX_TERM_DAYS, MAX_THUMBNAIL, Basis

VERSION = "0001"
"""Newest migration, which this code reads and writes."""

BASES = ", ".join(f"'{basis}'" for basis in Basis)


class Vector(TypeDecorator[np.ndarray]):
    """Float32 vector: little-endian bytes in SQLite, pgvector's `vector` in PostgreSQL."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of this database."""
        if dialect.name == "postgresql":
            from pgvector.sqlalchemy import VECTOR  # needed for PostgreSQL only

            return dialect.type_descriptor(VECTOR())
        return dialect.type_descriptor(LargeBinary())

    def process_bind_param(self, value: np.ndarray | None, dialect: Dialect) -> Any:
        """Serialise a vector; raises ValueError if it is not (D,) and finite."""
        if value is None:
            return None
        if value.ndim != 1 or not np.isfinite(value).all():
            raise ValueError(f"a vector of shape {value.shape}, wanted (D,) with finite numbers")
        return value.astype(np.float32) if dialect.name == "postgresql" else value.astype("<f4").tobytes()

    def process_result_value(self, value: Any, dialect: Dialect) -> np.ndarray | None:
        """Return the vector as (D,) float32."""
        if value is None:
            return None
        if isinstance(value, bytes | memoryview):
            return np.frombuffer(value, "<f4").astype(np.float32)
        return np.array(value, np.float32)  # an array, a list or its own type, depending on the version of pgvector


class UtcTime(TypeDecorator[datetime]):
    """Time-zone-aware UTC time; SQLite stores no zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC and drop the zone."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Attach UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """The metadata of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_by_%(column_0_name)s",
            "uq": "%(table_name)s_one_per_%(column_0_name)s",
            "fk": "%(table_name)s_of_%(column_0_name)s",
            "pk": "%(table_name)s_key",
        }
    )
    type_annotation_map: ClassVar = {float: Double}


class SpeakerRow(Base):
    """Enrolled speaker; a merged speaker keeps its row, so that the merge can be reverted."""

    __tablename__ = "speaker"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    name_key: Mapped[str] = mapped_column(String(800), unique=True)  # the name in NFKC and case-folded
    salt: Mapped[bytes] = mapped_column(
        LargeBinary(16)
    )  # deleted with the speaker: audit rows can then no longer be linked
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    merged_into_id: Mapped[int | None] = mapped_column(ForeignKey("speaker.id"), index=True)


class ConsentRow(Base):
    """Consent to keep vectors; deleted with the last of them."""

    __tablename__ = "consent"
    __table_args__ = (
        CheckConstraint(f"basis IN ({BASES})", name="consent_basis"),
        CheckConstraint(f"term_days BETWEEN 1 AND {MAX_TERM_DAYS}", name="consent_term"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    basis: Mapped[str] = mapped_column(String(20))
    purpose: Mapped[str] = mapped_column(Text)
    term_days: Mapped[int]
    notice_version: Mapped[str] = mapped_column(Text)
    collector: Mapped[str] = mapped_column(Text)
    given_at: Mapped[datetime] = mapped_column(UtcTime)
    expires_at: Mapped[datetime] = mapped_column(UtcTime, index=True)
    release_sha256: Mapped[str | None] = mapped_column(String(64))


class SampleRow(Base):
    """One clip of a speaker."""

    __tablename__ = "sample"
    __table_args__ = (
        CheckConstraint(f"length(thumbnail) <= {MAX_THUMBNAIL}", name="sample_thumbnail"),
        CheckConstraint("seconds > 0", name="sample_seconds"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    speaker_id: Mapped[int] = mapped_column(ForeignKey("speaker.id"), index=True)
    source_hash: Mapped[str] = mapped_column(String(64), index=True)
    source_name: Mapped[str] = mapped_column(Text)
    session: Mapped[str] = mapped_column(Text)
    seconds: Mapped[float]
    face_px: Mapped[float | None]
    thumbnail: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcTime)


class EmbeddingRow(Base):
    """Embedding of a sample in one recipe."""

    __tablename__ = "embedding"  # `vector` is a type of pgvector
    __table_args__ = (UniqueConstraint("sample_id", "recipe"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    sample_id: Mapped[int] = mapped_column(ForeignKey("sample.id"))
    consent_id: Mapped[int] = mapped_column(ForeignKey("consent.id"), index=True)
    recipe: Mapped[str] = mapped_column(Text)
    dim: Mapped[int]
    vector: Mapped[np.ndarray] = mapped_column(Vector)
    seconds: Mapped[float]
    spread: Mapped[float]
    n_windows: Mapped[int]
    evidence: Mapped[float]


class TemplateRow(Base):
    """Unit-length mean of a speaker's vectors of one recipe, weighted by seconds; searches compare with it."""

    __tablename__ = "template"
    __table_args__ = (Index("template_by_generation", "recipe", "generation"),)

    recipe: Mapped[str] = mapped_column(Text, primary_key=True)
    speaker_id: Mapped[int] = mapped_column(ForeignKey("speaker.id"), primary_key=True, index=True)
    dim: Mapped[int]
    vector: Mapped[np.ndarray] = mapped_column(Vector)
    n_samples: Mapped[int]
    seconds: Mapped[float]
    generation: Mapped[int]  # of the last change


class MergeRow(Base):
    """Merge of two speakers with the samples that were moved; deleted when it is reverted."""

    __tablename__ = "merge"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    kept_id: Mapped[int] = mapped_column(ForeignKey("speaker.id"), index=True)
    absorbed_id: Mapped[int] = mapped_column(ForeignKey("speaker.id"), unique=True)
    samples: Mapped[list[int]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcTime)


class CalibrationRow(Base):
    """Calibration record; immutable once it is not a draft: a successor names it in `supersedes`."""

    __tablename__ = "calibration"
    __table_args__ = (
        CheckConstraint("status IN ('draft', 'approved', 'retired')", name="calibration_status"),
        CheckConstraint("status = 'draft' OR approver IS NOT NULL", name="calibration_approved_by_somebody"),
        CheckConstraint("approver IS NULL OR approver <> author", name="calibration_approved_by_another"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[str] = mapped_column(String(40))
    task: Mapped[str] = mapped_column(String(20))  # consistency, verification, identification
    status: Mapped[str] = mapped_column(String(10))
    recipe: Mapped[str] = mapped_column(Text)
    record: Mapped[dict[str, Any]] = mapped_column(JSON)  # calibrator, parameters, bounds, policy, counts, metrics
    manifest_sha256: Mapped[str | None] = mapped_column(String(64))
    code_version: Mapped[str] = mapped_column(String(64))
    notebook_sha256: Mapped[str | None] = mapped_column(String(64))
    report_sha256: Mapped[str | None] = mapped_column(String(64))
    seed: Mapped[int]
    author: Mapped[str] = mapped_column(Text)
    approver: Mapped[str | None] = mapped_column(Text)
    valid_from: Mapped[datetime] = mapped_column(UtcTime)
    valid_to: Mapped[datetime | None] = mapped_column(UtcTime)
    supersedes: Mapped[str | None] = mapped_column(ForeignKey("calibration.id"))


class AuditRow(Base):
    """Audit entry, chained by the hash of the previous row."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 1, 2, 3 ... without gaps
    at: Mapped[datetime] = mapped_column(UtcTime)
    action: Mapped[str] = mapped_column(String(20))
    subject: Mapped[str | None] = mapped_column(String(64))  # salted hash of the speaker's id, never a name
    detail: Mapped[str] = mapped_column(Text)  # canonical JSON
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class GenerationRow(Base):
    """Single row: generation of the last change of templates, to invalidate data derived from them."""

    __tablename__ = "generation"
    __table_args__ = (CheckConstraint("id = 1", name="generation_is_one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    epoch: Mapped[str] = mapped_column(
        String(32)
    )  # replaced by a restore: generations of two epochs are not comparable
    value: Mapped[int]
    removed_at: Mapped[int]  # the generation at which a template was last removed
