"""Coverage-guided fuzzing: what is driven (`drive.py`), from what (`seeds.py`), by what (`__main__.py`, which needs atheris); and
the inputs that once broke something (`found/`), which the fast tests replay."""
