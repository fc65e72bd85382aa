"""Where alembic is told of the connection and of the tables."""

from alembic import context

from webapp.database import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table by writing it anew
    transactional_ddl=True,  # also in SQLite, which can
)
context.run_migrations()  # in the transaction that the caller holds
