"""The report that can be printed: one page of HTML that runs nothing and loads nothing."""

from engine.calibration.records import Task
from engine.calibration.verbal_scale import HYPOTHESES
from engine.reports.text import CAUTION
from engine.types import TrackReport
from webapp import views
from webapp.evidence.drawings import draw_curve, draw_timeline
from webapp.evidence.exhibits import Exhibit
from webapp.templates import render

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render_report(exhibit: Exhibit) -> str:
    """Write everything that is said of the file, with both hypotheses, reasons, cautions and what it rests on."""
    analysis, asked = exhibit.analysis, exhibit.speakers or ""
    return render(
        "report.html",
        policy=POLICY,
        exhibit=exhibit,
        original=_describe_original(exhibit).items(),
        summary=views.describe_analysis(analysis, is_live=False),
        pair=HYPOTHESES[Task.CONSISTENCY],
        evidence=views.EVIDENCE,
        faces=[_describe_face(track, analysis.duration_s) for track in analysis.tracks],
        speaker_pair=HYPOTHESES[Task.IDENTIFICATION if '"search"' in asked else Task.VERIFICATION],
        grounds=_describe_grounds(exhibit).items(),
        cautions=CAUTION,
    )


def _describe_original(exhibit: Exhibit) -> dict[str, str]:
    origin = exhibit.origin or {}
    return {
        "File": exhibit.name,
        "Size": f"{exhibit.size_bytes} bytes",
        "SHA-256": f"{exhibit.sha256} (taken while the file was copied, before any decoder saw it)",
        **{f"Origin, {key.replace('_', ' ')}": str(value) for key, value in origin.items()},
        "Analysed": f"{exhibit.finished_at:%Y-%m-%d %H:%M:%S} UTC",
        "Content Credentials (C2PA)": exhibit.credentials.words,
    }


def _describe_face(track: TrackReport, duration_s: float) -> dict[str, object]:
    found = track.consistency
    return {
        "described": views.describe_face(track),
        "windows": found.windows,
        "timeline": draw_timeline(found.windows, duration_s) if found.windows else "",
        "curve": "" if found.curve is None else draw_curve(found.curve),
    }


def _describe_grounds(exhibit: Exhibit) -> dict[str, str]:
    environment = exhibit.environment
    return {
        "Recipe": exhibit.analysis.recipe,
        "Calibration": ", ".join(sorted(exhibit.calibrations)) or "none was in force",
        "Program": f"Wayspeak {environment.get('wayspeak')}, Python {environment.get('python')}",
        "System": str(environment.get("system")),
        **{f"Weights, {name}": digest for name, digest in environment.get("weights", {}).items()},
    }
