"""Lists the models that a config names, and replaces their names. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.model_names import full_model_name, resolve_name
from socratic_distill.config.parts import Judge
from socratic_distill.config.rewards import judge_rewards
from socratic_distill.errors import ModelNotOffered


def named_models(config: SocraticConfig) -> dict[str, str]:
    """The model names that a run of the config uses, by config field."""
    names = {"tutor_model_name": config.tutor_model_name}
    if not config.students or any(student.model_name is None for student in config.students):
        names["student_model_name"] = config.student_model_name
    if not config.teachers or any(teacher.model_name is None for teacher in config.teachers):
        names["teacher_model_name"] = config.teacher_model_name
    for number, teacher in enumerate(config.teachers):
        if teacher.model_name is not None:
            names[f"teachers[{number}].model_name"] = teacher.model_name
    for number, student in enumerate(config.students):
        if student.model_name is not None and student.endpoint is None:
            names[f"students[{number}].model_name"] = student.model_name
    names |= {f"{field}.model_name": judge.model_name for field, judge in _judges(config)}
    for number, judge in judge_rewards(config.rewards):
        if judge.endpoint is None:
            names[f"rewards[{number}].model_name"] = judge.model_name
    return names


def is_judge(field: str) -> bool:
    """Whether a field of `named_models` names a judge, which only reads what it judges and has a context of its own."""
    return field.endswith("judge.model_name") or field.startswith("rewards[")


def with_names(config: SocraticConfig, name_of: Callable[[str, str], str]) -> SocraticConfig:
    """The config with other model names; the same object if none changes.

    Args:
        config: has names as they were given.
        name_of: returns the new name for a field and its present name; called for each of `named_models`.
    """
    names = {field: name_of(field, name) for field, name in named_models(config).items()}
    if names == named_models(config):
        return config
    changes: dict[str, Any] = {field: name for field, name in names.items() if "." not in field}
    changes["teachers"] = tuple(
        teacher.model_copy(update={"model_name": names.get(f"teachers[{number}].model_name")})
        for number, teacher in enumerate(config.teachers)
    )
    changes["students"] = tuple(
        student.model_copy(update={"model_name": names.get(f"students[{number}].model_name", student.model_name)})
        for number, student in enumerate(config.students)
    )
    changes["rewards"] = tuple(
        reward.model_copy(update={"model_name": names[field]})
        if (field := f"rewards[{number}].model_name") in names
        else reward
        for number, reward in enumerate(config.rewards)
    )
    for field, judge in _judges(config):
        changes[field] = judge.model_copy(update={"model_name": names[f"{field}.model_name"]})
    return config.model_copy(update=changes)


def _judges(config: SocraticConfig) -> list[tuple[str, Judge]]:
    both = (("judge", config.judge), ("answer_judge", config.answer_judge))
    return [(field, judge) for field, judge in both if judge is not None and judge.endpoint is None]


def with_known_names(config: SocraticConfig, recorded: Sequence[str] = ()) -> SocraticConfig:
    """The config with full names where they are known without asking a service.

    On the local engine, where names are paths or its own, only known short names are written out.

    Args:
        config: has names as they were given.
        recorded: full names that the config's run used so far; a short name that matches one of them stands for it.
    """
    if config.base_url == "local":
        return with_names(config, lambda field, name: full_model_name(name))

    def name_of(field: str, name: str) -> str:
        # Names with more than one slash may be local paths, whose last part is not a model's name.
        candidates = [model for model in recorded if model.casefold() == name.casefold() or model.count("/") == 1]
        try:
            return resolve_name(name, candidates, field)
        except ModelNotOffered:
            return full_model_name(name)

    return with_names(config, name_of)
