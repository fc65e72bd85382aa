"""The figure of an enrolment: how alike every two clips are. Pure."""

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go


def plot_similarities(names: Sequence[str], similarities: np.ndarray) -> go.Figure:
    """Draw the similarities (N, N) of clips by name: people who are apart make bright squares along the diagonal."""
    labels = [escape(name) for name in names]
    heat = go.Heatmap(
        x=labels,
        y=labels,
        z=similarities.round(3),
        zmin=-1,
        zmax=1,
        colorscale="Viridis",
        hovertemplate="%{x}<br>%{y}<br>similarity %{z:.2f}<extra></extra>",
    )
    figure = go.Figure(heat)
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(showticklabels=False, autorange="reversed")
    figure.update_layout(title="How alike every two clips are", height=480, paper_bgcolor="rgba(0,0,0,0)")
    return figure
