"""Rules between config fields. Pure; `config.py` checks them whenever a config is built."""

import os

from socratic_distill.config.log_path import is_url, why_not
from socratic_distill.config.model_names import full_model_name
from socratic_distill.config.objectives import Divergence, SampledReverseKL
from socratic_distill.config.parts import SeedsFile
from socratic_distill.config.paths import is_no_path, resolved
from socratic_distill.config.policy_losses import problem_with_options
from socratic_distill.config.reasoning import TemplateChoice
from socratic_distill.config.rewards import judge_rewards, penalty_of, reward_names
from socratic_distill.config.sections import Fields
from socratic_distill.config.seed_sources import listed_files
from socratic_distill.config.values import Reasoning, Schedule
from socratic_distill.errors import ConfigError

_MOST_DIALOGUES = 1_000_000  # all dialogues of a batch are held in memory


def check_fields(config: Fields) -> None:
    """Refuses fields that contradict each other, and fields that would have no effect.

    Raises:
        ValueError: the message names the fields and says what to change.
    """
    _check_sources(config)
    _check_objective(config)
    _check_rewards(config)
    _check_token_weights(config)
    _check_teachers(config)
    _check_schedules(config)
    _check_evaluation(config)
    _check_reasoning(config)
    _check_students(config)


def _check_sources(config: Fields) -> None:
    if config.seeds_file is not None and config.seeds_files is not None:
        raise ValueError("seeds_file and seeds_files are both set; keep one of them")
    if config.seeds_limit is not None and config.seeds_file is None:
        raise ValueError(
            f"seeds_limit={config.seeds_limit} needs a seeds_file; set seeds_file, or give each "
            "of seeds_files its own limit"
        )
    if (
        config.seeds_limit is not None
        and isinstance(config.seeds_file, SeedsFile)
        and config.seeds_file.limit is not None
    ):
        raise ValueError(
            f"seeds_limit={config.seeds_limit} and the limit {config.seeds_file.limit} of seeds_file are both set; "
            "keep one"
        )
    if config.seeds_files is not None and not config.seeds_files:
        raise ValueError("seeds_files is empty; give at least one (path, limit), or None")
    if config.solved_range is not None and not config.plays_seeds:
        raise ValueError(
            "solved_range chooses the seeds of played dialogues, but recordings.on_policy_fraction=0.0 plays none; "
            "leave it out, or set a higher on_policy_fraction"
        )
    if config.answer_kind is not None and not listed_files(config):
        raise ValueError(
            f"answer_kind={config.answer_kind!r} has no effect on the built-in problems; set seeds_file, or leave it "
            "out"
        )
    if config.base_url not in (None, "local") and not str(config.base_url).startswith(("http://", "https://")):
        raise ValueError(
            f"base_url={config.base_url!r}; expected None (Tinker), 'local', or an http:// or https:// URL"
        )
    if (problem := why_not(config.log_path)) is not None:
        raise ValueError(problem)
    if config.base_url == "local" and is_url(config.log_path):
        raise ValueError(
            f"log_path={config.log_path!r} is in a store, but base_url='local' keeps its weights on this machine, in "
            "log_path; use a local log_path, or a service that keeps the weights"
        )
    known = {*type(config).model_fields, "seeds"}
    if unknown := [name for name in config.allow_config_changes if name not in known]:
        raise ValueError(f"allow_config_changes names {unknown}; expected names of config fields, or 'seeds'")
    paths = [("seeds file", file.path) for _, file in listed_files(config)]
    paths += [("recordings file", path) for path in (config.recordings.files if config.recordings else ())]
    for what, path in paths:
        if not is_no_path(path) and not os.path.exists(resolved(path)):
            raise ValueError(f"{what} {path!r} does not exist (looked for {resolved(path)})")


def _check_objective(config: Fields) -> None:
    recordings = config.recordings
    active = _active(config)
    sampled = any(divergence.trains_sampled_tokens for divergence in active)
    kinds = ", ".join(dict.fromkeys(divergence.kind for divergence in active)) or "supervised"
    if not sampled and config.kl_discount_factor:
        raise ValueError(
            f"kl_discount_factor={config.kl_discount_factor} has no effect on {kinds}; it works only with "
            "'sampled_reverse_kl'"
        )
    has_advantages = sampled or config.rewards or config.cut_replies == "penalize"
    # With their defaults.
    of_loss = {"loss_fn": "importance_sampling", "loss_fn_options": {}, "max_probability_change": None}
    without_effect = [name for name, default in of_loss.items() if getattr(config, name) != default]
    if not has_advantages and without_effect:
        field = without_effect[0]
        raise ValueError(
            f"{field}={getattr(config, field)!r} has no effect on {kinds}, which uses cross_entropy; leave it out, or "
            "add rewards or 'sampled_reverse_kl'"
        )
    if (problem := problem_with_options(config.loss_fn, config.loss_fn_options)) is not None:
        raise ValueError(problem)
    if not config.plays_dialogues and (config.rewards or config.objective != SampledReverseKL()):
        raise ValueError(
            "recordings.on_policy_fraction=0.0 plays no dialogue, so objective and rewards have no effect; set "
            "recordings.objective, or a higher on_policy_fraction"
        )
    if recordings is not None and recordings.on_policy_fraction == 1.0:
        raise ValueError("recordings.on_policy_fraction=1.0 uses no recording; lower it, or leave recordings out")
    _check_groups(config)


def _check_groups(config: Fields) -> None:
    if config.recordings and any(divergence.compares_group for divergence in config.recordings.objective.divergences):
        raise ValueError(
            "baseline='group' compares the dialogues of a group, but each recording is a group of its own; set "
            "baseline='none' in recordings.objective"
        )
    if config.num_envs == 1 and any(divergence.compares_group for divergence in config.objective.divergences):
        raise ValueError("baseline='group' compares the dialogues of a group; set num_envs to 2 or more")
    if config.num_envs == 1 and config.rewards:
        raise ValueError("rewards are compared with the mean of the group; set num_envs to 2 or more")


def _check_rewards(config: Fields) -> None:
    names = reward_names(config.rewards)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"rewards holds the name {twice[0]!r} more than once; give each judge its own name")
    if sum(reward.kind == "solve_rate" for reward in config.rewards) > 1:
        raise ValueError("rewards holds 'solve_rate' more than once; keep one")
    if config.reward_normalization == "none":
        return
    if not config.rewards:
        raise ValueError("reward_normalization='group' has no effect without rewards; leave it out, or add rewards")
    hard = [name for name, reward in zip(names, config.rewards, strict=True) if penalty_of(reward)[0] == "hard"]
    if hard:
        raise ValueError(
            f"reward {hard[0]!r} has veto='hard', which replaces the sum of the rewards, but reward_normalization="
            "'group' adds normalised ones; set veto='soft', or leave reward_normalization out"
        )


def _check_token_weights(config: Fields) -> None:
    weights = config.token_weights
    kinds = [weight.kind for weight in weights]
    if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        raise ValueError(f"token_weights holds {twice[0]!r} more than once; keep one")
    if weights and not config.plays_dialogues:
        raise ValueError(
            "token_weights weigh played dialogues, but recordings.on_policy_fraction=0.0 plays none; leave them out, "
            "or set a higher on_policy_fraction"
        )
    if kinds == ["clip"]:
        raise ValueError("token_weights holds 'clip' alone, which bounds the other weights; add one, or leave it out")
    if "freshness" in kinds and config.max_staleness == 0 and config.num_substeps == 1:
        raise ValueError(
            "token weight 'freshness' has no effect with max_staleness=0 and num_substeps=1, where every token is "
            "fresh; raise one of them, or leave it out"
        )
    if "trust_region" in kinds and config.max_probability_change is not None:
        raise ValueError(
            f"token weight 'trust_region' and max_probability_change={config.max_probability_change:g} both leave out "
            "tokens that moved; keep one"
        )
    directions = {part.direction for part in config.objective.divergences}
    if any(weight.needs_direction for weight in weights) and not {"forward", "reverse"} <= directions:
        raise ValueError(
            f"token weight 'entropy_gate' weighs forward and reverse divergences differently, but objective="
            f"{config.objective.kind!r} does not have both; set a mixture, such as of 'sampled_reverse_kl' and "
            "'forward_kl'"
        )
    _check_gates(config)


def _check_gates(config: Fields) -> None:
    names = [
        name
        for name, reward in zip(reward_names(config.rewards), config.rewards, strict=True)
        if penalty_of(reward)[0] is None
    ]
    for weight in config.token_weights:
        if weight.needs_rewards and not config.rewards:
            raise ValueError(
                f"token weight {weight.kind!r} weighs by a dialogue's reward, but there is none; add rewards, with "
                "reward_coef=0.0 if they are to do nothing else"
            )
        if (reward := getattr(weight, "reward", None)) is not None and reward not in names:
            raise ValueError(
                f"token weight {weight.kind!r} names the reward {reward!r}; expected one of "
                f"{', '.join(map(repr, names)) or 'none: each has a veto'}"
            )


def _active(config: Fields) -> tuple[Divergence, ...]:
    """The divergences that this config trains with, on played and on recorded dialogues."""
    played = config.objective.divergences if config.plays_dialogues else ()
    return played + (config.recordings.objective.divergences if config.recordings else ())


def _check_teachers(config: Fields) -> None:
    names = [teacher.name for teacher in config.teachers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"teachers holds the name {twice[0]!r} more than once; give each its own name")
    if config.teachers and (config.teacher_checkpoint_path or config.teacher_lag_steps):
        raise ValueError(
            "teacher_checkpoint_path and teacher_lag_steps describe a single teacher; with teachers, set "
            "checkpoint_path or lag_steps in one of them"
        )
    if config.teacher_checkpoint_path and config.teacher_lag_steps:
        raise ValueError(
            f"teacher_checkpoint_path={config.teacher_checkpoint_path!r} and teacher_lag_steps="
            f"{config.teacher_lag_steps} are both set; keep one: a teacher scores with a checkpoint or with the "
            "tutor's weights"
        )
    if config.teacher_average is not None:
        if len(names) < 2:
            raise ValueError(f"teacher_average={config.teacher_average!r} needs two teachers or more in teachers")
        candidates = [divergence.kind for divergence in _active(config) if divergence.teacher_top]
        if candidates:
            raise ValueError(
                f"{candidates[0]!r} needs one teacher's likeliest tokens, which differ between averaged teachers; "
                "use 'sampled_reverse_kl' or 'monte_carlo_kl', or route seeds to one teacher each"
            )
    elif weighted := [teacher.name for teacher in config.teachers if teacher.weight != 1.0]:
        raise ValueError(f"teacher {weighted[0]!r} has a weight, but teacher_average is not set; set it")
    _check_signs(config)
    tutor = full_model_name(config.tutor_model_name)
    lagged = [(teacher.name, teacher.model_name) for teacher in config.teachers if teacher.lag_steps]
    for name, own_model in lagged or ([("teacher", None)] if config.teacher_lag_steps else []):
        if (model := full_model_name(own_model or config.teacher_model_name)) != tutor:
            raise ValueError(
                f"teacher {name!r} scores with the tutor's own weights, but its model is {model!r} and the "
                f"tutor's is {tutor!r}; name the same model"
            )


def _check_signs(config: Fields) -> None:
    clip, average = config.teacher_residual_clip, config.teacher_average
    if clip is not None and average != "log_mean":
        raise ValueError(
            f"teacher_residual_clip={clip:g} has no effect with teacher_average={average!r}; set 'log_mean', or leave "
            "it out"
        )
    negative = [teacher for teacher in config.teachers if teacher.weight < 0.0]
    if not negative:
        return
    first = f"teacher {negative[0].name!r} has the weight {negative[0].weight:g}"
    if average != "log_mean":
        raise ValueError(f"{first}, but a mixture has no negative parts; set teacher_average='log_mean'")
    if clip is None:
        raise ValueError(
            f"{first}, which needs teacher_residual_clip: without a bound a token that one teacher finds next to "
            "impossible outweighs all others; set it, such as to 5.0"
        )
    if (total := sum(teacher.weight for teacher in config.teachers)) <= 0.0:
        raise ValueError(
            f"{first}, and all weights add up to {total:g}; expected more than 0, so that they can be shares"
        )
    if routed := [teacher.name for teacher in config.teachers if teacher.seeds_files or teacher.tags]:
        raise ValueError(
            f"{first}, so every teacher must take every seed, but {routed[0]!r} has seeds_files or tags; leave them out"
        )


def _check_students(config: Fields) -> None:
    names = [student.name for student in config.students]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"students holds the name {twice[0]!r} more than once; give each its own name")
    if not config.endings:
        raise ValueError("endings is empty; name what ends a dialogue before max_turns, such as 'solved'")


def _check_reasoning(config: Fields) -> None:
    roles: dict[str, tuple[str, bool, Reasoning | None]] = {
        "tutor_": (config.tutor_model_name, config.tutor_enable_thinking, config.tutor_reasoning),
        "student_": (config.student_model_name, config.student_enable_thinking, config.student_reasoning),
        "teacher_": (config.teacher_model_name, config.teacher_enable_thinking, config.teacher_reasoning),
    }
    for number, teacher in enumerate(config.teachers):
        model = teacher.model_name or config.teacher_model_name
        roles[f"teachers[{number}]."] = (model, bool(teacher.enable_thinking), teacher.reasoning)
    for number, student in enumerate(config.students):
        if student.endpoint is None:
            model = student.model_name or config.student_model_name
            roles[f"students[{number}]."] = (model, bool(student.enable_thinking), student.reasoning)
    judges = [("judge.", config.judge), ("answer_judge.", config.answer_judge)]
    judges += [(f"rewards[{number}].", judge) for number, judge in judge_rewards(config.rewards)]
    for field, judge in judges:
        if judge is not None and judge.endpoint is None:
            roles[field] = (judge.model_name, judge.enable_thinking, judge.reasoning)
    for role, (model, enable_thinking, reasoning) in roles.items():
        if enable_thinking and reasoning is not None:
            raise ValueError(f"{role}enable_thinking and {role}reasoning are both set; keep {role}reasoning")
        try:
            TemplateChoice(reasoning=reasoning).variables(model)
        except ConfigError as error:
            raise ValueError(f"{role}{error.args[0]}") from None


def _check_schedules(config: Fields) -> None:
    if (dialogues := config.groups_per_batch * config.num_envs) > _MOST_DIALOGUES:
        raise ValueError(
            f"groups_per_batch={config.groups_per_batch} times num_envs={config.num_envs} are {dialogues} dialogues a "
            f"batch; expected at most {_MOST_DIALOGUES}; lower one of them"
        )
    if config.groups_per_batch % config.num_substeps:
        raise ValueError(
            f"groups_per_batch={config.groups_per_batch} cannot be divided into num_substeps={config.num_substeps} "
            "equal parts; make it a multiple"
        )
    if (turns := config.max_turns_schedule) is not None and not (
        min(turns.start, turns.end) >= 1 and max(turns.start, turns.end) <= config.max_turns
    ):
        raise ValueError(
            f"max_turns_schedule goes from {turns.start:g} to {turns.end:g} turns; expected 1 to "
            f"max_turns={config.max_turns}"
        )
    share = config.teacher_turns
    if isinstance(share, Schedule) and max(share.start, share.end) > 1.0:
        raise ValueError(
            f"teacher_turns goes from {share.start:g} to {share.end:g}; expected shares from 0 to 1 at both ends"
        )
    if share and not config.plays_dialogues:
        raise ValueError(
            "teacher_turns are turns of played dialogues, but recordings.on_policy_fraction=0.0 plays none; leave them "
            "out, or set a higher on_policy_fraction"
        )
    if config.max_steps is not None and config.lr_warmup_steps >= config.max_steps:
        raise ValueError(
            f"lr_warmup_steps={config.lr_warmup_steps} must be less than max_steps={config.max_steps}; lower it"
        )


def _check_evaluation(config: Fields) -> None:
    if (dialogues := config.eval_seeds * config.eval_dialogues_per_seed) > _MOST_DIALOGUES:
        raise ValueError(
            f"eval_seeds={config.eval_seeds} times eval_dialogues_per_seed={config.eval_dialogues_per_seed} are "
            f"{dialogues} dialogues an evaluation; expected at most {_MOST_DIALOGUES}; lower one of them"
        )
    if config.eval_every is not None and not config.eval_seeds:
        raise ValueError(
            f"eval_every={config.eval_every} has no seeds to evaluate on; set eval_seeds to the number of seeds to "
            "hold out of training"
        )
    if twice := sorted({name for name in config.trackers if config.trackers.count(name) > 1}):
        raise ValueError(f"trackers holds {twice[0]!r} more than once; name each once")
