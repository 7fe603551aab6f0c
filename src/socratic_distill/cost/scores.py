"""How many scores a run does not ask for: those that train nothing, and those that recordings came with."""

from collections.abc import Sequence

from socratic_distill.config.token_weights import PrefixWeight
from socratic_distill.config.values import value
from socratic_distill.config.wanted import Wanted
from socratic_distill.dialogues.recording import Recording
from socratic_distill.dialogues.teacher_keys import joint_key, teacher_key
from socratic_distill.distillation.needed import is_local
from socratic_distill.run.plan import Plan


def unscored_tokens(plan: Plan, steps: Sequence[int], reply: float) -> float:
    """Average number of tokens at the end of a played dialogue that no teacher is asked about.

    Args:
        plan: of the run.
        steps: batches to average over.
        reply: length of a reply, in tokens.
    """
    config = plan.config
    prefix = next((weight for weight in config.token_weights if isinstance(weight, PrefixWeight)), None)
    if prefix is None or config.score_untrained or not is_local(config.objective, config, config.token_weights):
        return 0.0
    return sum(max(reply - value(prefix.tokens, step), 0.0) for step in steps) / len(steps)


def asked_share(plan: Plan) -> float:
    """The share of the recordings that the teachers are asked about: those without scores that fit.

    Without tokenizers only the teachers are compared, not the tokens that they read.
    """
    settings = plan.config.recordings
    if settings is None or settings.take_over is not None or not plan.recordings:
        return 1.0
    wanted = Wanted.of(settings.objective)
    if not settings.reuse_scores or wanted.tutor_top or wanted.draws:
        return 1.0
    keys = _keys(plan)
    fitting = [_fits(recording, keys.get(recording.seed.id), wanted.teacher_top) for recording in plan.recordings]
    return 1.0 - sum(fitting) / len(fitting)


def _fits(recording: Recording, key: str | None, top: int) -> bool:
    scores = [turn.scores for turn in recording.tutor_turns]
    if key is None or not all(stored is not None and stored.digest.startswith(f"{key}-") for stored in scores):
        return False
    return not top or all(stored is not None and {len(row) for row in stored.top} == {top} for stored in scores)


def _keys(plan: Plan) -> dict[str, str | None]:
    """The digest of each recorded seed's teachers, by seed id."""
    config, briefing = plan.config, plan.briefing
    teachers = {teacher.name: teacher for teacher in briefing.teachers}
    own = {name: teacher_key(teacher, briefing.prompts.teachers[name], config) for name, teacher in teachers.items()}
    keys = {}
    for recording in plan.recordings:
        names = briefing.routes[recording.seed.id]
        weights = [teachers[name].weight for name in names]
        joint = joint_key([own[name] for name in names], weights, config.teacher_average, config.teacher_residual_clip)
        keys[recording.seed.id] = joint
    return keys
