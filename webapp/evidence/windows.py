"""The timeline of every face as a CSV that a spreadsheet may open."""

import csv
import io

from engine.datasets.manifest import guard_cell
from engine.types import Analysis

COLUMNS = ("file", "sha256", "face", "start_s", "end_s", "score", "offset_s")


def to_windows_csv(analysis: Analysis) -> str:
    """Write a row a window, faces counted from 1 as the page does; no text in it is taken for a formula."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    clip = (guard_cell(analysis.name), analysis.sha256)
    for track in analysis.tracks:
        for window in track.consistency.windows:
            figures = (window.start_s, window.end_s, window.score, window.offset_s)
            places = (3, 3, 6, 3)  # as in the JSON
            told = [f"{figure:.{n}f}" for figure, n in zip(figures, places, strict=True)]
            writer.writerow([*clip, track.id + 1, *told])
    return stream.getvalue()
