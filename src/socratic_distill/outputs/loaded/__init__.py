"""A run directory as an object, for notebooks and scripts.

| module | does |
|---|---|
| `run` | `load_run` and `LoadedRun` |
| `frames` | rows of a run as flat dicts and DataFrames |
| `prompts` | the system prompts of a dialogue that may be read |
| `figure` | curves, drawn by matplotlib |
| `embedded` | the report inside a notebook |
| `summary` | what a notebook shows of a run |
"""

from socratic_distill.outputs.loaded.run import LoadedRun, load_run

__all__ = ["LoadedRun", "load_run"]
