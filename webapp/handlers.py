"""What the page's events do: check the input, call the engine, hand the result to the views."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.errors import EngineError
from engine.report import to_json, write_json
from engine.types import Analysis, OnStep
from webapp import views
from webapp.examples import EXAMPLES

SHARES = {"read": (0.0, 0.05), "speech": (0.05, 0.1), "faces": (0.1, 0.9), "lips": (0.9, 0.95), "score": (0.95, 1.0)}
ShowProgress = Callable[[float, str], object]
_log = logging.getLogger(__name__)


class Analyser(Protocol):
    """What the page needs of the engine."""

    def analyse(self, path: Path, on_step: OnStep = ...) -> Analysis:
        """Tell for every face in the file whether it belongs to the speech that is heard."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one press of Analyse leaves behind; `analysis` and `download` are None together, after an error."""

    summary: str  # HTML
    analysis: Analysis | None
    download: Path | None


def analyse_file(engine: Analyser, path: str | None, show_progress: ShowProgress, folder: Path) -> Outcome:
    """Analyse the chosen file and leave its report in the folder; an EngineError becomes words on the page."""
    if not path:
        return _refuse(EngineError("No video was chosen.", "Upload a file or take an example, then press Analyse."))
    try:
        analysis = engine.analyse(Path(path), follow_steps(show_progress))
    except EngineError as error:
        return _refuse(error)
    except Exception:  # the page must live on; the log has the cause
        _log.exception("analysing an uploaded file failed")
        return _refuse(EngineError("Something went wrong inside Wayspeak.", "Try again; the terminal shows the cause."))
    return Outcome(views.describe_analysis(analysis), analysis, save_report(analysis, folder))


def follow_steps(show_progress: ShowProgress) -> OnStep:
    """Turn the engine's steps into one bar from 0 to 1 that names the step."""

    def on_step(name: str, completed: int, total: int) -> None:
        begin, end = SHARES.get(name, (0.0, 1.0))
        share = completed / total if total else 0.0
        count = f" ({completed} of {total} frames)" if name == "faces" and total > 1 else ""
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
