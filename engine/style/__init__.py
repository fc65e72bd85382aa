"""Embed the speaking style of a face."""
