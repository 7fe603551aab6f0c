"""What a config means, and how it differs from what a run has meant so far. Pure.

The fingerprint covers what decides the run's results: models as resolved, rank, seeds and prompts by content,
objective, batch shape, seed. Everything else (where files lie, how fast it learns, how long it runs, what it
saves) may change from one start to the next. `_MAY_CHANGE` and `_MEANING` together name every config field.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from socratic_distill.config import SocraticConfig
from socratic_distill.models import full_model_name
from socratic_distill.prompts import Prompts
from socratic_distill.seeds import Seed

Fingerprint = dict[str, str]

_MEANING = (
    "tutor_model_name", "student_model_name", "teacher_model_name", "lora_rank",
    "student_profile", "groups_per_batch", "num_envs", "max_turns", "max_tokens", "student_max_tokens",
    "max_context_tokens", "temperature", "tutor_enable_thinking", "student_enable_thinking", "teacher_enable_thinking",
    "objective", "kl_penalty_coef", "kl_discount_factor", "loss_fn", "rewards", "reward_coef", "cut_replies",
    "cut_penalty", "train_thinking", "skip_first_tokens", "recordings", "teacher_checkpoint_path", "teacher_lag_steps",
    "teachers", "teacher_average", "teacher_sees_answer", "system_role", "num_substeps", "max_turns_schedule", "seed",
    "tutor_prompt_file", "student_prompt_file", "teacher_prompt_file",
    "seeds_file", "seeds_limit", "seeds_files",
)  # fmt: skip
_MAY_CHANGE = (
    "log_path", "base_url", "load_checkpoint_path", "trust_remote_code", "learning_rate", "lr_schedule",
    "lr_warmup_steps", "adam_beta1", "adam_beta2", "adam_eps", "weight_decay", "grad_clip_norm", "epochs", "max_steps",
    "save_every", "save_every_seconds", "rolling_save_every", "sampler_ttl_seconds", "periodic_ttl_seconds",
    "rolling_ttl_seconds", "max_failed_saves", "max_recoveries", "allow_config_changes", "max_concurrent_dialogues",
    "max_staleness", "groups_per_minibatch", "max_failed_fraction", "display",
)  # fmt: skip
# Three fields of the config, one content.
_SEEDS = "seeds"
_SEED_FIELDS = ("seeds_file", "seeds_limit", "seeds_files")


@dataclass(frozen=True)
class Change:
    """One difference: the field, what the run had, what the config says now."""

    field: str
    before: str
    now: str


def fingerprint(config: SocraticConfig, seeds: Sequence[Seed], prompts: Prompts) -> Fingerprint:
    """What the config means, field by field, as text.

    Args:
        config: the config.
        seeds: the seeds that it names, read; their ids do not count, so that a file may be renamed.
        prompts: the prompts that it names, read.
    """
    meaning = {name: str(getattr(config, name)) for name in _MEANING if name not in _SEED_FIELDS}
    for name in ("tutor_model_name", "student_model_name", "teacher_model_name"):
        meaning[name] = full_model_name(getattr(config, name))
    meaning["student_max_tokens"] = str(config.student_max_tokens or config.max_tokens)
    meaning["tutor_prompt_file"] = _digest([prompts.tutor])
    meaning["student_prompt_file"] = _digest([prompts.student, prompts.student_attempt, prompts.student_opening])
    meaning["teacher_prompt_file"] = _digest([prompts.teacher])
    meaning[_SEEDS] = f"{len(seeds)} seeds, {_digest([astuple(seed)[1:] for seed in seeds])}"
    return meaning


def digest(meaning: Fingerprint) -> str:
    """A short digest of a fingerprint, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]


def changes(before: Mapping[str, str] | None, now: Fingerprint, allowed: Sequence[str]) -> list[Change]:
    """Where two fingerprints differ, without the fields that may; none where there is nothing to compare with."""
    if before is None:
        return []
    names = {_SEEDS if name in _SEED_FIELDS else name for name in allowed}
    return [
        Change(name, before.get(name, "not known"), now.get(name, "not known"))
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and name not in names
    ]


def free_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Differences of two configs, as stored, in the fields that may change between two starts of a run."""
    return [
        Change(name, str(before.get(name)), str(now[name]))
        for name in _MAY_CHANGE
        if name in now and before.get(name) != now[name]
    ]


def describe_drift(log_path: str, drift: Sequence[Change]) -> str:
    """The differences as a table, and the ways out."""
    rows = [("field", "this run", "now"), *((one.field, one.before, one.now) for one in drift)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    table = "\n".join(f"  {field:<{widths[0]}}  {before:<{widths[1]}}  {now}" for field, before, now in rows)
    names = ", ".join(repr(one.field) for one in drift)
    return (
        f"{log_path} holds a run of another meaning than this config's:\n{table}\n"
        "Set the fields back to resume the run, take another log_path to start a new one, or pass "
        f"allow_config_changes=[{names}] to go on with the change"
    )


def _digest(value: Any) -> str:
    return "sha256 " + hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
