"""The one model behind every figure: pure functions on numbers. Imports only `kcluster.units`."""
