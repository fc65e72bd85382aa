"""Where files of unknown origin are decoded: in a process of its own that can reach nothing else."""
