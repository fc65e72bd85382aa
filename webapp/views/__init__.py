"""Render results as HTML and plotly figures."""
