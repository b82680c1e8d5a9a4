"""Enumerate, judge, rank, explain. Knows no text of the spec and no target."""
