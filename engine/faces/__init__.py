"""Detect, track, landmark and crop faces."""
