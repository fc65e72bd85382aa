"""Connection and metadata for Alembic."""

from alembic import context

from webapp.database import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    transactional_ddl=True,  # SQLite supports it
)
context.run_migrations()  # in the caller's transaction
