"""Specs from what exists: launch commands, container files and units, read as text. Nothing is executed."""
