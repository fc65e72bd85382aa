"""Analyse many sources, one row each."""
