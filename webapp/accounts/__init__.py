"""User accounts: a single local user by default; named users with roles where accounts are on."""
