"""Decode a file into 25 fps frames and 16 kHz audio on one clock."""
