"""From seeds to played dialogues.

A batch is composed of seeds and recordings; `casting` opens student and teachers; `rollout` lets tutor and student
take turns. What comes out is a `Dialogue` with the tokens that were sampled.

| module | does |
|---|---|
| `seeds` | problems, read from users' files |
| `jsonl` | the strict reader of users' JSONL files |
| `answers` | numbers and answers in texts |
| `recordings` | recorded dialogues, in the formats that people have |
| `batches` | which seeds and recordings a batch has |
| `randomness` | seeds for sampling, the same on every machine |
| `prompts` | the system prompts |
| `dialogue` | `Dialogue` and `Turn`, and each side's view of them |
| `codec` | text and tokens of one tokenizer |
| `reasoning` | the `<think>` part of a reply |
| `rendering` | messages to tokens, by a model's chat template |
| `routing` | which teachers each seed has |
| `briefing` | who teaches which seed, and the prompts of everyone |
| `cast` | everyone in a dialogue, with clients and prompts |
| `casting` | opens student and teachers |
| `compatibility` | refuses models whose tokens, templates or contexts do not fit |
| `rollout` | plays dialogues |
| `rewards` | users' rewards of a dialogue |
"""
