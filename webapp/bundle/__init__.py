"""A result to be handed on: a bundle that can be checked without Wayspeak, and a report that can be printed."""
