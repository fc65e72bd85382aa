"""Evidence bundle: all results of a file and their inputs, signed, in one archive."""

import base64
import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from engine.consistency.methods import TITLES
from engine.datasets.manifest import guard_cell
from engine.types import Analysis, TrackReport
from webapp.bundle import verify
from webapp.bundle.contents import BundleContents
from webapp.bundle.report_html import render_report
from webapp.bundle.signing_key import SigningKey
from webapp.templates import render
from webapp.views.plots import plot_curve, plot_curves, plot_timeline

COLUMNS = ("file", "sha256", "face", "start_s", "end_s", "score", "offset_s", "track_score")
DRAW = (
    "for (const box of document.querySelectorAll('[data-figure]')) {"
    " const figure = JSON.parse(document.getElementById(box.dataset.figure).textContent);"
    " Plotly.newPlot(box, figure.data, figure.layout, {displaylogo: false, responsive: true}); }"
)
README = """An evidence bundle of Wayspeak. It states what was measured in one file, never whether that file is genuine.

report.html       the printable report, without scripts and network access
result.json       the result as JSON, as `wayspeak analyse --json` writes it
{optional}windows.csv       the timeline of every face
figures.html      the plots, without network access
exhibit.json      name, size, SHA-256 and source of the original, and the calibration in force
environment.json  versions of all programs, SHA-256 of all weights
models/           model cards with known weaknesses
manifest.sha256   the SHA-256 of every file here; `sha256sum -c manifest.sha256` reads it
signature.ed25519 the signature of that list, with the key in public-key.ed25519

The original file is not in the bundle. To identify it, compare its SHA-256 with the one in exhibit.json.

To check the bundle, with Python 3.10 or newer and nothing else:

    python verify.py BUNDLE.zip --fingerprint {fingerprint}

Take verify.py from Wayspeak, or run `wayspeak verify-bundle BUNDLE.zip`: a bundle must not vouch for itself.
The signature shows that the installation that holds the key wrote the bundle, and that nothing was changed since.
It does not show that what it says is right, nor who runs that installation: ask them for the fingerprint.
"""
SPEAKERS = "speakers.json     speaker search and verification\n"
PHONEMES = "phonemes.json     which phonemes should close or round the lips, and whether they did: no verdict\n"


def to_windows_csv(analysis: Analysis) -> str:
    """Write one row per window, faces numbered from 1 as on the page, with formulas guarded."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    clip = (guard_cell(analysis.name), analysis.sha256)
    for track in analysis.tracks:
        for window in track.consistency.windows:
            figures = (window.start_s, window.end_s, window.score, window.offset_s)
            places = (3, 3, 6, 3)  # decimals, as in the JSON
            values = [f"{figure:.{n}f}" for figure, n in zip(figures, places, strict=True)]
            track_score = "" if window.track_score is None else f"{window.track_score:.6f}"
            writer.writerow([*clip, track.id + 1, *values, track_score])
    return stream.getvalue()


def render_plots(analysis: Analysis) -> str:
    """Render all plots as one page with plotly inline; scripts are allowed by hash, requests are not."""
    scripts = (get_plotlyjs(), DRAW)
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    return render(
        "figures.html",
        policy=f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:",
        analysis=analysis,
        faces=[(track, _write_figures(track, analysis)) for track in analysis.tracks],
        scripts=[Markup(script) for script in scripts],  # noqa: S704  # both are fixed texts of the program
    )


def list_plots(track: TrackReport, analysis: Analysis) -> dict[str, go.Figure]:
    """Return the plots of one face by name; none if nothing was scored."""
    found, figures = track.consistency, {}
    if found.windows:
        timeline = plot_timeline(found.windows, analysis.duration_s, from_s=analysis.media.from_s, spans=found.spans)
        timeline.update_layout(title_text="Consistency over time")
        figures["timeline"] = timeline
    if found.curve is not None:
        second = found.second
        figures["curve"] = (
            plot_curve(found.curve)
            if second is None
            else plot_curves((TITLES[analysis.model], found.curve), (TITLES[second.model], second.curve))
        )
    for figure in figures.values():  # the page has no player to click for
        figure.for_each_trace(_drop_click)
    return figures


def _drop_click(trace: go.Scatter) -> None:
    if trace.hovertemplate:
        trace.hovertemplate = trace.hovertemplate.replace("<br><i>click: play from here</i>", "")


def _write_figures(track: TrackReport, analysis: Analysis) -> dict[str, Markup]:
    """Write each figure as JSON that cannot end the script element."""
    figures = list_plots(track, analysis).items()
    return {name: Markup(figure.to_json().replace("<", "\\u003c")) for name, figure in figures}  # noqa: S704


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def make_bundle(contents: BundleContents, key: SigningKey) -> bytes:
    """Return the signed archive; the same contents and key produce the same bytes."""
    return verify.pack(sign_members(list_members(contents, key), key))


def list_members(contents: BundleContents, key: SigningKey) -> dict[str, bytes]:
    """Return all files of the bundle by name, unsigned."""
    optional = (SPEAKERS if contents.speakers is not None else "") + (PHONEMES if contents.phonemes is not None else "")
    texts = {
        "README.txt": README.format(optional=optional, fingerprint=key.fingerprint),
        "result.json": contents.result,
        "windows.csv": to_windows_csv(contents.analysis),
        "report.html": render_report(contents),
        "figures.html": render_plots(contents.analysis),
        "exhibit.json": _write(contents.describe()),
        "environment.json": _write(contents.environment),
        "verify.py": Path(verify.__file__).read_text("utf-8"),
        **{f"models/{name}": text for name, text in contents.cards.items()},
        **{f"calibrations/{number}.json": text for number, text in contents.calibrations.items()},
    }
    if contents.speakers is not None:
        texts["speakers.json"] = contents.speakers
    if contents.phonemes is not None:
        texts["phonemes.json"] = contents.phonemes
    pictures = {f"faces/{face}.png": path.read_bytes() for face, path in contents.thumbnails.items()}
    return {name: text.encode() for name, text in texts.items()} | pictures


def sign_members(members: dict[str, bytes], key: SigningKey) -> dict[str, bytes]:
    """Add the public key, the manifest of all hashes, and its signature."""
    listed = {**members, verify.PUBLIC_KEY: verify.write_hex(key.public)}
    manifest = verify.write_manifest(listed)
    return {**listed, verify.MANIFEST: manifest, verify.SIGNATURE: verify.write_hex(key.sign(manifest))}


def _write(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n"
