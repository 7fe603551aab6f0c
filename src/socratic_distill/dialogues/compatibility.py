"""What is refused before the first sampling call, since it would cost money and teach nothing.

A teacher must mean the same as the tutor by a token id, and its chat template must not rewrite replies. The longest
seeds must leave room to talk. Models without a system role are refused where they are rendered, in `rendering.py`.
"""

import heapq
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from socratic_distill.dialogues.cast import Cast, Member
from socratic_distill.dialogues.dialogue import Dialogue, Message, Role, Turn, student_view, teacher_view, tutor_view
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.errors import ConfigError, RenderingError
from socratic_distill.text import get_logger

_log = get_logger(__name__)

# Where tokenizers of one vocabulary part: how digits are grouped, blanks are joined, and characters are normalised.
_PROBES = (
    "1234567890 and 12,345.678 are 007 numbers, 1/2 + 3/4 = 5/4",
    r"Let $x_{1}^{2} = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}$, so \(x \le 10\%\).",
    "def half(n):\n    if n:\n\t\treturn n / 2\n\n\n  # done   \n",
    "I'm sure you'll SEE it's O'Brien's; isn't THAT what they've asked?",
    "caf\u00e9 cafe\u0301 \ufb01ve x\u00b2 \uff11\uff12 \u00bd \u2264 \u00a0\u2014 \u201cwhy\u201d",
    "\u4e09\u4e2a\u82f9\u679c \u041f\u043e\u0447\u0435\u043c\u0443? \u03b1+\u03b2 \u0643\u0645\u061f \u0939\u0948 "
    "\U0001f469\u200d\U0001f3eb\U0001f914",
)
# No white space at their ends: sampled tokens are set in as they are, so a template that trims changes nothing.
_REPLIES = (
    "You wrote 12 < 7 & x = \\frac{1}{2}.\n\n  1. What is 3 \u00d7 4?\n  2. Why did you add?",
    'Good \u2014 "half" of WHAT?',
)
_LONGEST = 4  # the longest text in characters need not be the longest in tokens
_STAND_IN = "?"  # a turn of one token; an empty one is refused by some templates
_LATE = 10**9  # a step at which every schedule has ended


def check_same_tokens(tutor: Renderer, teacher: Renderer) -> None:
    """Refuses a teacher that would read the tutor's token ids as other text.

    Raises:
        RenderingError: a token of the tutor has another id at the teacher, they cut a text into other tokens, or they
            end turns differently.
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
    """Merges and normalisation may differ though the vocabulary is one."""
    for text in _PROBES:
        ours, theirs = tutor.codec.encode(text), teacher.codec.encode(text)
        if ours != theirs:
            raise RenderingError(
                f"the tutor {tutor.model_name!r} and the teacher {teacher.model_name!r} have one vocabulary, but cut "
                f"{text!r} into other tokens: {ours} and {theirs}; the teacher would score tokens that it never saw "
                "in such text, so choose two models of one family"
            )


def check_same_replies(tutor: Renderer, teacher: Renderer) -> None:
    """Refuses a teacher whose chat template makes other tokens of a tutor's reply than the tutor's own does.

    A dialogue is rendered by both, once with the replies as text and once with markers in their places: what stands
    between the same surroundings is the reply. The templates may differ in everything around it.

    Raises:
        RenderingError: the tokens of a reply differ, or a template's text around replies depends on what they say.
    """
    for ours, theirs in zip(_written_replies(tutor), _written_replies(teacher), strict=True):
        if tutor.codec.encode(ours) != teacher.codec.encode(theirs):
            raise RenderingError(
                f"the chat template of the tutor {tutor.model_name!r} writes a reply as {ours!r}, that of the teacher "
                f"{teacher.model_name!r} as {theirs!r}; the teacher scores the tutor's own tokens, which would be none "
                "that it knows from its template, so choose two models whose templates write a reply alike"
            )


def _written_replies(renderer: Renderer) -> tuple[str, ...]:
    """What the template makes of the probe dialogue's replies."""
    marked = _probe_dialogue([Message("assistant", tokens=()) for _ in _REPLIES])
    written = _probe_dialogue([Message("assistant", reply) for reply in _REPLIES])
    around = "(.*?)".join(map(re.escape, renderer.frame(marked)))
    found = re.fullmatch(around, renderer.text(written), re.DOTALL)
    if found is None:
        raise RenderingError(
            f"the chat template of {renderer.model_name!r} writes other text around a reply when the reply says "
            "something else, so sampled tokens cannot take a reply's place; use a model whose template keeps replies "
            "as they are"
        )
    return found.groups()


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
    """Refuses seeds whose prompts and one turn cannot fit the smallest context, and warns where not all turns can.

    The seeds with the longest prompts are rendered for each role. A turn counts as many tokens for who hears it as for
    who says it.

    Raises:
        ConfigError: the student's opening, or the tutor's first reply as tutor or teacher see it, does not fit.
    """
    if cast.max_context is None:
        return
    needs = [_measure(side, seed, cast) for side in _sides(cast, seeds) for seed in side.longest()]
    for need in needs:
        if need.first > cast.max_context:
            raise ConfigError(_no_room(need, cast, cast.max_context))
    # A schedule goes one way, so the most turns are at its beginning or at its end.
    most_turns = max(cast.max_turns(0), cast.max_turns(_LATE))
    if needs:
        _warn_of_long_dialogues(needs, most_turns, cast.max_context)


@dataclass(frozen=True)
class _Side:
    """One reader of dialogues.

    Attributes:
        who: as messages name it, with its model.
        speaks_as: whose turns it has as its own.
        renderer: for its model.
        view: what it sees of a dialogue.
        seeds: on which it reads dialogues.
    """

    who: str
    speaks_as: Role
    renderer: Renderer
    view: Callable[[Dialogue], list[Message]]
    seeds: Sequence[Seed]

    def longest(self) -> list[Seed]:
        """The seeds with the longest prompts, in characters: cheap to tell of thousands."""
        return heapq.nlargest(_LONGEST, self.seeds, key=self._characters)

    def prompt_tokens(self, dialogue: Dialogue) -> int:
        """Tokens of its context for the next turn."""
        return len(self.renderer.prompt(self.view(dialogue)))

    def _characters(self, seed: Seed) -> int:
        return sum(len(message.text or "") for message in self.view(_stand_ins(seed, 0)))


@dataclass(frozen=True)
class _Need:
    """What a side's contexts take on a seed, in tokens.

    Attributes:
        side: the reader.
        seed: the seed.
        prompt: its prompt before anyone said anything.
        first: its first request at full length: the prompt, the turn that it answers, and its own.
        each: by how much a request grows with a turn of both sides.
    """

    side: _Side
    seed: Seed
    prompt: int
    first: int
    each: int

    @property
    def _turns_at_first(self) -> int:
        """Tutor turns at the first request, the one that is asked for included."""
        return 1 if self.side.speaks_as == "tutor" else 0

    def tokens(self, turns: int) -> int:
        """The longest request of a dialogue of so many tutor turns."""
        return self.first + (turns - self._turns_at_first) * self.each

    def most_turns(self, limit: int) -> int:
        """The most tutor turns whose requests surely fit; the first request must."""
        return self._turns_at_first + (limit - self.first) // self.each


def _sides(cast: Cast, seeds: Sequence[Seed]) -> list[_Side]:
    prompts, profile = cast.prompts, cast.profile
    student, tutor = cast.student.renderer, cast.tutor.renderer
    sides = [
        _Side(
            f"student {student.model_name!r}",
            "student",
            student,
            lambda dialogue: student_view(dialogue, prompts, profile),
            seeds,
        ),
        _Side(f"tutor {tutor.model_name!r}", "tutor", tutor, lambda dialogue: tutor_view(dialogue, prompts), seeds),
    ]
    return sides + [_teacher_side(cast, member, seeds) for member in cast.panel.members.values()]


def _teacher_side(cast: Cast, member: Member, seeds: Sequence[Seed]) -> _Side:
    who = f"teacher {member.renderer.model_name!r}"
    if len(cast.panel.members) > 1:
        who += f" (teachers: {member.name!r})"
    return _Side(
        who,
        "tutor",
        member.renderer,
        lambda dialogue: teacher_view(dialogue, cast.prompts, cast.profile, member.name),
        [seed for seed in seeds if member in cast.panel.of(seed)],
    )


def _measure(side: _Side, seed: Seed, cast: Cast) -> _Need:
    """Renders the first request and the one after it, with stand-ins for the turns."""
    heard = 1 if side.speaks_as == "tutor" else 0
    first = side.prompt_tokens(_stand_ins(seed, heard))
    second = side.prompt_tokens(_stand_ins(seed, heard + 2))
    student, tutor = cast.student.max_tokens, cast.tutor.max_tokens
    own, other = (tutor, student) if heard else (student, tutor)
    prompt = first - heard  # a stand-in that is heard is one token
    return _Need(side, seed, prompt, prompt + heard * other + own, second - first - 1 + other + own)


def _stand_ins(seed: Seed, count: int) -> Dialogue:
    """A dialogue of so many turns, each of one token to who hears it and of none to who says it."""
    roles: tuple[Role, Role] = ("student", "tutor")
    return Dialogue(seed, 0, 0, tuple(Turn(roles[i % 2], _STAND_IN, (), (), (), (), 0, "stop") for i in range(count)))


def _no_room(need: _Need, cast: Cast, limit: int) -> str:
    student, tutor = cast.student.max_tokens, cast.tutor.max_tokens
    if need.side.speaks_as == "student":
        what, turns = "the opening", f"its turn up to {student}"
    else:
        what, turns = "the tutor's first reply", f"the student's opening up to {student} and the reply up to {tutor}"
    return (
        f"the {need.side.who} has no room for {what} on seed {need.seed.id!r}: its prompt "
        f"takes {need.prompt} tokens, {turns}, together {need.first}, but the smallest context holds {limit} "
        "(max_context_tokens, or what the service tells of the models); lower max_tokens or student_max_tokens, "
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
