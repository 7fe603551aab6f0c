"""Scores of the tutor's tokens by the teachers of a dialogue, each in its own view of the dialogue."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from socratic_distill.config.wanted import Wanted
from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.dialogue import NOTHING_SENT, Dialogue, PromptUse, Turn
from socratic_distill.dialogues.hindsight import peer_of
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.rewards import Rewarded
from socratic_distill.distillation.datums import Floats, Ids, TokenSequence, TokenWeights, merge_turns
from socratic_distill.distillation.divergences import entropy
from socratic_distill.distillation.needed import Needed
from socratic_distill.distillation.scorer import Ask, Named, Scorer, Scores
from socratic_distill.distillation.teacher_scores import TeacherScores, ask_teachers, name_of
from socratic_distill.errors import TeacherError, TrainingError
from socratic_distill.service.failures import describe
from socratic_distill.service.numbers import explain_bad, first_bad
from socratic_distill.service.waiting import gather_all


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
        known: number of tokens at the start of each turn that the teachers scored; the others train nothing. None: no
            teacher was asked, or each token has a score.
        digests: of the teachers, their prompts and the tokens, one a turn; empty if the teachers' weights change.
        is_reused: whether the scores are those that a recording came with.
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
    known: tuple[int, ...] | None = None
    digests: tuple[str, ...] = ()
    is_reused: bool = False
    use: PromptUse = NOTHING_SENT
    tutor_use: PromptUse = NOTHING_SENT
    span: tuple[float, float] = (0.0, 0.0)

    @property
    def of_teacher(self) -> tuple[Floats, ...]:
        """The teacher's known log-probabilities, nats, `[n]` a turn."""
        lengths = self.known or [len(turn) for turn in self.teacher]
        return tuple(turn[:count] for turn, count in zip(self.teacher, lengths, strict=True))

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
    groups: dict[tuple[int, str], list[Dialogue]] = {}
    for dialogue in dialogues:
        groups.setdefault((dialogue.step, dialogue.seed.id), []).append(dialogue)

    async def score_next(dialogue: Dialogue) -> ScoredDialogue:
        async with semaphore:
            peer = peer_of(dialogue, groups[dialogue.step, dialogue.seed.id])
            return await score_or_fail(dialogue, cast, scorer, None, peer)

    return await gather_all(map(score_next, dialogues))


async def score_or_fail(
    dialogue: Dialogue, cast: Cast, scorer: Scorer, needed: Needed | None = None, peer: Dialogue | None = None
) -> ScoredDialogue:
    """Scores a dialogue if there is something to score; if scoring fails, the dialogue's ending becomes "failed"."""
    if dialogue.ending == "failed" or not dialogue.tutor_turns:
        return ScoredDialogue(dialogue)
    try:
        return await score(dialogue, cast, scorer, needed, peer)
    except TrainingError:  # concerns the run, not this dialogue alone
        raise
    except Exception as error:
        return ScoredDialogue(dialogue.end("failed", error=describe(error)))


async def score(
    dialogue: Dialogue, cast: Cast, scorer: Scorer, needed: Needed | None = None, peer: Dialogue | None = None
) -> ScoredDialogue:
    """Scores the tutor's tokens of one dialogue, and the named tokens that the objective needs.

    The tutor's own log-probabilities come from sampling. If it sampled at another temperature than 1, they are scored
    again, since tempered log-probabilities are not comparable with the teacher's.

    Args:
        dialogue: as played or recorded, with a tutor turn.
        cast: the models that played it, and the teachers.
        scorer: sends the requests.
        needed: what of it must be known; None: everything.
        peer: a solved dialogue of its group, which teachers' prompts may quote; None: there is none.

    Raises:
        TeacherError: scores are missing or do not fit the tokens.
    """
    turns, wanted = dialogue.tutor_turns, cast.wanted(dialogue)
    sequences = tuple(merge_turns((turn.prompt, turn.tokens) for turn in turns))
    if not wanted.teacher:
        return ScoredDialogue(dialogue, sequences)
    needed = Needed.all_of(dialogue) if needed is None else needed
    now = asyncio.get_running_loop().time
    began = now()
    of_tutor = await _ask_tutor(dialogue, sequences, cast, scorer, wanted) if needed.tutor else Scores()
    likeliest = _likeliest(turns, of_tutor)
    sampled = () if turns[0].logprobs == () else tuple(np.asarray(turn.logprobs, np.float64) for turn in turns)
    scored = ScoredDialogue(
        dialogue,
        sequences,
        tutor=tuple(of_tutor.own) or sampled,
        tutor_entropy=_entropies(likeliest, wanted.entropy_top, dialogue) if wanted.entropy_top else (),
        tutor_use=of_tutor.use,
        span=(began, now()),
    )
    if not any(needed.lengths):
        return scored
    top = [named.ids[:, : wanted.tutor_top] for named in likeliest] if wanted.tutor_top else []
    draws = [named.ids for named in of_tutor.draws]  # [T, K] a turn
    # One request scores both kinds of named tokens.
    ask = Ask(top=wanted.teacher_top, targets=_side_by_side(top, draws))
    answer = await ask_teachers(dialogue, cast, scorer, ask, needed.lengths, peer)
    return replace(_with_answer(scored, answer, top, of_tutor.draws), span=(began, now()))


def _with_answer(
    scored: ScoredDialogue, answer: TeacherScores, top: Sequence[Ids], draws: Sequence[Named]
) -> ScoredDialogue:
    """A dialogue with the teachers' answer to what was asked of it.

    Args:
        scored: what is known of the tutor.
        answer: log-probabilities of the tutor's own tokens, and of the named ones side by side, `[n, K]` a turn.
        top: ids of the tutor's likeliest tokens, `[T, K]` a turn; none if they were not asked for.
        draws: the tutor's drawn tokens; none if they were not asked for.
    """
    turns = scored.dialogue.tutor_turns
    width = top[0].shape[1] if top else 0
    # What is not known trains nothing. It is filled so that no formula meets a number that is not finite.
    targets = [_filled(values, len(turn.tokens)) for values, turn in zip(answer.targets, turns, strict=False)]
    return replace(
        scored,
        teacher=_filled_own(answer.own, scored.tutor, turns),
        teachers=answer.teachers,
        known=answer.known,
        digests=answer.digests,
        is_reused=answer.is_reused,
        top_of_tutor=tuple(Named(ids, both[:, :width]) for ids, both in zip(top, targets, strict=True)) if top else (),
        # Averaged teachers have no common likeliest tokens; the config refuses objectives that need them.
        top_of_teacher=tuple(
            Named(_filled_ids(named.ids, len(turn.tokens)), _filled(named.logprobs, len(turn.tokens)))
            for named, turn in zip(answer.top, turns, strict=False)
        ),
        draws=tuple(draws),
        of_draws=tuple(both[:, width:] for both in targets) if draws else (),
        use=answer.use,
    )


def _filled_own(known: Sequence[Floats], tutor: Sequence[Floats], turns: Sequence[Turn]) -> tuple[Floats, ...]:
    """The teacher's log-probabilities of the turns' tokens, `[T]` each; those that are not known as the tutor's."""
    rests = tutor or [np.zeros(len(turn.tokens)) for turn in turns]
    return tuple(np.append(values, rest[len(values) :]) for values, rest in zip(known, rests, strict=True))


def _filled(known: Floats, count: int) -> Floats:
    """Log-probabilities `[n, K]` of K tokens, continued to `[count, K]` by K tokens that have half of it together."""
    width = known.shape[1]
    return np.concatenate([known, np.full((count - len(known), width), -np.log(2.0 * width))])


def _filled_ids(known: Ids, count: int) -> Ids:
    """Token ids `[n, K]`, continued to `[count, K]` by the first K tokens."""
    width = known.shape[1]
    return np.concatenate([known, np.tile(np.arange(width), (count - len(known), 1))])


def _likeliest(turns: Sequence[Turn], of_tutor: Scores) -> list[Named]:
    """The tutor's likeliest tokens: those that it was just asked for, or else those that came with its turns."""
    width = max((len(row) for turn in turns for row in turn.likeliest[:1]), default=0)
    if of_tutor.top or not width:
        return of_tutor.top
    # A turn that a dialogue began with has none, and trains nothing.
    nothing = Named(np.zeros((0, width), np.int64), np.zeros((0, width)))
    named = [
        Named(np.asarray(turn.likeliest, np.int64), np.asarray(turn.likeliest_logprobs, np.float64))
        if turn.likeliest
        else nothing
        for turn in turns
    ]
    counts = [len(turn.tokens) for turn in turns]
    return [
        Named(_filled_ids(entry.ids, count), _filled(entry.logprobs, count))
        for entry, count in zip(named, counts, strict=True)
    ]


def _entropies(likeliest: Sequence[Named], top: int, dialogue: Dialogue) -> tuple[Floats, ...]:
    """The tutor's entropies, nats, `[T]` a turn, from the first `top` of its likeliest tokens."""
    for turn, named in enumerate(likeliest):
        if (bad := first_bad(named.logprobs)) is not None:
            raise TeacherError(
                f"tutor, {name_of(dialogue)}: the likeliest tokens of tutor turn {turn} hold the log-probability "
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
    scores = await scorer.score_all(cast.tutor.client, sequences, f"tutor, {name_of(dialogue)}", ask)
    # Untempered, the sampler's own log-probabilities are used; recorded text, never sampled, must have none.
    return scores if is_tempered else replace(scores, own=[])


def _side_by_side(top: Sequence[Ids], draws: Sequence[Ids]) -> list[Ids] | None:
    """The ids that a teacher scores at each position, `[T, K]` a turn; None for none."""
    if top and draws:
        return [np.concatenate(both, axis=1) for both in zip(top, draws, strict=True)]
    return list(top or draws) or None
