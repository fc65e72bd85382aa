"""Schema versions, and migration of older databases."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from gallery_db.errors import GalleryDamaged, GalleryNewer
from gallery_db.schema import VERSION

HERE = Path(__file__).parent
TABLE = "alembic_version"


def read_version(connection: Connection) -> str | None:
    """Return the schema version, None for an empty database; raises GalleryDamaged for foreign tables."""
    tables = inspect(connection).get_table_names()
    if TABLE in tables:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if tables:
        raise GalleryDamaged(
            f"The database has tables of another program ({', '.join(sorted(tables)[:3])}).", "Choose another one."
        )
    return None


def bring_up_to_date(connection: Connection, version: str = VERSION, scripts: Path = HERE) -> None:
    """Migrate with these scripts in the caller's transaction, so that it happens atomically and once.

    Raises GalleryNewer for a database of a newer version of Wayspeak.
    """
    found = read_version(connection)
    if found == version:
        return
    from alembic import command  # slow to import, rarely needed
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise GalleryNewer(
            f"The gallery has version {found}, this Wayspeak supports up to {version}.",
            "Update Wayspeak; an older program never changes a newer gallery.",
        )
    config.attributes["connection"] = connection
    command.upgrade(config, version)
