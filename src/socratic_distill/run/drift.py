"""What a config means, and how it differs from what a run has meant so far. Pure, but for the files that it reads.

The fingerprint covers what decides the run's results: models as resolved, rank, objective, batch shape, seed, and by
content local models, seeds, prompts and recordings. Everything else (where files lie, how fast it learns, how long it
runs, what it saves) may change from one start to the next. `MAY_CHANGE`, `_MEANING` and `_LATER` together name every
field.

Of several teachers, `teachers` holds what each has of its own; what it takes from the config's `teacher_…` fields is
held by those, so that a change is named after the field that it was made in.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.parts import Recordings
from socratic_distill.config.paths import is_no_path, resolved
from socratic_distill.config.policy_losses import loss_options
from socratic_distill.config.rewards import Reward
from socratic_distill.config.seed_sources import listed_files
from socratic_distill.config.teachers import plan_teachers
from socratic_distill.dialogues.briefing import Briefing
from socratic_distill.dialogues.prompts import read_prompt, teacher_prompt
from socratic_distill.dialogues.routing import teachers_of
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.dialogues.template_variables import read_template
from socratic_distill.errors import RecordingError, StartError
from socratic_distill.files.rows import parse, read_object
from socratic_distill.local.model_files import describe_model, describe_weights
from socratic_distill.run.layout import FINGERPRINT

Fingerprint = dict[str, str]

_MEANING = (
    "tutor_model_name", "student_model_name", "teacher_model_name", "lora_rank", "lora_targets",
    "student_profile", "groups_per_batch", "num_envs", "max_turns", "max_tokens", "student_max_tokens",
    "max_context_tokens", "temperature", "tutor_enable_thinking", "student_enable_thinking", "teacher_enable_thinking",
    "objective", "kl_penalty_coef", "kl_discount_factor", "loss_fn", "rewards", "reward_coef", "cut_replies",
    "cut_penalty", "train_thinking", "skip_first_tokens", "recordings", "teacher_checkpoint_path", "teacher_lag_steps",
    "teachers", "teacher_average", "teacher_sees_answer", "system_role", "num_substeps", "max_turns_schedule", "seed",
    "tutor_prompt_file", "student_prompt_file", "teacher_prompt_file",
    "seeds_file", "seeds_limit", "seeds_files", "answer_kind", "eval_seeds",
)  # fmt: skip
MAY_CHANGE = (
    "log_path", "base_url", "opening_timeout_seconds", "answer_timeout_seconds", "load_checkpoint_path",
    "trust_remote_code", "learning_rate", "lr_schedule", "lr_warmup_steps", "adam_beta1", "adam_beta2", "adam_eps",
    "weight_decay", "grad_clip_norm", "epochs", "max_steps", "save_every", "save_every_seconds", "rolling_save_every",
    "sampler_ttl_seconds", "periodic_ttl_seconds", "rolling_ttl_seconds", "max_failed_saves", "max_recoveries",
    "allow_config_changes", "max_concurrent_dialogues", "max_staleness", "groups_per_minibatch",
    "max_failed_fraction", "eval_every", "eval_dialogues_per_seed", "eval_solve_samples", "judge", "display",
    "write_report", "write_teacher_top", "score_untrained", "trackers", "tracker_project", "tracker_name", "prices",
    "max_cost_usd",
)  # fmt: skip
# Fields that fingerprints of earlier versions lack: left out at their defaults, so that such a run goes on.
_LATER = (
    "tutor_reasoning", "student_reasoning", "teacher_reasoning",
    "tutor_template_options", "student_template_options", "teacher_template_options", "loss_fn_options",
    "max_probability_change", "subject", "students", "opening", "endings",
    "answer_function", "answer_judge", "reward_normalization",
    "tutor_chat_template_file", "student_chat_template_file", "teacher_chat_template_file", "token_weights",
    "teacher_residual_clip", "solved_range", "teacher_turns",
)  # fmt: skip
_TEMPLATES = ("tutor_chat_template_file", "student_chat_template_file", "teacher_chat_template_file")
_MODEL_FIELDS = ("tutor_model_name", "student_model_name", "teacher_model_name")
_LOCAL = "local files:"
_BY_CONTENT = (*_MODEL_FIELDS, "teacher_checkpoint_path")
_OWN_BY_CONTENT = ("model_name", "checkpoint_path")  # of each of several teachers
# Four fields of the config, one content.
_SEEDS = "seeds"
_SEED_FIELDS = ("seeds_file", "seeds_limit", "seeds_files", "answer_kind")


@dataclass(frozen=True)
class Change:
    """One difference: the field, what the run had, what the config says now."""

    field: str
    before: str
    now: str


def fingerprint(
    config: SocraticConfig, seeds: Sequence[Seed], briefing: Briefing, recorded: Sequence[Seed] = ()
) -> Fingerprint:
    """What the config means, field by field, as text.

    Args:
        config: the config.
        seeds: the seeds that it names, read; ids and files do not count, so that a file may be renamed.
        briefing: its teachers and prompts.
        recorded: the seeds of its recordings, which count through the teachers that they have.

    Raises:
        ConfigError: the teacher's prompt file or a recordings file cannot be read.
    """
    meaning = {name: _text(getattr(config, name)) for name in _MEANING if name not in _SEED_FIELDS}
    # The options that are sent, whether the config gives them or not.
    options = loss_options(config.loss_fn, config.loss_fn_options)
    later = {name: getattr(config, name) for name in _LATER}
    later["loss_fn_options"] = {} if options == loss_options(config.loss_fn, {}) else options
    templates = {name: later[name] for name in _TEMPLATES if later[name] is not None}
    later |= {name: _digest([read_template(path)]) for name, path in templates.items()}
    meaning |= {name: _text(value) for name, value in later.items() if value != _default(name)}
    for name in _MODEL_FIELDS:
        meaning[name] = _model(config, getattr(config, name))
    if config.teacher_checkpoint_path is not None:
        meaning["teacher_checkpoint_path"] = _weights(config, config.teacher_checkpoint_path)
    meaning["student_max_tokens"] = str(config.student_max_tokens or config.max_tokens)
    prompts = briefing.prompts
    meaning["tutor_prompt_file"] = _digest([prompts.tutor])
    meaning["student_prompt_file"] = _digest([prompts.student, prompts.student_attempt, prompts.student_opening])
    meaning["teacher_prompt_file"] = _digest([teacher_prompt(config)])
    meaning["teachers"] = json.dumps(_teachers(config, [*seeds, *recorded], briefing, meaning))
    meaning["rewards"] = f"[{', '.join(_reward(config, reward) for reward in config.rewards)}]"
    if config.recordings is not None:
        meaning["recordings"] = _recordings(config.recordings)
    meaning[_SEEDS] = f"{len(seeds)} seeds, {_digest([_content(seed) for seed in seeds])}{_reading(config)}"
    return meaning


def _default(name: str) -> Any:
    return SocraticConfig.model_fields[name].get_default()


def _reading(config: SocraticConfig) -> str:
    """How seeds are read, where the config says more than their files; files do not count."""
    files = [
        {"columns": dict(file.columns), "map": file.map, "answer_kind": file.answer_kind or config.answer_kind}
        for _, file in listed_files(config)
    ]
    given = [{name: value for name, value in file.items() if value} for file in files]
    return f", read with {json.dumps(given)}" if any(given) else ""


def _teachers(
    config: SocraticConfig, seeds: Sequence[Seed], briefing: Briefing, meaning: Fingerprint
) -> list[dict[str, Any]]:
    """What each of several teachers has of its own, without what is as the config's `teacher_…` fields say."""
    if not config.teachers:
        return []
    takers = [teachers_of(seed, briefing.teachers, config.teacher_average) for seed in seeds]
    teachers = []
    for plan in briefing.teachers:
        prompt = _digest([briefing.prompts.teachers[plan.name]])
        taught = [i for i, names in enumerate(takers) if plan.name in names]
        model = _model(config, plan.model_name)
        switch, options = (plan.template.enable_thinking, plan.template.reasoning), plan.template.options
        differs = switch != (config.teacher_enable_thinking, config.teacher_reasoning)
        own = {
            "model_name": None if model == meaning["teacher_model_name"] else model,
            "checkpoint_path": None if plan.checkpoint_path is None else _weights(config, plan.checkpoint_path),
            "lag_steps": plan.lag_steps,
            "prompt": None if prompt == meaning["teacher_prompt_file"] else prompt,
            "enable_thinking": plan.template.enable_thinking if differs and plan.template.reasoning is None else None,
            "reasoning": plan.template.reasoning if differs else None,
            "template_options": dict(plan.template.options) if options != config.teacher_template_options else None,
            "weight": None if plan.weight == 1.0 else plan.weight,
            "seeds": None if len(taught) == len(seeds) else f"{len(taught)} seeds, {_digest(taught)}",
        }
        teachers.append({"name": plan.name} | {name: value for name, value in own.items() if value is not None})
    return teachers


def _model(config: SocraticConfig, name: str) -> str:
    """A model by its full name; one whose files lie on this machine by what they hold, wherever they lie."""
    held = describe_model(name) if config.base_url == "local" and _may_look(config, name) else None
    return name if held is None else f"{_LOCAL} {held}"


def _weights(config: SocraticConfig, path: str) -> str:
    is_local = config.base_url == "local" and "://" not in path and _may_look(config, path)
    held = describe_weights(path) if is_local else None
    return path if held is None else f"{_LOCAL} {held}"


def _may_look(config: SocraticConfig, path: str) -> bool:
    """Whether a config may have a model's files looked at: one that was read from a directory not everywhere."""
    return config.grant is None or config.grant.may_load(path)


def comparable(before: Fingerprint | None, now: Fingerprint, config: SocraticConfig) -> Fingerprint | None:
    """A run's fingerprint with local models by content, as of now, where an older version held their names or paths.

    Args:
        before: as `fingerprint.json` holds it.
        now: what the config means. Models whose files may not be looked at are not compared.
        config: names the models as they were named then; what it names otherwise stays a difference.
    """
    if before is None or config.base_url != "local":
        return before
    plans = plan_teachers(config)
    if not all(_may_look(config, path) for plan in plans for path in (plan.model_name, plan.checkpoint_path) if path):
        before = before | {name: now[name] for name in ("teachers", "teacher_checkpoint_path") if name in now}
    before = before | {name: now[name] for name in _MODEL_FIELDS if not _may_look(config, getattr(config, name))}
    names = [getattr(config, name) for name in _MODEL_FIELDS] + [plan.model_name for plan in plans]
    held = {str(name): _model(config, name) for name in names}
    held |= {str(path): _weights(config, path) for plan in plans if (path := plan.checkpoint_path) is not None}
    after = {name: held.get(value, value) if name in _BY_CONTENT else value for name, value in before.items()}
    teachers = _parts_in(before, "teachers")
    for teacher in teachers:
        teacher |= {name: held.get(str(teacher[name]), teacher[name]) for name in _OWN_BY_CONTENT if name in teacher}
    return after | ({"teachers": json.dumps(teachers)} if teachers else {})


def _reward(config: SocraticConfig, reward: Reward) -> str:
    """A reward; a judge's model and files by what they hold, and without what fingerprints of earlier versions lack."""
    fields = reward.model_dump(mode="json")
    if reward.kind == "judge":
        files = {"prompt_file": reward.prompt_file, "rubric_file": reward.rubric_file}
        fields |= {name: _digest([read_prompt(path, "")]) for name, path in files.items() if path is not None}
        fields["model_name"] = _model(config, reward.model_name)
    elif reward.kind != "solve_rate" and reward.veto is None:
        fields = {name: fields[name] for name in ("kind", "function", "weight") if name in fields}
    return json.dumps(fields, separators=(",", ":"))


def _recordings(recordings: Recordings) -> str:
    """The settings, and the files by content."""
    # Fields that fingerprints of earlier versions lack are left out at their defaults.
    later = {name for name in ("columns", "map") if not getattr(recordings, name)}
    later |= {"take_over"} if recordings.take_over is None else set()
    # A score that is reused is the same one.
    settings = recordings.model_dump(mode="json", exclude=later | {"reuse_scores"}) | {
        "files": [_file_digest(path) for path in recordings.files]
    }
    return json.dumps(settings)


def _file_digest(path: str) -> str:
    """What a recordings file holds; of a data set on the hub, its name."""
    if is_no_path(path):
        return path
    location = Path(resolved(path))
    if location.is_dir():
        inner = sorted(entry for entry in location.rglob("*") if entry.is_file())
        return _digest([[str(entry.relative_to(location)), _file_digest(str(entry))] for entry in inner])
    try:
        with open(resolved(path), "rb") as file:
            return "sha256 " + hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise RecordingError(
            f"recordings file {path!r} cannot be read ({error.strerror}); expected a JSONL file"
        ) from error


def _content(seed: Seed) -> list[Any]:
    shared = [seed.question, seed.expected_answer, seed.initial_error, seed.student_profile]
    content = [*shared, sorted(seed.fields), sorted(seed.tags)]
    if seed.answer_kind == "number" and not seed.compares_units:  # as in fingerprints of earlier versions
        return content
    answer = [seed.answer_kind, seed.choices, seed.accepted_answers, seed.rubric, seed.compares_units]
    return [*content, answer]


def _text(value: Any) -> str:
    """A field's value; its parts as JSON, which says no more than they hold."""
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(value)


def model_names(meaning: Mapping[str, str] | None) -> list[str]:
    """The full names of the models that a run has meant; none where nothing tells."""
    if meaning is None:
        return []
    names = [meaning.get(name) for name in _MODEL_FIELDS]
    parts = [*_parts_in(meaning, "teachers"), *_parts_in(meaning, "rewards"), *_parts_in(meaning, "answer_judge")]
    names += [part.get("model_name") for part in parts]
    return [name for name in names if isinstance(name, str)]


def _parts_in(meaning: Mapping[str, str], field: str) -> list[dict[str, Any]]:
    """What a fingerprint holds of a field's parts, or of its only one; none where that cannot be read."""
    try:
        stored = parse(meaning.get(field, "[]").encode("utf-8", "surrogatepass"))
    except ValueError:
        return []
    stored = [stored] if isinstance(stored, dict) else stored
    return [part for part in stored if isinstance(part, dict)] if isinstance(stored, list) else []


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
        for name in MAY_CHANGE
        if name in now and before.get(name) != now[name]
    ]


def describe_drift(log_path: str, drift: Sequence[Change]) -> str:
    """The differences as a table, and the ways out."""
    rows = [("field", "this run", "now"), *((change.field, change.before, change.now) for change in drift)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    table = "\n".join(f"  {field:<{widths[0]}}  {before:<{widths[1]}}  {now}" for field, before, now in rows)
    names = ", ".join(repr(change.field) for change in drift)
    return (
        f"{log_path} holds a run of another meaning than this config's:\n{table}\n"
        "Set the fields back to resume the run, take another log_path to start a new one, or pass "
        f"allow_config_changes=[{names}] to go on with the change"
    )


def _digest(value: Any) -> str:
    return "sha256 " + hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def read_fingerprint(directory: Path) -> Fingerprint | None:
    """What the run has meant so far; None where nothing tells, as in another tool's directory.

    Raises:
        StartError: `fingerprint.json` cannot be read.
    """
    purpose = "it says what the run has meant so far. Mend it, or delete it to go without"
    stored = read_object(directory / FINGERPRINT, StartError, purpose)
    if strange := [name for name, value in (stored or {}).items() if not isinstance(value, str)]:
        raise StartError(f"{directory / FINGERPRINT} cannot be read: {strange[0]!r} is no text; {purpose}")
    return stored
