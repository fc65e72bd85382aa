"""Part and audio of the recording, and the estimated time left."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; older jobs were of whole recordings, with the audio track chosen by rule."""
    for name, kind in (
        ("from_s", sa.Double()),
        ("to_s", sa.Double()),
        ("audio_track", sa.Integer()),
        ("channel", sa.String(8)),
        ("left_s", sa.Double()),
    ):
        op.add_column("job", sa.Column(name, kind))
