"""Measurements of speed and memory; run by hand, not by the tests."""
