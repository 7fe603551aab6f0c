"""Counts good first replies: those that ask, do not tell the answer, and speak of this problem.

A tutor that learned a few phrases asks "What does that number stand for?" whatever the problem is. The library's
measures find that it asks and does not tell. Two more figures show whether it listens: a good reply also names a number
or a thing of its problem, and the share of the commonest reply shows whether all problems get the same words.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from socratic_distill import Evaluation, Seed
from socratic_distill.dialogues.answers.kinds import rule_of

_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_WORD = re.compile(r"[^\W\d_]{3,}")
# Words that stand in most problems, or that a tutor says whatever the problem is.
_COMMON_WORDS = """
about add added adding after again ahead all alone also and another answer any are around aside ask asked away back
because been before begin begins behind between both bring brings but buy buys calculate call came can carry change
check come comes correct cost costs could count did different divide does doing done down each eight enough equal
equally every explain few fewer find finds first five for found four from full gave get gets give gives giving goes
going good got had half has have her here hers herself higher him his hold holds how into its just keep know last
later least leave leaves left less let like long longer look made make makes many mean means might mind minus
missing more most much multiply must need needed needs next nine not now number numbers off old once one only other
others our out over part parts past pay pays place please plus problem put puts question reach read real really rest
right same say says second see sell sells seven share shares she should show six small solution solve some start
starts stay step steps still story subtract such sum sure take taken takes taking tell ten than that the their them
then there these they thing things think third this those three through time times together total try turn twice two
understand until use used uses using very wait walk want wants was way well went were what when where which while
who whole whose why will with word words work worked works would wrong yet you your
"""
_COMMON = frozenset(_COMMON_WORDS.split())


@dataclass(frozen=True)
class FirstReplies:
    """The first replies of an evaluation.

    Attributes:
        count: dialogues that did not fail and have a reply.
        good: share of them whose first reply is good; None without any.
        commonest: share of them whose first reply is the commonest one; None without any.
    """

    count: int
    good: float | None
    commonest: float | None


def first_replies(evaluation: Evaluation) -> FirstReplies:
    """The two shares over an evaluation's dialogues, as its own measures count them."""
    dialogues = [scored.dialogue for scored in evaluation.dialogues if scored.dialogue.ending != "failed"]
    firsts = [(turn.text, dialogue.seed) for dialogue in dialogues for turn in dialogue.tutor_turns[:1]]
    if not firsts:
        return FirstReplies(0, None, None)
    good = sum(is_good(reply, seed) for reply, seed in firsts)
    return FirstReplies(len(firsts), good / len(firsts), commonest_share([reply for reply, _ in firsts]))


def is_good(reply: str, seed: Seed) -> bool:
    """Whether a reply asks, does not say the answer, and names something of its problem.

    >>> seed = Seed("s", "Tom has 17 apples and gets 25 more. How many apples has he?", "42")
    >>> is_good("How many apples did Tom have?", seed), is_good("What did you do first?", seed)
    (True, False)
    """
    return "?" in reply and not rule_of(seed).reveals(reply, seed) and bool(named(reply, seed.question))


def named(reply: str, question: str) -> set[str]:
    """The numbers of a question that a reply names, and the words of some content that both have."""
    return (_numbers(reply) & _numbers(question)) | (_words(reply) & _words(question))


def commonest_share(replies: Sequence[str]) -> float:
    """Share of the commonest text among replies; case and white space do not distinguish texts.

    >>> commonest_share(["Why?", " why? ", "How?", "Who?"])
    0.5
    """
    ((_, count),) = Counter(" ".join(reply.casefold().split()) for reply in replies).most_common(1)
    return count / len(replies)


def _numbers(text: str) -> set[str]:
    return {number.replace(",", "") for number in _NUMBER.findall(text)}


def _words(text: str) -> set[str]:
    """The words of a text that say what it is about, without the endings of a plural and of a genitive."""
    words = {word for word in _WORD.findall(text.casefold()) if word not in _COMMON}
    return {_singular(word) for word in words}


def _singular(word: str) -> str:
    """One form for singular and plural.

    >>> [_singular(word) for word in ("boxes", "box", "cookies", "cookie", "candles", "candle", "cherry", "cherries")]
    ['box', 'box', 'cooky', 'cooky', 'candl', 'candl', 'cherry', 'cherry']
    """
    stem = re.sub(r"(?:(?<=[^su])s|(?<=s)es)$", "", word)
    return re.sub(r"ie?$", "y", re.sub(r"(?<!i)e$", "", stem))
