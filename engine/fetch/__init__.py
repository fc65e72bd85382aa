"""Media from an address on the web: checked, fetched by a confined child through our own filtering proxy."""
