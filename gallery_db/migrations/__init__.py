"""Versions of the schema, and how an older database becomes the newest."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from gallery_db.errors import GalleryDamaged, GalleryNewer
from gallery_db.schema import VERSION

HERE = Path(__file__).parent
TABLE = "alembic_version"


def read_version(connection: Connection) -> str | None:
    """Tell the version of a database; None where it is blank. GalleryDamaged where it is another program's."""
    tables = inspect(connection).get_table_names()
    if TABLE in tables:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if tables:
        raise GalleryDamaged(
            f"The database holds tables of something else ({', '.join(sorted(tables)[:3])}).", "Choose another one."
        )
    return None


def bring_up_to_date(connection: Connection, version: str = VERSION, scripts: Path = HERE) -> None:
    """Migrate by these scripts within the transaction that the caller holds, so that it happens whole and once.

    GalleryNewer where the database was written by a version of Wayspeak that knows more.
    """
    found = read_version(connection)
    if found == version:
        return
    from alembic import command  # slow to import, and seldom needed
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise GalleryNewer(
            f"The gallery is of version {found}, and this Wayspeak knows up to {version}.",
            "Update Wayspeak; a newer gallery is never changed by an older program.",
        )
    config.attributes["connection"] = connection
    command.upgrade(config, version)
