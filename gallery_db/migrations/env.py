"""Alembic environment: connection and metadata of the gallery."""

from alembic import context

from gallery_db.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table by rewriting it
    transactional_ddl=True,  # SQLite supports it
)
context.run_migrations()  # in the caller's transaction
