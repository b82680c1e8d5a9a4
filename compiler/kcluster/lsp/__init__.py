"""The language server: glue between an editor's protocol and `kcluster.editor`. An extra: it needs `kcluster[lsp]`."""
