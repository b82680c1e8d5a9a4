"""The memory model against logs of real starts: `python -m benchmarks.fit FILE` judges, `python -m benchmarks.fit.fit FILE` fits."""
