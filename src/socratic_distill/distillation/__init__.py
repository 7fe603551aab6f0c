"""Turns dialogues into training data.

Only `scorer`, `scoring` and `teacher_scores` make requests; the other modules are pure.

The teachers score a dialogue. The objective gives each sampled token an advantage or soft targets. The result is one
datum for each sequence of tokens. Arrays are float64 and in nats until they become a datum.

| module | does |
|---|---|
| `scorer` | one scoring request: log-probabilities of given tokens |
| `scoring` | a dialogue with the scores of its tokens |
| `teacher_scores` | the scores by all its teachers: asked for, or stored with a recording |
| `needed` | which tokens need a teacher's score |
| `averaging` | joins the scores of several teachers |
| `divergences` | slopes of the divergences |
| `custom_losses` | losses that the user writes, and their slopes |
| `soft_targets` | targets and weights for objectives on several tokens a position |
| `advantages` | the advantage of every sampled token |
| `token_weights` | how much each token counts |
| `outcomes` | whether a dialogue counts as a success |
| `reward_advantages` | the advantage that rewards give a dialogue |
| `datums` | the positions of replies in a sequence; the shift by one |
| `objective` | turns scored dialogues into training examples |
| `rows` | the row of `dialogues.jsonl` |
"""
