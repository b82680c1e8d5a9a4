"""What an editor asks about a spec: what stands at the cursor, what could be written there, where a name comes from, and what
the compiler decided. Pure functions over text, tree, spec and plan; the protocol is `kcluster.lsp`'s business."""
