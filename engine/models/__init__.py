"""Neural networks, one file per model."""
