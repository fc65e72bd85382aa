"""Signed evidence bundle of a result, verifiable without Wayspeak, and printable report."""
