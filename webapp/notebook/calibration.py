"""Functions of `notebooks/calibration.ipynb`: collect scores, tabulate and plot metrics, store records."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from rich.box import SIMPLE
from rich.table import Table
from scipy.stats import norm

from engine.calibration.files import write_record
from engine.calibration.records import Calibration, Task
from engine.calibration.trials import ScoredTrials, TrialOptions
from engine.datasets.manifest import read_manifest
from engine.evaluation.bench import EvaluationOptions
from engine.evaluation.calibration_trials import collect_trials, read_scores
from engine.evaluation.measurements import ReadOptions, score_clips
from engine.evaluation.plots import COLOURS, TEXT, line_style, plot_lengths, plot_scores, style_figure
from engine.evaluation.results import Discrimination
from engine.evaluation.score_overview import Overview, summarise_clips, summarise_trials
from engine.metrics import ErrorCurve, trace_reliability, trace_tippett
from engine.pipeline import Engine
from engine.settings import Settings
from engine.types import Mode
from gallery_db.gallery import Gallery
from webapp.progress import show_counts

__all__ = ["plot_det", "plot_lengths", "plot_reliability", "plot_roc", "plot_scores", "plot_tippett"]


TICKS = (0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99, 0.999)  # of a DET plot


@dataclass(frozen=True, slots=True)
class Sources:
    """Source of the scores: a manifest, or a file of stored scores."""

    manifest: str
    scores: str  # file of stored scores, replaces the manifest
    task: Task
    cache: str = ""
    workers: int = 1
    windows_s: tuple[float, ...] = EvaluationOptions().seconds
    seed: int = 0

    @property
    def reading(self) -> ReadOptions:
        """Options for reading clips."""
        return ReadOptions(Path(self.cache) if self.cache else None, 0.0, 0, self.workers)


def load_trials(sources: Sources, settings: Settings) -> tuple[ScoredTrials, str]:
    """Collect the same trials as `wayspeak calibrate`; return them with a remark on clips known from training."""
    if sources.scores:
        return read_scores(Path(sources.scores), sources.task, None, Mode.STRICT, settings), ""
    options = TrialOptions(seed=sources.seed)
    manifest = Path(sources.manifest)
    with show_counts() as on_row:
        return collect_trials(manifest, sources.task, None, Mode.STRICT, options, settings, sources.reading, on_row)


def load_overview(sources: Sources, settings: Settings) -> Overview:
    """Score all clips of a manifest, forged ones included; for speaker tasks and stored scores, use the trials."""
    if sources.scores or sources.task != Task.CONSISTENCY:
        return summarise_trials(load_trials(sources, settings)[0], sources.seed)
    engine = Engine.load(settings)
    with show_counts() as on_row:
        measurements = score_clips(read_manifest(Path(sources.manifest)), engine, settings, sources.reading, on_row)
    return summarise_clips(measurements, engine, EvaluationOptions(sources.windows_s, seed=sources.seed))


def keep_records(
    record: Calibration, approver: str, folder: Path, settings: Settings | None
) -> dict[Path, Calibration]:
    """Write the draft, and the approved record if there is an approver; with settings, store both in the gallery."""
    records = [record, *([record.approve(approver)] if approver else [])]
    written = {folder / f"{one.task}-{one.status}.json": one for one in records}
    for path, one in written.items():
        write_record(one, path)
    if settings is not None:
        with Gallery.open(settings) as gallery:
            for one in records:
                gallery.keep_calibration(one)
    return written


def tabulate_metrics(record: Calibration) -> Table:
    """Tabulate all held-out metrics with their 95 % intervals and resampling units."""
    table = Table("trials", "figure", "value", "95 %", "over", "same", "different", box=SIMPLE)
    for one in record.metrics:
        interval = "-" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
        table.add_row(
            one.condition, one.name, f"{one.value:.3f}", interval, one.over, str(one.n_same), str(one.n_different)
        )
    return table


def tabulate_discrimination(classes: Mapping[str, Discrimination], heading: str) -> Table:
    """Tabulate AUC and EER of real clips against others per class."""
    table = Table(heading, "AUC", "95 %", "EER", "real", "other", box=SIMPLE)
    for name, one in classes.items():
        interval = "-" if one.ci is None else f"{one.ci[0]:.3f} to {one.ci[1]:.3f}"
        table.add_row(name, _show(one.auc), interval, _show(one.eer), str(one.n_real), str(one.n_other))
    return table


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def plot_roc(curves: Mapping[str, ErrorCurve]) -> go.Figure:
    """Plot ROC curves per class, with the AUC."""
    figure = go.Figure(_line([0, 1], [0, 1], "chance", TEXT, "dot"))
    for number, (name, curve) in enumerate(curves.items()):
        label = f"{name}: AUC {curve.auc():.3f}"
        figure.add_trace(_line(curve.accepted, 1 - curve.refused, label, *line_style(number)))
    return style_figure(figure, "ROC", "of the others accepted", "of the first accepted")


def plot_det(curves: Mapping[str, ErrorCurve]) -> go.Figure:
    """Plot DET curves on probit axes (Martin et al. 1997): normal scores make a straight line."""
    figure = go.Figure()
    for number, (name, curve) in enumerate(curves.items()):
        accepted, refused = curve.trace_det()
        figure.add_trace(_line(accepted, refused, f"{name}: EER {curve.eer():.1%}", *line_style(number)))
    figure = style_figure(figure, "DET", "of the others accepted", "of the first refused")
    places = {"tickvals": norm.ppf(TICKS).tolist(), "ticktext": [f"{share:.1%}" for share in TICKS]}
    figure.update_xaxes(**places)
    figure.update_yaxes(**places)
    return figure


def plot_tippett(llrs: np.ndarray, same: np.ndarray) -> go.Figure:
    """Plot, for the trials (N,) of each hypothesis, the share with at least a given log10 LR.

    Misleading evidence: the second curve right of 0, and the distance of the first curve from 1 left of 0.
    """
    traced = trace_tippett(llrs, same)
    figure = go.Figure(
        [
            _line(traced.llrs, traced.same, "first hypothesis true", COLOURS[0], "solid", step=True),
            _line(traced.llrs, traced.different, "second hypothesis true", COLOURS[1], "dash", step=True),
        ]
    )
    figure.add_vline(x=0, line={"color": TEXT, "dash": "dot", "width": 1})
    return style_figure(figure, "Tippett", "log10 likelihood ratio", "share at least so high")


def plot_reliability(llrs: np.ndarray, same: np.ndarray) -> go.Figure:
    """Plot the observed share of same trials (N,) against the posterior at even prior odds; ideal: the diagonal."""
    traced = trace_reliability(llrs, same)
    points = _line(traced.said, traced.found, "trials in bins of one size", COLOURS[0], "solid")
    points.update(mode="lines+markers", customdata=traced.counts, hovertemplate="%{customdata} trials<extra></extra>")
    figure = go.Figure([_line([0, 1], [0, 1], "as said", TEXT, "dot"), points])
    return style_figure(figure, "Reliability", "said, at even odds", "so")


def _line(
    x: np.ndarray | list[float], y: np.ndarray | list[float], name: str, colour: str, dash: str, step: bool = False
) -> go.Scatter:
    places = {"x": np.asarray(x, float).round(5), "y": np.asarray(y, float).round(5)}
    shape = "hv" if step else "linear"
    return go.Scatter(**places, name=name, mode="lines", line={"color": colour, "dash": dash, "shape": shape})
