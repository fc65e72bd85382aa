"""Which language a job's speech sounds are of, where they are to be held against the lips."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; of older jobs it was not asked."""
    op.add_column("job", sa.Column("language", sa.String(8)))
