"""Estimates the cost of a run before it starts, and counts it while the run goes on.

| module | does |
|---|---|
| `prices` | prices by model, packaged or the user's |
| `costs` | tokens times prices |
| `workload` | tokens that a run will use, from its config |
| `averages` | how a run's dialogues went, and corrections from the tokens that were counted |
| `estimate` | `estimate_cost` |
| `budget` | stops a run before `max_cost_usd` |
"""
