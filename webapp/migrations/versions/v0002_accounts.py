"""Tables of accounts, sessions, API keys and failed logins."""

import sqlalchemy as sa
from alembic import op

from gallery_db.schema import UtcTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables of the accounts."""
    op.create_table(
        "account",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("password_hash", sa.String(200), nullable=False),
        sa.Column("is_disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="account_key"),
        sa.UniqueConstraint("name", name="account_one_per_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "account_session",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("account_id", sa.Integer, nullable=False),
        sa.Column("seen_at", UtcTime, nullable=False),
        sa.Column("expires_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="account_session_key"),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], "account_session_of_account_id", ondelete="CASCADE"),
    )
    op.create_table(
        "api_key",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("account_id", sa.Integer, nullable=False),
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="api_key_key"),
        sa.UniqueConstraint("key_hash", name="api_key_one_per_key_hash"),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], "api_key_of_account_id", ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "login_failure",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="login_failure_key"),
    )
    for table, column in (
        ("account_session", "account_id"),
        ("account_session", "expires_at"),
        ("api_key", "account_id"),
        ("login_failure", "subject"),
        ("login_failure", "at"),
    ):
        op.create_index(f"{table}_by_{column}", table, [column])
