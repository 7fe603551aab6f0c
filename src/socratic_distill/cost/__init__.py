"""What a run costs: estimated before it starts, counted while it runs.

| module | does |
|---|---|
| `prices` | prices by model, packaged or the user's |
| `costs` | tokens times prices |
| `workload` | tokens that a run will use, by its config |
| `averages` | the same, corrected by what a run has used so far |
| `estimate` | `estimate_cost` |
| `budget` | stops a run before `max_cost_usd` |
"""
