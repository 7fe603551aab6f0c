"""The scores of a dialogue by its teachers: asked for, or those that a recording came with.

A teacher sees its own prompt, then the dialogue so far: `teacher_view` in `dialogues/dialogue.py`, with the texts of
`dialogues/prompts`. `needed` says which of the tutor's tokens it scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from socratic_distill.dialogues.cast import Cast, Member
from socratic_distill.dialogues.dialogue import NOTHING_SENT, Dialogue, PromptUse
from socratic_distill.dialogues.hindsight import quotes_for
from socratic_distill.dialogues.teacher_keys import digest
from socratic_distill.distillation.averaging import joined
from socratic_distill.distillation.datums import Floats, merge_turns
from socratic_distill.distillation.needed import cut
from socratic_distill.distillation.scorer import Ask, Named, Scorer, Scores
from socratic_distill.service.waiting import gather_all

Prompts = list[tuple[int, ...]]
"""A teacher's context before each tutor turn, `[P]` each."""


@dataclass(frozen=True, eq=False)
class TeacherScores:
    """What the teachers of a dialogue say of its tutor turns, one array a turn.

    Attributes:
        teachers: their names.
        known: number of tokens at the start of each turn that have scores.
        own: log-probabilities of those, nats, `[n]`.
        top: the likeliest tokens at their positions; empty if they were not asked for.
        targets: log-probabilities of the requested targets, nats, `[n, K]`; likewise.
        digests: of teachers, prompts and tokens; empty if the teachers' weights change.
        use: tokens that the requests used.
        is_reused: whether a recording came with the scores.
    """

    teachers: tuple[str, ...]
    known: tuple[int, ...]
    own: tuple[Floats, ...]
    top: tuple[Named, ...] = ()
    targets: tuple[Floats, ...] = ()
    digests: tuple[str, ...] = ()
    use: PromptUse = NOTHING_SENT
    is_reused: bool = False


async def ask_teachers(
    dialogue: Dialogue, cast: Cast, scorer: Scorer, ask: Ask, lengths: Sequence[int], peer: Dialogue | None = None
) -> TeacherScores:
    """The scores of a dialogue by all its teachers, joined into one.

    Args:
        dialogue: the dialogue.
        cast: its teachers, and their prompts.
        scorer: sends the requests.
        ask: what to ask for in addition to the scores of the turns' own tokens.
        lengths: number of tokens at the start of each tutor turn that need a score.
        peer: a solved dialogue of its group, which teachers' prompts may quote; None: there is none.

    Raises:
        TeacherError: scores are missing or do not fit the tokens.
    """
    members = cast.teachers.of(dialogue.seed)
    prompts = [teacher_prompts(dialogue, cast, member, peer) for member in members]
    digests = _digests(dialogue, cast, prompts)
    names = tuple(member.name for member in members)
    if (stored := _stored(dialogue, cast, ask, lengths, digests)) is not None:
        return replace(stored, teachers=names)
    answers = await gather_all(
        _ask_teacher(member, own, dialogue, cast, scorer, ask, lengths)
        for member, own in zip(members, prompts, strict=True)
    )
    known = tuple(min(len(answer.own.get(turn, ())) for answer in answers) for turn in range(len(lengths)))
    how, clip = cast.teachers.how, cast.teachers.clip
    return TeacherScores(
        names,
        known,
        joined([_cut(answer.own, known) for answer in answers], members, how, clip),
        top=_cut_top(answers[0].top, known),
        targets=joined([_cut(answer.targets, known) for answer in answers], members, how, clip),
        digests=digests,
        use=sum((answer.use for answer in answers), NOTHING_SENT),
    )


@dataclass(frozen=True, eq=False)
class _Answer:
    """The scores of one teacher, by turn; turns that need no score may be missing."""

    own: dict[int, Floats]
    top: dict[int, Named]
    targets: dict[int, Floats]
    use: PromptUse


async def _ask_teacher(
    member: Member, prompts: Prompts, dialogue: Dialogue, cast: Cast, scorer: Scorer, ask: Ask, lengths: Sequence[int]
) -> _Answer:
    # The teacher's prompts differ from the tutor's, so its turns may merge into other sequences.
    whole = merge_turns(zip(prompts, (turn.tokens for turn in dialogue.tutor_turns), strict=True))
    sequences = cut(whole, lengths)
    client = cast.teachers.client(member, dialogue.step)
    whose = f"teacher {member.name!r}, {name_of(dialogue)}"
    scores: Scores = await scorer.score_all(client, sequences, whose, ask)
    turns = [span.turn for sequence in sequences for span in sequence.spans]
    # Lists of what was not asked for are empty.
    parts: list[list[Any]] = [scores.own, scores.top, scores.targets]
    own, top, targets = (dict(zip(turns, part, strict=True)) if part else {} for part in parts)
    return _Answer(own, top, targets, scores.use)


def _cut(by_turn: dict[int, Floats], known: Sequence[int]) -> list[Floats]:
    """The first scores of each turn; nothing if they were not asked for."""
    if not by_turn:
        return []
    empty = next(iter(by_turn.values()))[:0]
    return [by_turn.get(turn, empty)[:count] for turn, count in enumerate(known)]


def _cut_top(by_turn: dict[int, Named], known: Sequence[int]) -> tuple[Named, ...]:
    if not by_turn:
        return ()
    some = next(iter(by_turn.values()))
    named = [by_turn.get(turn, some) for turn in range(len(known))]
    return tuple(Named(entry.ids[:count], entry.logprobs[:count]) for entry, count in zip(named, known, strict=True))


def teacher_prompts(dialogue: Dialogue, cast: Cast, member: Member, peer: Dialogue | None = None) -> Prompts:
    """A teacher's context before each tutor turn."""
    tutor_turns = [index for index, turn in enumerate(dialogue.turns) if turn.role == "tutor"]
    return [_teacher_prompt(dialogue, index, cast, member, peer) for index in tutor_turns]


def _teacher_prompt(
    dialogue: Dialogue, index: int, cast: Cast, member: Member, peer: Dialogue | None
) -> tuple[int, ...]:
    """A teacher's context before one tutor turn. A quote that its context has no room for is left out."""
    before = replace(dialogue, turns=dialogue.turns[:index])
    if cast.prompts.quoted_by(member.name):
        for shown in dict.fromkeys((peer, None)):
            prompt = cast.teacher_prompt(before, member, quotes_for(dialogue, index, shown))
            if cast.has_room(len(prompt), len(dialogue.turns[index].tokens)):
                return prompt
    # The dialogue was played so that this fits.
    return cast.teacher_prompt(before, member)


def _digests(dialogue: Dialogue, cast: Cast, prompts: Sequence[Prompts]) -> tuple[str, ...]:
    """What each tutor turn's scores are of: the key of the teachers, and a digest of all tokens that they read."""
    key = cast.teachers.key(dialogue.seed)
    if key is None:
        return ()
    turns = [turn.tokens for turn in dialogue.tutor_turns]
    return tuple(f"{key}-{digest([*read, tokens])}" for *read, tokens in zip(*prompts, turns, strict=True))


def _stored(
    dialogue: Dialogue, cast: Cast, ask: Ask, lengths: Sequence[int], digests: Sequence[str]
) -> TeacherScores | None:
    """The scores that a recording came with; None if one that is needed is missing, or is of something else."""
    # Only the teacher's own tokens are stored, not its scores of tokens that the tutor named.
    if dialogue.recording is None or not cast.reuses_scores or not digests or ask.targets is not None:
        return None
    own, tops, known = list[Floats](), list[Named](), list[int]()
    for turn, length, expected in zip(dialogue.tutor_turns, lengths, digests, strict=True):
        stored = turn.stored
        fits = stored is not None and stored.digest == expected
        if stored is None or not fits or (ask.top and {len(row) for row in stored.top} != {ask.top}):
            if length:
                return None
            own.append(np.zeros(0))
            tops.append(Named(np.zeros((0, ask.top), np.int64), np.zeros((0, ask.top))))
        else:
            own.append(np.asarray(stored.logprobs, np.float64))
            tops.append(Named(np.asarray(stored.top, np.int64), np.asarray(stored.top_logprobs, np.float64)))
        known.append(len(own[-1]))
    top = tuple(tops) if ask.top else ()
    return TeacherScores((), tuple(known), tuple(own), top, digests=tuple(digests), is_reused=True)


def name_of(dialogue: Dialogue) -> str:
    """A dialogue, for error messages."""
    return f"seed {dialogue.seed.id!r}, dialogue {dialogue.number} of step {dialogue.step}"
