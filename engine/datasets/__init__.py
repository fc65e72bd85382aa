"""Read clip manifests and public corpora."""
