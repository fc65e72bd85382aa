"""Functions behind the notebooks."""
