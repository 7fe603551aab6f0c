"""The settings that `learning.py` compares, on the tiny model, on SmolLM2 and on the toy."""

import sys
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "examples"))

from quickstart import make_config  # pyright: ignore[reportMissingImports]
from smollm2 import bundled, common, model_file, teacher_config, trained  # pyright: ignore[reportMissingImports]
from socratic_distill import SocraticConfig, anchored_residual, build_socratic_config, contrast
from socratic_distill.local import LocalRestClient, LocalServiceClient

EXAMPLES = Path(__file__).parents[2] / "examples"
Settings = dict[str, dict[str, Any]]
DEFAULT = "default"
CONSTANT, SHUFFLED = "control: constant advantage", "control: shuffled teacher"

# All of the seeds are trained on; what is measured lies in a file of its own.
ALONE = {"eval_every": None, "eval_seeds": 0, "write_report": False, "display": "off"}
# Half of the quickstart's dialogues a step.
BATCH = {"groups_per_batch": 4, "num_envs": 4}
# Under the packaged tutor's prompt the tiny model tells.
TELLING = str(files("socratic_distill.dialogues") / "prompts" / "tutor.txt")
# The packaged teacher's prompt, and what the student said next.
HINDSIGHT = str(Path(__file__).with_name("learning_hindsight.txt"))

FORWARD = {"kind": "forward_kl"}
NOT_TELLING = {"rewards": ({"kind": "not_telling"},), "reward_coef": 0.0}
CONTROLS: Settings = {
    CONSTANT: {"objective": {"kind": "control_constant_advantage", "share": 0.2}},
    SHUFFLED: {"objective": {"kind": "control_shuffled_teacher"}},
}


def weights(*kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config with these token weights."""
    return {"token_weights": kinds}


def mixed(forward: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config with half of each divergence."""
    parts = [{"objective": {"kind": "sampled_reverse_kl"}, "weight": 0.5}, {"objective": forward, "weight": 0.5}]
    return {"objective": {"kind": "mixture", "parts": parts}}


def of_tiny(steps: int) -> Settings:
    """The fields of each setting that differ from the default's."""
    stale = {"max_staleness": 1}
    short = {"max_turns": 1, "groups_per_batch": 2}
    return {
        DEFAULT: {},
        "prefix, 4 tokens": weights({"kind": "prefix", "tokens": 4}),
        "prefix, 4 to 16 tokens": weights({"kind": "prefix", "tokens": {"start": 4, "end": 16, "steps": steps}}),
        "disagreement, half": weights({"kind": "disagreement", "share": 0.5}),
        "entropy, half": weights({"kind": "entropy", "share": 0.5}),
        "position": weights({"kind": "position"}),
        "position, clip at 1.25": weights({"kind": "position"}, {"kind": "clip", "high": 1.25}),
        "anchored_residual, 0.8": dict(anchored_residual(0.8)),
        "contrast, 0.5": dict(contrast(TELLING, 0.5)),
        "reward_gate, not_telling": NOT_TELLING | weights({"kind": "reward_gate", "failure": 0.25}),
        "sign_gate, not_telling": NOT_TELLING | weights({"kind": "sign_gate"}),
        "hindsight": {"teacher_prompt_file": HINDSIGHT},
        "teacher_turns, half to none": {"teacher_turns": {"start": 0.5, "end": 0.0, "steps": steps}},
        "solved_range, 0.2 to 0.8": {"solved_range": {"low": 0.2, "high": 0.8, "others": 0.1}},
        "max_staleness=1": stale,
        "max_staleness=1, freshness": stale | weights({"kind": "freshness"}),
        "max_staleness=1, trust_region": stale | weights({"kind": "trust_region", "bound": 0.1}),
        "forward_kl": {"objective": FORWARD},
        "reverse and forward": mixed(FORWARD),
        "reverse and forward, entropy_gate": mixed(FORWARD) | weights({"kind": "entropy_gate", "threshold": 0.5}),
        "one turn": {"max_turns": 1},
        "half the dialogues": {"groups_per_batch": 2},
        "half the dialogues, forward_kl": {"groups_per_batch": 2, "objective": FORWARD},
        "one turn, half the dialogues": short,
        "one turn, half the dialogues, forward_kl": short | {"objective": FORWARD},
        **CONTROLS,
    }


def of_smollm2(steps: int) -> Settings:
    """A small selection: the whole takes hours there."""
    recorded = {"files": [str(bundled().dialogues)], "objective": FORWARD, "on_policy_fraction": 0.5}
    return {
        DEFAULT: {},
        "prefix, 8 tokens": weights({"kind": "prefix", "tokens": 8}),
        "forward_kl": {"objective": FORWARD},
        "half the dialogues, forward_kl": {"objective": FORWARD, "groups_per_batch": 2},
        "half of them recorded, forward_kl": {"objective": FORWARD, "recordings": recorded},
        CONSTANT: CONTROLS[CONSTANT],
    }


def of_toy(steps: int) -> Settings:
    """What a tutor of one table can show: it has no answer, no outcome, and always trains on fresh replies."""
    forward = {"kind": "forward_kl", "k": 6}
    longer = {"start": 1, "end": 3, "steps": steps // 2}
    return {
        DEFAULT: {},
        "prefix, 1 token": weights({"kind": "prefix", "tokens": 1}),
        "prefix, 1 to 3 tokens": weights({"kind": "prefix", "tokens": longer}),
        "disagreement, half": weights({"kind": "disagreement", "share": 0.5}),
        "entropy, half": weights({"kind": "entropy", "share": 0.5, "k": 6}),
        "position": weights({"kind": "position"}),
        "position, clip at 1.25": weights({"kind": "position"}, {"kind": "clip", "high": 1.25}),
        "forward_kl": {"objective": forward},
        "reverse and forward": mixed(forward),
        "reverse and forward, entropy_gate": mixed(forward)
        | weights({"kind": "entropy_gate", "threshold": 0.8, "k": 6}),
        **CONTROLS,
    }


def tiny(steps: int, directory: str) -> SocraticConfig:
    """The default's config on the tiny model."""
    return SocraticConfig(**(make_config(steps, directory).model_dump() | BATCH | ALONE))


def smollm2(steps: int, directory: str) -> SocraticConfig:
    """The default's config on SmolLM2: one turn, with the teacher that learned from recorded dialogues."""
    fields: dict[str, Any] = common(str(model_file()), bundled(), Path(directory), steps)
    fields |= ALONE | {"groups_per_batch": 4, "num_envs": 2, "max_turns": 1}
    return build_socratic_config(**fields, teacher_checkpoint_path=_teacher())


@cache
def _teacher() -> str:
    """Sampler weights of the teacher of `examples/smollm2.py`; trained once, in the checkout's `runs`."""
    runs = EXAMPLES.parent / "runs" / "learning" / "smollm2"
    service = LocalServiceClient(runs / "local")
    engine = {"service_client": service, "rest_client": LocalRestClient(service)}
    return trained(teacher_config(str(model_file()), bundled(), runs / "teacher", 25), engine)
