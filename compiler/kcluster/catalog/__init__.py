"""Facts: GPUs, links, models, engines, as TOML rows with a source each, and the readers of config.json files."""
