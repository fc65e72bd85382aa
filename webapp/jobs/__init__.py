"""Job queue: jobs in a table, done by worker processes, never lost."""
