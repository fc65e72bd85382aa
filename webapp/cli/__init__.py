"""The command line: one table of commands, and a file for each group of them."""
