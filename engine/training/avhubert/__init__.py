"""Pre-train AV-HuBERT."""
