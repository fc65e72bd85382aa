"""What the page's events do: check the input, call the engine, hand the result to the views."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError
from engine.methods import Method, list_methods
from engine.report import to_json, write_json
from engine.types import Analysis, OnStep
from webapp import views
from webapp.engines import Analyser
from webapp.examples import EXAMPLES

SHARES = {
    "read": (0.0, 0.05),
    "speech": (0.05, 0.1),
    "faces": (0.1, 0.8),
    "lips": (0.8, 0.82),
    "mouths": (0.82, 0.88),
    "score": (0.88, 1.0),
}
ShowProgress = Callable[[float, str], object]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one press of Analyse leaves behind; `analysis` and `download` are None together, after an error."""

    summary: str  # HTML
    analysis: Analysis | None
    download: Path | None


def analyse_file(
    take_engine: Callable[[], Analyser], path: str | None, show_progress: ShowProgress, folder: Path
) -> Outcome:
    """Analyse the chosen file and leave its report in the folder; an EngineError becomes words on the page."""
    if not path:
        return _refuse(EngineError("No video was chosen.", "Upload a file or take an example, then press Analyse."))
    try:
        show_progress(0.0, "Loading the model")
        analysis = take_engine().analyse(Path(path), follow_steps(show_progress))
    except EngineError as error:
        return _refuse(error)
    except Exception:  # the page must live on; the log has the cause
        _log.exception("analysing an uploaded file failed")
        return _refuse(EngineError("Something went wrong inside Wayspeak.", "Try again; the terminal shows the cause."))
    return Outcome(views.describe_analysis(analysis), analysis, save_report(analysis, folder))


def find_method(title: str | None, data_dir: Path) -> Method:
    """Give the method of this title; EngineError where it is not, or no longer, among those that are there."""
    for method in list_methods(data_dir):
        if method.title == title:
            return method
    raise EngineError(f"The method {title!r} is not there.", "Reload the page, which lists the methods anew.")


def follow_steps(show_progress: ShowProgress) -> OnStep:
    """Turn the engine's steps into one bar from 0 to 1 that names the step."""

    def on_step(name: str, completed: int, total: int) -> None:
        begin, end = SHARES.get(name, (0.0, 1.0))
        share = completed / total if total else 0.0
        count = f" ({completed} of {total} frames)" if name in ("faces", "mouths") and total > 1 else ""
        show_progress(begin + (end - begin) * min(share, 1.0), views.STEP_WORDS.get(name, name) + count)

    return on_step


def save_report(analysis: Analysis, folder: Path) -> Path:
    """Write the JSON into a new folder, byte for byte what the command line writes, for the browser to fetch."""
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=folder)) / f"wayspeak-{analysis.sha256[:12]}.json"
    path.write_text(write_json(to_json(analysis)), "utf-8")
    return path


def show_video(path: str | None) -> str:
    """Show the chosen file, with what is known of it where it is an example of ours."""
    if not path:
        return views.show_player(None)
    captions = {example.file: example.caption for example in EXAMPLES}
    return views.show_player(Path(path), captions.get(Path(path).name, ""))


def _refuse(error: EngineError) -> Outcome:
    return Outcome(views.describe_error(error), None, None)
