"""Language of the phonemes for lip closures."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; older jobs did not request it."""
    op.add_column("job", sa.Column("language", sa.String(8)))
