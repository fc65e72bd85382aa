"""Functions of the notebooks."""
