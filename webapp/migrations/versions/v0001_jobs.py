"""Tables of the jobs and of the speakers in their results."""

import sqlalchemy as sa
from alembic import op

from gallery_db.schema import UtcTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables of the jobs."""
    op.create_table(
        "job",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("sha256", sa.String(64)),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("speaker", sa.Text),
        sa.Column("batch", sa.String(64)),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("started_at", UtcTime),
        sa.Column("finished_at", UtcTime),
        sa.Column("step", sa.String(40), nullable=False),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(200)),
        sa.Column("leased_until", UtcTime),
        sa.Column("error_code", sa.String(60)),
        sa.Column("error_message", sa.Text),
        sa.Column("error_hint", sa.Text),
        sa.Column("recipe", sa.Text),
        sa.PrimaryKeyConstraint("number", name="job_key"),
        sa.UniqueConstraint("id", name="job_one_per_id"),
        sqlite_autoincrement=True,
    )
    for column in ("owner", "state", "batch", "sha256"):
        op.create_index(f"job_by_{column}", "job", [column])
    op.create_table(
        "job_speaker",
        sa.Column("job_number", sa.Integer, nullable=False),
        sa.Column("speaker_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("job_number", "speaker_id", name="job_speaker_key"),
        sa.ForeignKeyConstraint(["job_number"], ["job.number"], "job_speaker_of_job_number", ondelete="CASCADE"),
    )
    op.create_index("job_speaker_by_speaker_id", "job_speaker", ["speaker_id"])
