"""What a stranger named, the page shows as text: no markup, no script, no address comes of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import UnreadableVideo
from engine.types import Model
from tests.fakes import make_analysis
from tests.payloads import check_html
from webapp import views

WRITERS = {
    "name of a file": lambda text: views.describe_analysis(make_analysis(name=text)),
    "recipe": lambda text: views.describe_analysis(replace(make_analysis(), recipe=text)),
    "error": lambda text: views.describe_error(UnreadableVideo(text, "Fetch it again.")),
    "hint": lambda text: views.describe_error(UnreadableVideo("It is empty.", text)),
    "caption": lambda text: views.show_player(Path("a.mp4"), text),
    "path": lambda text: views.show_player(Path("uploads") / text),
    "method that lacks something": lambda text: views.describe_methods({Model.AVHUBERT_BASE: UnreadableVideo(text)}),
}
NEVER_SHOWN = ("recipe", "path", "method that lacks something")  # or in another form


@pytest.mark.parametrize("writer", WRITERS)
def test_payloads_are_inert(writer: str) -> None:
    check_html(WRITERS[writer], has_payload=writer not in NEVER_SHOWN)
