"""Write and read an analysis as JSON and as terminal text."""
