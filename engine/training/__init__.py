"""Train the weights of this project from clips."""
