"""Estimates the cost of a run before it starts, and counts it while the run goes on.

| module | does |
|---|---|
| `costs` | tokens times prices, the packaged or the user's |
| `workload` | tokens that a run will use, from its config |
| `scores` | scores that a run does not ask for |
| `averages` | how a run's dialogues went, and corrections from the tokens that were counted |
| `estimate` | `estimate_cost` |
| `suites` | `estimate_benchmark` |
| `billed` | what the hosted service says that a run cost |
| `budget` | stops a run before `max_cost_usd` |
"""
