"""Register model files: hashes, licences, safe reading."""
