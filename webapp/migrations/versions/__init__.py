"""One file per schema version; released ones never change."""
