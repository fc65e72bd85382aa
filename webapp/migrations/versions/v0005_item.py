"""Number of the video at a link with several."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; older jobs were of links with one video."""
    op.add_column("job", sa.Column("item", sa.Integer))
