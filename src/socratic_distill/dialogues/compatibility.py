"""Refuses models and seeds that cannot work, before the first sampling call costs money.

Tutor and teacher must use the same token ids for the same text, and write replies alike in their chat templates. The
longest seeds must leave room for a dialogue. `rendering.py` refuses models without a system role.
"""

import heapq
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from socratic_distill.config.schedules import LATE_STEP
from socratic_distill.dialogues.cast import Cast, Member
from socratic_distill.dialogues.dialogue import Dialogue, Message, Role, Turn, teacher_view, tutor_view
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.errors import ConfigError, RenderingError
from socratic_distill.text import get_logger

_log = get_logger(__name__)

# Texts on which tokenizers with the same vocabulary may differ: grouping of digits, blanks, normalised characters.
_PROBES = (
    "1234567890 and 12,345.678 are 007 numbers, 1/2 + 3/4 = 5/4",
    r"Let $x_{1}^{2} = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}$, so \(x \le 10\%\).",
    "def half(n):\n    if n:\n\t\treturn n / 2\n\n\n  # done   \n",
    "I'm sure you'll SEE it's O'Brien's; isn't THAT what they've asked?",
    "caf\u00e9 cafe\u0301 \ufb01ve x\u00b2 \uff11\uff12 \u00bd \u2264 \u00a0\u2014 \u201cwhy\u201d",
    "\u4e09\u4e2a\u82f9\u679c \u041f\u043e\u0447\u0435\u043c\u0443? \u03b1+\u03b2 \u0643\u0645\u061f \u0939\u0948 "
    "\U0001f469\u200d\U0001f3eb\U0001f914",
)
# Without white space at their ends, so that a template that trims is accepted: sampled tokens are inserted unchanged,
# and trimming does not affect them.
_REPLIES = (
    "You wrote 12 < 7 & x = \\frac{1}{2}.\n\n  1. What is 3 \u00d7 4?\n  2. Why did you add?",
    'Good \u2014 "half" of WHAT?',
)
_LONGEST = 4  # more than one, since the longest text in characters may not be the longest in tokens
_STAND_IN = "?"  # a turn of one token; some templates refuse an empty one


def check_same_tokens(tutor: Renderer, teacher: Renderer) -> None:
    """Refuses a teacher that would read the tutor's token ids as other text.

    Raises:
        RenderingError: a token of the tutor has another id in the teacher's vocabulary, they split a text into
            different tokens, or they end turns with different tokens.
    """
    if tutor.tokenizer is not teacher.tokenizer:
        _check_vocabularies(tutor, teacher)
        _check_probes(tutor, teacher)
    if tutor.end_token != teacher.end_token:
        raise RenderingError(
            f"the tutor {tutor.model_name!r} ends its turns with token {tutor.end_token}, the teacher "
            f"{teacher.model_name!r} with {teacher.end_token}; choose two models with one way to end a turn"
        )


def _check_vocabularies(tutor: Renderer, teacher: Renderer) -> None:
    ours, theirs = tutor.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    differing = [token for token, number in ours.items() if theirs.get(token) != number]
    if differing:
        examples = ", ".join(repr(token) for token in differing[:3])
        raise RenderingError(
            f"{len(differing)} tokens of the tutor {tutor.model_name!r} mean something else to the teacher "
            f"{teacher.model_name!r}, among them {examples}; the teacher scores the tutor's token ids, so "
            "choose two models of one family"
        )


def _check_probes(tutor: Renderer, teacher: Renderer) -> None:
    """Compares both tokenizers on texts: merges and normalisation may differ although the vocabulary is the same."""
    for text in _PROBES:
        ours, theirs = tutor.codec.encode(text), teacher.codec.encode(text)
        if ours != theirs:
            raise RenderingError(
                f"the tutor {tutor.model_name!r} and the teacher {teacher.model_name!r} have one vocabulary, but split "
                f"{text!r} into different tokens: {ours} and {theirs}; the teacher would score tokens that it never "
                "saw in such text, so choose two models of one family"
            )


def check_same_replies(tutor: Renderer, teacher: Renderer) -> None:
    """Refuses a teacher whose chat template turns a tutor's reply into other tokens than the tutor's own template.

    Both render a dialogue twice, with the replies as text and with markers in their place. The text at a marker is the
    reply as the template writes it. The templates may differ in everything around it.

    Raises:
        RenderingError: the tokens of a reply differ, or a template's text around replies depends on what they say.
    """
    for ours, theirs in zip(_written_replies(tutor), _written_replies(teacher), strict=True):
        if tutor.codec.encode(ours) != teacher.codec.encode(theirs):
            raise RenderingError(
                f"the chat template of the tutor {tutor.model_name!r} writes a reply as {ours!r}, that of the teacher "
                f"{teacher.model_name!r} as {theirs!r}; the teacher would score tokens that its template never "
                "produces, so choose two models whose templates write a reply alike"
            )


def _written_replies(renderer: Renderer) -> tuple[str, ...]:
    """The replies of the probe dialogue as the template writes them."""
    marked = _probe_dialogue([Message("assistant", tokens=()) for _ in _REPLIES])
    written = _probe_dialogue([Message("assistant", reply) for reply in _REPLIES])
    around = "(.*?)".join(map(re.escape, renderer.frame(marked)))
    match = re.fullmatch(around, renderer.text(written), re.DOTALL)
    if match is None:
        raise RenderingError(
            f"the chat template of {renderer.model_name!r} writes different text around a reply depending on the "
            "reply, so sampled tokens cannot replace the reply; use a model whose template keeps replies as they are"
        )
    return match.groups()


def _probe_dialogue(replies: Sequence[Message]) -> list[Message]:
    first, second = replies
    return [
        Message("system", "You are a math tutor."),
        Message("user", "I got 7."),
        first,
        Message("user", "I added them."),
        second,
        Message("user", "Oh, 12?"),
    ]


def check_room(cast: Cast, seeds: Sequence[Seed]) -> None:
    """Refuses seeds whose prompt and first turn do not fit the smallest context; warns if long dialogues do not fit.

    The seeds with the longest prompts are rendered for each role. A turn is assumed to take as many tokens for its
    listener as for its speaker.

    Raises:
        ConfigError: the student's opening, or the tutor's first reply as tutor or teacher see it, does not fit.
    """
    if cast.max_context is None:
        return
    needs = [_measure(side, seed, cast) for side in _sides(cast, seeds) for seed in side.longest()]
    for need in needs:
        if need.first > cast.max_context:
            raise ConfigError(_no_room(need, cast, cast.max_context))
    # A schedule only rises or only falls, so its maximum is at its start or at its end.
    most_turns = max(cast.max_turns(0), cast.max_turns(LATE_STEP))
    if needs:
        _warn_of_long_dialogues(needs, most_turns, cast.max_context)


@dataclass(frozen=True)
class _Side:
    """One reader of dialogues.

    Attributes:
        who: its role and model, for messages.
        speaks_as: the role whose turns are its own.
        renderer: renderer for its model.
        view: gives the messages that it sees of a dialogue.
        seeds: the seeds of the dialogues that it reads.
    """

    who: str
    speaks_as: Role
    renderer: Renderer
    view: Callable[[Dialogue], list[Message]]
    seeds: Sequence[Seed]

    def longest(self) -> list[Seed]:
        """The seeds with the longest prompts in characters, which are cheap to count for thousands of seeds."""
        return heapq.nlargest(_LONGEST, self.seeds, key=self._characters)

    def prompt_tokens(self, dialogue: Dialogue) -> int:
        """Tokens of its context for the next turn."""
        return len(self.renderer.prompt(self.view(dialogue)))

    def _characters(self, seed: Seed) -> int:
        return sum(len(message.text or "") for message in self.view(Dialogue(seed, 0, 0)))


@dataclass(frozen=True)
class _Need:
    """How many tokens a side's contexts take on a seed.

    Attributes:
        side: the reader.
        seed: the seed.
        prompt: tokens of its prompt before the first turn.
        first: tokens of its first request at full length: the prompt, the turn that it answers, and its own turn.
        growth: tokens by which a request grows when both sides have taken one more turn.
    """

    side: _Side
    seed: Seed
    prompt: int
    first: int
    growth: int

    @property
    def _turns_at_first(self) -> int:
        """Tutor turns at the first request, including the one that it asks for."""
        return 1 if self.side.speaks_as == "tutor" else 0

    def tokens(self, turns: int) -> int:
        """Tokens of the longest request in a dialogue of `turns` tutor turns."""
        return self.first + (turns - self._turns_at_first) * self.growth

    def most_turns(self, limit: int) -> int:
        """The largest number of tutor turns whose requests surely fit; the first request must fit."""
        return self._turns_at_first + (limit - self.first) // self.growth


def _sides(cast: Cast, seeds: Sequence[Seed]) -> list[_Side]:
    prompts, tutor = cast.prompts, cast.tutor.renderer
    sides = [
        _Side(
            f"student {speaker.renderer.model_name!r}",
            "student",
            speaker.renderer,
            student.view,
            [student.seed(seed) for seed in seeds],
        )
        for student in cast.students.members.values()
        if isinstance(speaker := student.speaker, Speaker)
    ]
    sides.append(
        _Side(f"tutor {tutor.model_name!r}", "tutor", tutor, lambda dialogue: tutor_view(dialogue, prompts), seeds)
    )
    return sides + [_teacher_side(cast, member, seeds) for member in cast.teachers.members.values()]


def _teacher_side(cast: Cast, member: Member, seeds: Sequence[Seed]) -> _Side:
    who = f"teacher {member.renderer.model_name!r}"
    if len(cast.teachers.members) > 1:
        who += f" (teachers: {member.name!r})"
    return _Side(
        who,
        "tutor",
        member.renderer,
        lambda dialogue: teacher_view(dialogue, cast.prompts, cast.profile, member.name),
        [seed for seed in seeds if member in cast.teachers.of(seed)],
    )


def _measure(side: _Side, seed: Seed, cast: Cast) -> _Need:
    """Renders the first request and the next one with one-token turns, and adds the length limits of real turns."""
    heard = 0 if side.speaks_as == cast.first else 1
    first = side.prompt_tokens(_stand_ins(seed, heard, cast.first))
    second = side.prompt_tokens(_stand_ins(seed, heard + 2, cast.first))
    student, tutor = _longest_turn(cast), cast.tutor.max_tokens
    own, other = (tutor, student) if side.speaks_as == "tutor" else (student, tutor)
    prompt = first - heard  # `first` includes the one-token turn that was heard
    return _Need(side, seed, prompt, prompt + heard * other + own, second - first - 1 + other + own)


def _longest_turn(cast: Cast) -> int:
    """Tokens of the longest turn that a student may take."""
    return max(student.speaker.max_tokens for student in cast.students.members.values())


def _stand_ins(seed: Seed, count: int, first: Role) -> Dialogue:
    """A dialogue of `count` turns, each of one token for its listener and of none for its speaker."""
    dialogue = Dialogue(seed, 0, 0, first=first)
    for _ in range(count):
        dialogue = dialogue.with_turn(Turn(dialogue.speaker, _STAND_IN, (), (), (), (), 0, "stop"))
    return dialogue


def _no_room(need: _Need, cast: Cast, limit: int) -> str:
    student, tutor = _longest_turn(cast), cast.tutor.max_tokens
    own, other = (student, tutor) if need.side.speaks_as == "student" else (tutor, student)
    if need.side.speaks_as == cast.first:
        what, turns = "the opening", f"its turn up to {own}"
    else:
        opens = cast.first
        what, turns = (
            f"the {need.side.speaks_as}'s first reply",
            (f"the {opens}'s opening up to {other} and the reply up to {own}"),
        )
    return (
        f"the {need.side.who} has no room for {what} on seed {need.seed.id!r}: its prompt "
        f"takes {need.prompt} tokens, {turns}, together {need.first}, but the smallest context holds {limit} "
        "(max_context_tokens, or what the service reports for the models); lower max_tokens or student_max_tokens, "
        "shorten the prompt, or leave the seed out"
    )


def _warn_of_long_dialogues(needs: Sequence[_Need], max_turns: int, limit: int) -> None:
    worst = max(needs, key=lambda need: need.tokens(max_turns))
    if worst.tokens(max_turns) <= limit:
        return
    most = min(need.most_turns(limit) for need in needs)
    _log.warning(
        "long dialogues will end as 'context': at full length, max_turns=%d turns take the %s up to %d tokens on "
        "seed %r, but the smallest context holds %d; %s; lower max_turns, max_tokens or student_max_tokens to let them "
        "finish",
        max_turns,
        worst.side.who,
        worst.tokens(max_turns),
        worst.seed.id,
        limit,
        f"the largest max_turns that surely fits is {most}" if most else "not even max_turns=1 surely fits",
    )
