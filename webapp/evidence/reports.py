"""The report that can be printed: one page of HTML that runs nothing and loads nothing."""

from html import escape

from engine.calibration.bands import HYPOTHESES, Hypotheses
from engine.calibration.records import Task
from engine.summary import CAUTION
from engine.types import Analysis, TrackReport, Window
from webapp import views
from webapp.evidence.drawings import draw_curve, draw_timeline
from webapp.evidence.exhibits import Exhibit

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1d21; background: #fff; max-width: 52rem; margin: 2rem auto;
  padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin: 1.4rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
section { break-inside: avoid-page; } table { border-collapse: collapse; width: 100%; font-size: .85rem; }
th, td { text-align: left; padding: .15rem .6rem .15rem 0; border-bottom: 1px solid #ccd0d6; vertical-align: top; }
tr { break-inside: avoid; } thead { display: table-header-group; }
dl { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; } dt { font-size: .8rem; color: #52565e; }
dd { margin: 0; font-weight: 600; } code { font-size: .85em; } img { border-radius: 6px; }
.ws-status { border: 1px solid currentColor; border-radius: 99px; padding: .05rem .6rem; font-size: .8rem; }
.ws-banner, .ws-second { border-left: 4px solid #9a6700; padding-left: .7rem; }
.ws-file { color: #52565e; font-size: .85rem; }
.ws-next { color: #52565e; } .ws-face { display: grid; grid-template-columns: 96px 1fr; gap: 1rem; }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: #52565e; } svg line { stroke: #d5d8dd; }
svg polyline { fill: none; stroke: #2f7ed8; stroke-width: 2; } svg circle { fill: #2f7ed8; }
pre { white-space: pre-wrap; font: inherit; }
@media print { body { margin: 0; max-width: none; font-size: 11pt; }
  h2, h3 { break-after: avoid; } a { color: inherit; } }
"""
SIGNED = (
    "The bundle that this report is part of is signed with a key of the installation that wrote it. The signature "
    "shows that this installation wrote it and that nothing was changed since; it does not show that what it says is "
    "right."
)


def render_report(exhibit: Exhibit) -> str:
    """Write everything that is said of the file, with both hypotheses, reasons, cautions and what it rests on."""
    analysis = exhibit.analysis
    faces = "".join(_render_face(track, analysis) for track in analysis.tracks)
    parts = [
        "<h1>Do the face and the voice belong to the same speech?</h1>",
        _render_original(exhibit),
        _strip_live(views.describe_analysis(analysis)),
        _state_hypotheses(HYPOTHESES[Task.CONSISTENCY]),
        faces,
        _render_speakers(exhibit),
        _render_grounds(exhibit),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width"><meta name="referrer" content="no-referrer">'
        f"<title>Wayspeak report: {escape(exhibit.name)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _render_original(exhibit: Exhibit) -> str:
    origin = exhibit.origin or {}
    rows = {
        "File": exhibit.name,
        "Size": f"{exhibit.size_bytes} bytes",
        "SHA-256": f"{exhibit.sha256} (taken while the file was copied, before any decoder saw it)",
        **{f"Origin, {key.replace('_', ' ')}": str(value) for key, value in origin.items()},
        "Analysed": f"{exhibit.finished_at:%Y-%m-%d %H:%M:%S} UTC",
        "Content Credentials (C2PA)": exhibit.credentials.words,
    }
    return _table(rows)


def _state_hypotheses(pair: Hypotheses) -> str:
    return (
        "<section><h2>The two explanations that are weighed</h2><ul>"
        f"<li><b>H1:</b> {escape(pair.first)}.</li><li><b>H2:</b> {escape(pair.second)}.</li></ul>"
        f"<p>{escape(views.EVIDENCE)}</p></section>"
    )


def _render_face(track: TrackReport, analysis: Analysis) -> str:
    found = track.consistency
    parts = [_strip_live(views.describe_face(track))]
    if found.windows:
        parts.append(f"<h3>Consistency over time</h3>{draw_timeline(found.windows, analysis.duration_s)}")
    if found.curve is not None:
        parts.append(f"<h3>Similarity over the offset of the sound</h3>{draw_curve(found.curve)}")
    return f"<section>{''.join(parts)}</section>{_list_windows(found.windows)}"


def _list_windows(windows: tuple[Window, ...]) -> str:
    if not windows:
        return ""
    rows = "".join(
        f"<tr><td>{one.start_s:.1f} to {one.end_s:.1f} s</td><td>{one.score:.3f}</td>"
        f"<td>{one.offset_s:+.2f} s</td></tr>"
        for one in windows
    )
    return (
        '<h3>The timeline as a table</h3><table><thead><tr><th scope="col">Window</th><th scope="col">Score</th>'
        f'<th scope="col">Offset of the sound</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _render_speakers(exhibit: Exhibit) -> str:
    if exhibit.speakers is None:
        return "<section><h2>Whose way of speaking is it?</h2><p>This was not asked.</p></section>"
    pair = HYPOTHESES[Task.IDENTIFICATION if '"search"' in exhibit.speakers else Task.VERIFICATION]
    lines = escape("\n".join(exhibit.speaker_lines))
    return (
        f"<section><h2>Whose way of speaking is it?</h2><pre>{lines}</pre><ul><li><b>H1:</b> {escape(pair.first)}.</li>"
        f"<li><b>H2:</b> {escape(pair.second)}.</li></ul></section>"
    )


def _render_grounds(exhibit: Exhibit) -> str:
    environment = exhibit.environment
    rows = {
        "Recipe": exhibit.analysis.recipe,
        "Calibration": ", ".join(sorted(exhibit.calibrations)) or "none was in force",
        "Program": f"Wayspeak {environment.get('wayspeak')}, Python {environment.get('python')}",
        "System": str(environment.get("system")),
        **{f"Weights, {name}": digest for name, digest in environment.get("weights", {}).items()},
    }
    cautions = "".join(f"<li>{escape(text)}</li>" for text in CAUTION)
    return f"<section><h2>What this rests on</h2>{_table(rows)}<ul>{cautions}</ul><p>{SIGNED}</p></section>"


def _table(rows: dict[str, str]) -> str:
    body = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in rows.items())
    return f"<table><tbody>{body}</tbody></table>"


def _strip_live(html: str) -> str:
    """A printed page announces nothing."""
    return html.replace(' aria-live="polite"', "")
