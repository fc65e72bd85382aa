"""Render synthetic talking heads."""
