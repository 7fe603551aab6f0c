"""From dialogues to training data. Pure but for `scorer` and `scoring`, which ask the teachers.

A dialogue is scored by its teachers, the objective gives each sampled token an advantage or soft targets, and the
result is one datum for each sequence of tokens. Arrays are float64 and in nats until they become a datum.

| module | does |
|---|---|
| `scorer` | one scoring request: log-probabilities of given tokens |
| `scoring` | a dialogue's scores by all its teachers |
| `divergences` | slopes of the divergences |
| `soft_targets` | targets and weights for objectives on several tokens a position |
| `advantages` | the advantage of every sampled token |
| `datums` | where replies stand in a sequence; the shift by one |
| `objective` | scored dialogues to training examples |
| `rows` | the row of `dialogues.jsonl` |
"""
