"""Plan to artifacts, one module or package per target."""
