"""Extract the features of a clip, and cache them."""
