"""One file per output: each turns diagnostics or a plan into text. They read no spec and judge nothing."""
