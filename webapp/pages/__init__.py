"""The tabs of the page: each file lays one out and wires it; what it says stands in the views beside it."""
