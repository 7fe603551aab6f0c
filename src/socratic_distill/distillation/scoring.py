"""Scores of the tutor's tokens by the teachers of a dialogue, each in its own view of the dialogue."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from socratic_distill.config.teachers import Average
from socratic_distill.config.wanted import Wanted
from socratic_distill.dialogues.cast import Cast, Member
from socratic_distill.dialogues.dialogue import NOTHING_SENT, Dialogue, PromptUse, Turn
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.rewards import Rewarded
from socratic_distill.distillation.datums import Floats, Ids, TokenSequence, TokenWeights, merge_turns
from socratic_distill.distillation.divergences import entropy
from socratic_distill.distillation.scorer import Ask, Named, Scorer, Scores
from socratic_distill.errors import TeacherError, TrainingError
from socratic_distill.service.failures import describe
from socratic_distill.service.interface import SamplingClient
from socratic_distill.service.numbers import explain_bad, first_bad
from socratic_distill.service.waiting import gather_all


def joined(
    scores: Sequence[Sequence[Floats]], members: Sequence[Member], how: Average | None, clip: float | None = None
) -> tuple[Floats, ...]:
    """Joins the scores of several teachers into one, turn by turn.

    Args:
        scores: for each member, one array a turn.
        members: the teachers, in the same order.
        how: how several scores are averaged; not used with one teacher.
        clip: as in `average`.
    """
    if len(members) == 1:
        return tuple(scores[0])
    assert how is not None, "several teachers of one seed without a way to average"
    weights = [member.weight for member in members]
    return tuple(average(turns, weights, how, clip) for turns in zip(*scores, strict=True))


def average(scores: Sequence[Floats], weights: Sequence[float], how: Average, clip: float | None = None) -> Floats:
    """One score for each token from the scores of several teachers.

    With weights `w_i`, normalised to add up to 1, and teachers `p_i`:

    - `log_mean`: `sum_i w_i log p_i`. The tutor's divergence from it is the weighted mean of its divergences from the
      teachers. It is not a distribution: over the vocabulary its probabilities add up to at most 1, with negative
      weights to at least 1. With a bound c it is `log p_1 + sum_i w_i clip(log p_i - log p_1, -c, c)`, which is the
      same where no difference is beyond the bound. So the result is at most c sum_{i > 1} |w_i| from the first teacher.
    - `mixture`: `log sum_i w_i p_i`, computed in log space, so that nothing underflows. This compares the tutor with a
      teacher who follows teacher `i` with probability `w_i` at each token.

    Args:
        scores: log-probabilities of the same tokens under each teacher, nats, arrays of one shape, such as `[T]`.
        weights: one weight for each teacher; their sum is above 0, and in a `mixture` each of them.
        how: which of the two averages.
        clip: the bound of `log_mean`, nats; None: no bound.

    Returns:
        The averaged log-probabilities, nats, of that shape. A single teacher's are returned unchanged.
    """
    assert scores and len(scores) == len(weights), f"{len(scores)} scores, {len(weights)} weights"
    if len(scores) == 1:
        return scores[0]
    # Divided by the largest first, since a sum of very large weights would overflow.
    shares = np.asarray(weights, dtype=np.float64) / max(map(abs, weights))
    shares = (shares / shares.sum()).reshape(-1, *[1] * scores[0].ndim)  # [teachers, 1, …]
    stacked = np.stack(scores)  # [teachers, T] or [teachers, T, K]
    if how == "log_mean" and clip is not None:
        # Where both are -inf they do not differ.
        away = np.subtract(stacked, stacked[0], out=np.zeros_like(stacked), where=stacked != stacked[0])
        return stacked[0] + (shares * np.clip(away, -clip, clip)).sum(axis=0)
    if how == "log_mean":
        return (shares * stacked).sum(axis=0)
    return np.logaddexp.reduce(stacked + np.log(shares), axis=0)


@dataclass(frozen=True, eq=False)  # == on arrays gives an array, not a bool
class ScoredDialogue:
    """A dialogue with the log-probabilities of the tutor's tokens, at temperature 1.

    Attributes:
        dialogue: the dialogue; if scoring failed, its ending is "failed".
        sequences: the token sequences that are trained on.
        tutor: the tutor's own log-probabilities, nats, one array `[T]` a tutor turn; empty for recorded text, which the
            tutor did not sample.
        teacher: the teacher's log-probabilities of the same tokens, likewise; empty if no teacher was asked.
        teachers: names of the teachers that gave the scores.
        top_of_tutor: the tutor's likeliest tokens at each position of each turn, with the teacher's log-probabilities.
        top_of_teacher: the teacher's likeliest tokens, with its log-probabilities.
        tutor_entropy: the tutor's entropy at each position, nats, `[T]` a turn; empty if it was not asked for.
        draws: tokens drawn from the tutor, with the tutor's log-probabilities.
        of_draws: the teacher's log-probabilities of `draws`, nats, `[T, K]` a turn.
        rewarded: what the rewards give the dialogue; None without rewards, or if the dialogue failed.
        weights: of its tokens; None: each has weight 1.
        use: tokens that the requests to the teachers used.
        tutor_use: tokens that scoring under the tutor used.
        span: when scoring began and ended, seconds on the loop's clock.
    """

    dialogue: Dialogue
    sequences: tuple[TokenSequence, ...] = ()
    tutor: tuple[Floats, ...] = ()
    teacher: tuple[Floats, ...] = ()
    teachers: tuple[str, ...] = ()
    top_of_tutor: tuple[Named, ...] = ()
    top_of_teacher: tuple[Named, ...] = ()
    tutor_entropy: tuple[Floats, ...] = ()
    draws: tuple[Named, ...] = ()
    of_draws: tuple[Floats, ...] = ()
    rewarded: Rewarded | None = None
    weights: TokenWeights | None = None
    use: PromptUse = NOTHING_SENT
    tutor_use: PromptUse = NOTHING_SENT
    span: tuple[float, float] = (0.0, 0.0)

    @property
    def reward(self) -> float | None:
        """The dialogue's reward; None without rewards, or if the dialogue failed."""
        return None if self.rewarded is None else self.rewarded.total


async def score_batch(
    dialogues: Sequence[Dialogue], cast: Cast, scorer: Scorer, concurrency: int
) -> list[ScoredDialogue]:
    """Scores every dialogue that has a tutor turn; failed dialogues and those without one pass through unscored.

    Args:
        dialogues: as played.
        cast: the models that played them, and the teachers.
        scorer: sends the requests.
        concurrency: most dialogues scored at once.
    """
    semaphore = asyncio.Semaphore(concurrency)

    async def score_next(dialogue: Dialogue) -> ScoredDialogue:
        async with semaphore:
            return await score_or_fail(dialogue, cast, scorer)

    return await gather_all(map(score_next, dialogues))


async def score_or_fail(dialogue: Dialogue, cast: Cast, scorer: Scorer) -> ScoredDialogue:
    """Scores a dialogue if there is something to score; if scoring fails, the dialogue's ending becomes "failed"."""
    if dialogue.ending == "failed" or not dialogue.tutor_turns:
        return ScoredDialogue(dialogue)
    try:
        return await score(dialogue, cast, scorer)
    except TrainingError:  # concerns the run, not this dialogue alone
        raise
    except Exception as error:
        return ScoredDialogue(dialogue.end("failed", error=describe(error)))


async def score(dialogue: Dialogue, cast: Cast, scorer: Scorer) -> ScoredDialogue:
    """Scores the tutor's tokens of one dialogue, and the named tokens that the objective needs.

    The tutor's own log-probabilities come from sampling. If it sampled at another temperature than 1, they are scored
    again, since tempered log-probabilities are not comparable with the teacher's.

    Raises:
        TeacherError: scores are missing or do not fit the tokens.
    """
    turns, wanted = dialogue.tutor_turns, cast.wanted(dialogue)
    sequences = tuple(merge_turns((turn.prompt, turn.tokens) for turn in turns))
    if not wanted.teacher:
        return ScoredDialogue(dialogue, sequences)
    now = asyncio.get_running_loop().time
    began = now()
    of_tutor = await _ask_tutor(dialogue, sequences, cast, scorer, wanted)
    likeliest = _likeliest(turns, of_tutor)
    top = [named.ids[:, : wanted.tutor_top] for named in likeliest] if wanted.tutor_top else []
    draws = [named.ids for named in of_tutor.draws]  # [T, K] a turn
    # One request scores both kinds of named tokens; `width` tells them apart in the answer.
    ask = Ask(top=wanted.teacher_top, targets=_side_by_side(top, draws))
    members = cast.teachers.of(dialogue.seed)
    answers = await gather_all(_ask_teacher(member, dialogue, cast, scorer, ask) for member in members)
    width = top[0].shape[1] if top else 0
    targets = joined([scores.targets for scores in answers], members, cast.teachers.how, cast.teachers.clip)
    sampled = () if turns[0].logprobs == () else tuple(np.asarray(turn.logprobs, np.float64) for turn in turns)
    return ScoredDialogue(
        dialogue,
        sequences,
        tutor=tuple(of_tutor.own) or sampled,
        teacher=joined([scores.own for scores in answers], members, cast.teachers.how, cast.teachers.clip),
        teachers=tuple(member.name for member in members),
        top_of_tutor=tuple(Named(ids, both[:, :width]) for ids, both in zip(top, targets, strict=True)) if top else (),
        tutor_entropy=_entropies(likeliest, wanted.entropy_top, dialogue) if wanted.entropy_top else (),
        # Averaged teachers have no common likeliest tokens; the config refuses objectives that need them.
        top_of_teacher=tuple(answers[0].top),
        draws=tuple(of_tutor.draws),
        of_draws=tuple(both[:, width:] for both in targets) if draws else (),
        use=sum((scores.use for scores in answers), NOTHING_SENT),
        tutor_use=of_tutor.use,
        span=(began, now()),
    )


def _likeliest(turns: Sequence[Turn], of_tutor: Scores) -> list[Named]:
    """The tutor's likeliest tokens: those that it was just asked for, or else those that came with its turns."""
    return of_tutor.top or [
        Named(np.asarray(turn.likeliest, np.int64), np.asarray(turn.likeliest_logprobs, np.float64))
        for turn in turns
        if turn.likeliest
    ]


def _entropies(likeliest: Sequence[Named], top: int, dialogue: Dialogue) -> tuple[Floats, ...]:
    """The tutor's entropies, nats, `[T]` a turn, from the first `top` of its likeliest tokens."""
    for turn, named in enumerate(likeliest):
        if (bad := first_bad(named.logprobs)) is not None:
            raise TeacherError(
                f"tutor, {_name(dialogue)}: the likeliest tokens of tutor turn {turn} hold the log-probability "
                f"{explain_bad(named.logprobs[bad])}"
            )
    return tuple(entropy(named.logprobs[:, :top]) for named in likeliest)


async def _ask_tutor(
    dialogue: Dialogue, sequences: Sequence[TokenSequence], cast: Cast, scorer: Scorer, wanted: Wanted
) -> Scores:
    """Scores under the tutor's own model. By default nothing is requested, since sampling gave all that is needed."""
    is_recorded = dialogue.recording is not None
    is_tempered = cast.tutor.temperature != 1.0 and not is_recorded
    # Played turns came with their likeliest tokens; an entropy is computed from those at temperature 1.
    is_unknown = is_recorded or (is_tempered and wanted.entropy_top > 0)
    top = max(wanted.tutor_top, 0 if is_recorded else wanted.entropy_top) if is_unknown else 0
    if not (is_tempered or top or wanted.draws):
        return Scores()
    seed = stable_seed(cast.seed, dialogue.step, dialogue.seed.id, dialogue.number, "draws")
    ask = Ask(top=top, draws=wanted.draws, seed=seed)
    assert cast.tutor.client is not None, "a tutor that spoke has a client"
    scores = await _ask(cast.tutor.client, sequences, f"tutor, {_name(dialogue)}", scorer, ask)
    # Untempered, the sampler's own log-probabilities are used; recorded text, never sampled, must have none.
    return scores if is_tempered else replace(scores, own=[])


async def _ask_teacher(member: Member, dialogue: Dialogue, cast: Cast, scorer: Scorer, ask: Ask) -> Scores:
    prompts = teacher_prompts(dialogue, cast, member)
    # The teacher's prompts differ from the tutor's, so its turns may merge into other sequences.
    sequences = merge_turns(zip(prompts, (turn.tokens for turn in dialogue.tutor_turns), strict=True))
    client = cast.teachers.client(member, dialogue.step)
    return await _ask(client, sequences, f"teacher {member.name!r}, {_name(dialogue)}", scorer, ask)


async def _ask(
    client: SamplingClient, sequences: Sequence[TokenSequence], whose: str, scorer: Scorer, ask: Ask
) -> Scores:
    """Scores a dialogue's sequences, one request each, and joins the answers."""
    joint = Scores()
    for scores in await gather_all(scorer.score(client, sequence, whose, ask) for sequence in sequences):
        joint.add(scores)
    return joint


def teacher_prompts(dialogue: Dialogue, cast: Cast, member: Member) -> list[tuple[int, ...]]:
    """A teacher's context before each tutor turn, `[P]` each."""
    tutor_turns = [place for place, turn in enumerate(dialogue.turns) if turn.role == "tutor"]
    return [cast.teacher_prompt(replace(dialogue, turns=dialogue.turns[:place]), member) for place in tutor_turns]


def _side_by_side(top: Sequence[Ids], draws: Sequence[Ids]) -> list[Ids] | None:
    """The ids that a teacher scores at each position, `[T, K]` a turn; None for none."""
    if top and draws:
        return [np.concatenate(both, axis=1) for both in zip(top, draws, strict=True)]
    return list(top or draws) or None


def _name(dialogue: Dialogue) -> str:
    return f"seed {dialogue.seed.id!r}, dialogue {dialogue.number} of step {dialogue.step}"
