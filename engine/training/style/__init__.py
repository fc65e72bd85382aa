"""Train the speaking-style model."""
