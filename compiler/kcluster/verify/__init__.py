"""What a real engine says of itself, held against `plan.toml`: its start-up log, or its metrics.

Of everything that differs the first in the order of cause is named: what was started (version, model, flags) before what
came of it (weights, KV memory, tokens, concurrency), so that a figure is explained by the setting that moved it.
"""
