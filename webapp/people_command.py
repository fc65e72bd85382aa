"""The gallery's own commands, run where there are jobs: whoever is forgotten goes from what these found, too."""

from collections.abc import Sequence

from gallery_db.command import CLEANERS
from gallery_db.command import app as people
from webapp.galleries import JOBS, make_cleaner


def app(args: Sequence[str], prog_name: str) -> None:
    """Run them with these arguments, as the typer app itself would."""
    CLEANERS.set({JOBS: make_cleaner})
    people(args=list(args), prog_name=prog_name)
