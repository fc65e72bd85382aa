"""Score audio-visual speech consistency, and gate what may be scored."""
