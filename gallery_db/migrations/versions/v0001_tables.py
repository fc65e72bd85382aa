"""Initial tables: speakers, consents, samples, templates, calibrations and the audit log."""

import secrets

import sqlalchemy as sa
from alembic import op

from gallery_db.schema import UtcTime, Vector

revision = "0001"
down_revision = None

SEALED = {  # table: condition of the rows that triggers protect against change and deletion
    "audit": "true",
    "calibration": "OLD.status <> 'draft'",
}


def upgrade() -> None:
    """Create all tables, their triggers, and the single row of `generation`."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    _make_people()
    _make_samples()
    _make_templates()
    _make_results()
    _make_books()
    _seal()
    op.execute(
        sa.text("INSERT INTO generation (id, epoch, value, removed_at) VALUES (1, :epoch, 0, 0)").bindparams(
            epoch=secrets.token_hex(16)
        )
    )


def _number() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _make_people() -> None:
    op.create_table(
        "speaker",
        _number(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_key", sa.String(800), nullable=False),
        sa.Column("salt", sa.LargeBinary(16), nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("merged_into_id", sa.Integer, sa.ForeignKey("speaker.id", name="speaker_of_merged_into_id")),
        sa.PrimaryKeyConstraint("id", name="speaker_key"),
        sa.UniqueConstraint("name_key", name="speaker_one_per_name_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("speaker_by_merged_into_id", "speaker", ["merged_into_id"])
    op.create_table(
        "consent",
        _number(),
        sa.Column("basis", sa.String(20), nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("term_days", sa.Integer, nullable=False),
        sa.Column("notice_version", sa.Text, nullable=False),
        sa.Column("collector", sa.Text, nullable=False),
        sa.Column("given_at", UtcTime, nullable=False),
        sa.Column("expires_at", UtcTime, nullable=False),
        sa.Column("release_sha256", sa.String(64)),
        sa.CheckConstraint(
            "basis IN ('consent', 'legal_claim', 'journalism', 'public_interest', 'research')", name="consent_basis"
        ),
        sa.CheckConstraint("term_days BETWEEN 1 AND 1095", name="consent_term"),
        sa.PrimaryKeyConstraint("id", name="consent_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("consent_by_expires_at", "consent", ["expires_at"])


def _make_samples() -> None:
    op.create_table(
        "sample",
        _number(),
        sa.Column("speaker_id", sa.Integer, sa.ForeignKey("speaker.id", name="sample_of_speaker_id"), nullable=False),
        sa.Column("source_hash", sa.String(64), nullable=False),
        sa.Column("source_name", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("face_px", sa.Double),
        sa.Column("thumbnail", sa.LargeBinary),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.CheckConstraint("length(thumbnail) <= 65536", name="sample_thumbnail"),
        sa.CheckConstraint("seconds > 0", name="sample_seconds"),
        sa.PrimaryKeyConstraint("id", name="sample_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("sample_by_speaker_id", "sample", ["speaker_id"])
    op.create_index("sample_by_source_hash", "sample", ["source_hash"])
    op.create_table(
        "embedding",  # `vector` is a type of pgvector
        _number(),
        sa.Column("sample_id", sa.Integer, sa.ForeignKey("sample.id", name="embedding_of_sample_id"), nullable=False),
        sa.Column(
            "consent_id", sa.Integer, sa.ForeignKey("consent.id", name="embedding_of_consent_id"), nullable=False
        ),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("dim", sa.Integer, nullable=False),
        sa.Column("vector", Vector, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("spread", sa.Double, nullable=False),
        sa.Column("n_windows", sa.Integer, nullable=False),
        sa.Column("evidence", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="embedding_key"),
        sa.UniqueConstraint("sample_id", "recipe", name="embedding_one_per_sample_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("embedding_by_consent_id", "embedding", ["consent_id"])


def _make_templates() -> None:
    speaker = sa.ForeignKey("speaker.id", name="template_of_speaker_id")
    op.create_table(
        "template",
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("speaker_id", sa.Integer, speaker, nullable=False),
        sa.Column("dim", sa.Integer, nullable=False),
        sa.Column("vector", Vector, nullable=False),
        sa.Column("n_samples", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("recipe", "speaker_id", name="template_key"),
    )
    op.create_index("template_by_speaker_id", "template", ["speaker_id"])
    op.create_index("template_by_generation", "template", ["recipe", "generation"])
    op.create_table(
        "merge",
        _number(),
        sa.Column("kept_id", sa.Integer, sa.ForeignKey("speaker.id", name="merge_of_kept_id"), nullable=False),
        sa.Column("absorbed_id", sa.Integer, sa.ForeignKey("speaker.id", name="merge_of_absorbed_id"), nullable=False),
        sa.Column("samples", sa.JSON, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="merge_key"),
        sa.UniqueConstraint("absorbed_id", name="merge_one_per_absorbed_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("merge_by_kept_id", "merge", ["kept_id"])


def _make_results() -> None:
    op.create_table(
        "calibration",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
        sa.Column("task", sa.String(20), nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("record", sa.JSON, nullable=False),
        sa.Column("manifest_sha256", sa.String(64)),
        sa.Column("code_version", sa.String(64), nullable=False),
        sa.Column("notebook_sha256", sa.String(64)),
        sa.Column("report_sha256", sa.String(64)),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("approver", sa.Text),
        sa.Column("valid_from", UtcTime, nullable=False),
        sa.Column("valid_to", UtcTime),
        sa.Column("supersedes", sa.String(64), sa.ForeignKey("calibration.id", name="calibration_of_supersedes")),
        sa.CheckConstraint("status IN ('draft', 'approved', 'retired')", name="calibration_status"),
        sa.CheckConstraint("status = 'draft' OR approver IS NOT NULL", name="calibration_approved_by_somebody"),
        sa.CheckConstraint("approver IS NULL OR approver <> author", name="calibration_approved_by_another"),
        sa.PrimaryKeyConstraint("id", name="calibration_key"),
    )
    calibration = sa.ForeignKey("calibration.id", name="result_of_calibration_id")
    op.create_table(
        "result",
        _number(),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("source_hash", sa.String(64), nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("calibration_id", sa.String(64), calibration),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="result_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("result_by_source_hash", "result", ["source_hash"])


def _make_books() -> None:
    """Create the tables of named speakers, audit entries and template generations."""
    op.create_table(
        "result_speaker",
        sa.Column("result_id", sa.Integer, sa.ForeignKey("result.id", name="result_speaker_of_result_id")),
        sa.Column("speaker_id", sa.Integer, sa.ForeignKey("speaker.id", name="result_speaker_of_speaker_id")),
        sa.PrimaryKeyConstraint("result_id", "speaker_id", name="result_speaker_key"),
    )
    op.create_index("result_speaker_by_speaker_id", "result_speaker", ["speaker_id"])
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, autoincrement=False),
        sa.Column("at", UtcTime, nullable=False),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("subject", sa.String(64)),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="audit_key"),
    )
    op.create_table(
        "generation",
        sa.Column("id", sa.Integer, autoincrement=False),
        sa.Column("epoch", sa.String(32), nullable=False),
        sa.Column("value", sa.Integer, nullable=False),
        sa.Column("removed_at", sa.Integer, nullable=False),
        sa.CheckConstraint("id = 1", name="generation_is_one_row"),
        sa.PrimaryKeyConstraint("id", name="generation_key"),
    )


def _seal() -> None:
    """Create triggers that refuse changes of sealed rows from any program."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% rows are sealed', TG_TABLE_NAME; END $$"
        )
    for table, condition in SEALED.items():
        for change in ("UPDATE", "DELETE"):
            head = (
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} FOR EACH ROW WHEN ({condition})"
            )
            if op.get_bind().dialect.name == "postgresql":
                op.execute(f"{head} EXECUTE FUNCTION refuse_change()")
            else:
                op.execute(f"{head} BEGIN SELECT RAISE(ABORT, '{table} rows are sealed'); END")
