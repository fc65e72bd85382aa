"""What people asked for and have not stayed to wait for: kept in a table, done by workers, never lost."""
