"""Clip manifests and public datasets."""
