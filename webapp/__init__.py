"""The page: wiring over the engine and the gallery."""
