"""Evaluate consistency scores and speaker embeddings on labelled clips."""
