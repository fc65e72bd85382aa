"""How our own weights are made."""
