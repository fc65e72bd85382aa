"""Train the compact consistency model."""
