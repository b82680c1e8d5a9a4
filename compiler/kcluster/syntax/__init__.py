"""From text to tree: tokens, parser with recovery, formatter. Knows no GPU, no block name and no unit."""
