"""From tree to resolved spec: typed, units applied, references followed, defaults filled, origins kept."""
