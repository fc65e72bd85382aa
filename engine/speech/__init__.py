"""Detect speech, compute filterbanks, align phonemes."""
