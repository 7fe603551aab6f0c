"""Runs the advantages of tinker-cookbook's own on-policy distillation, and records them.

`python -m tests.interop.record_kl_penalty` rewrites the sample that the default tests read. It needs the environment
of `make bench`, since the cookbook's distillation needs torch.

What runs is what the cookbook's loop runs between its dialogues and its training step: `compute_advantages` of rewards
that are all 0, `assemble_training_data`, and `incorporate_kl_penalty` of `distillation.train_on_policy`. The function
of that name in `rl.metrics` is another: it has advantages from what a token's divergence is below the batch's mean.
"""

import asyncio
import importlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SAMPLE = Path(__file__).parents[1] / "data_samples" / "cookbook" / "kl_penalty.json"
COEFS = (1.0, 0.3)
DISCOUNTS = (0.0, 0.5, 1.0)

# The (prompt, reply) tokens of each tutor turn, of each dialogue.
Turns = list[tuple[list[int], list[int]]]
DIALOGUES: dict[str, list[Turns]] = {
    "one_turn": [
        [([11, 12, 13], [21, 22, 23, 24, 9])],
        [([11, 12, 13], [25, 9])],
        [([14, 15], [26, 27, 28])],
    ],
    "several_turns": [
        [([11, 12], [21, 22, 9]), ([11, 12, 21, 22, 9, 31, 32, 33], [23, 24, 9])],
        [
            ([13], [25, 9]),
            ([13, 25, 9, 34, 35], [26]),
            ([13, 25, 9, 34, 35, 26, 36], [27, 28, 9]),
        ],
    ],
    # The second prompt lacks the first reply's first token, as where a template drops the reasoning of earlier turns.
    "split": [[([11, 12], [21, 22, 9]), ([11, 12, 22, 9, 31, 32], [23, 24, 9])]],
}


class Teacher:
    """The one call that the cookbook makes of a sampling client; log-probabilities follow from the tokens."""

    async def compute_logprobs_async(self, sequence: Any) -> list[float | None]:
        return scores(sequence.to_ints())


def scores(tokens: Sequence[int]) -> list[float | None]:
    """The teacher's log-probability of each token, nats, `[N]` with None first."""
    draw = random.Random(f"teacher {tokens}")
    return [None, *(_logprob(draw) for _ in tokens[1:])]


def _logprob(draw: random.Random) -> float:
    return -round(draw.uniform(0.01, 3.0), 4)


def with_logprobs(dialogues: list[Turns], name: str) -> list[list[dict[str, Any]]]:
    """The turns with the tutor's log-probabilities of its tokens, nats, `[T]`."""
    draw = random.Random(f"tutor {name}")
    return [
        [{"prompt": prompt, "tokens": reply, "logprobs": [_logprob(draw) for _ in reply]} for prompt, reply in turns]
        for turns in dialogues
    ]


def cookbook_data(dialogues: list[list[dict[str, Any]]]) -> list[Any]:
    """The cookbook's data of one group of dialogues without rewards."""
    types = importlib.import_module("tinker_cookbook.rl.types")
    completers = importlib.import_module("tinker_cookbook.completers")
    processing = importlib.import_module("tinker_cookbook.rl.data_processing")
    tinker = importlib.import_module("tinker")
    trajectories = []
    for turns in dialogues:
        transitions = [
            types.Transition(
                ob=tinker.ModelInput.from_ints(turn["prompt"]),
                ac=completers.TokensWithLogprobs(turn["tokens"], turn["logprobs"]),
                reward=0.0,
                episode_done=turn is turns[-1],
            )
            for turn in turns
        ]
        trajectories.append(types.Trajectory(transitions, final_ob=tinker.ModelInput.empty()))
    groups = [types.TrajectoryGroup(trajectories, [0.0] * len(dialogues), [{}] * len(dialogues))]
    data, _ = processing.assemble_training_data(groups, processing.compute_advantages(groups))
    return data


def with_penalty(dialogues: list[list[dict[str, Any]]], coef: float, discount: float) -> list[Any]:
    """The same with the penalty in their advantages."""
    penalty = importlib.import_module("tinker_cookbook.distillation.train_on_policy").incorporate_kl_penalty
    data = cookbook_data(dialogues)
    asyncio.run(penalty(data, [Teacher()] * len(data), [0] * len(data), coef, discount))
    return data


def record(name: str) -> dict[str, Any]:
    """One batch of dialogues: what went in, and the advantages that came out, `[N - 1]` a datum."""
    dialogues = with_logprobs(DIALOGUES[name], name)
    sequences = [
        [*datum.model_input.to_ints(), int(datum.loss_fn_inputs["target_tokens"].data[-1])]
        for datum in cookbook_data(dialogues)
    ]
    results = [
        {
            "coef": coef,
            "discount": discount,
            "advantages": [
                [float(value) for value in datum.loss_fn_inputs["advantages"].data]
                for datum in with_penalty(dialogues, coef, discount)
            ],
        }
        for coef in COEFS
        for discount in DISCOUNTS
    ]
    data = [{"tokens": tokens, "teacher_logprobs": scores(tokens)} for tokens in sequences]
    return {"name": name, "dialogues": dialogues, "data": data, "results": results}


def main() -> None:
    """Rewrites the sample, a line for each batch."""
    lines = ",\n".join(json.dumps(record(name)) for name in DIALOGUES)
    SAMPLE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
