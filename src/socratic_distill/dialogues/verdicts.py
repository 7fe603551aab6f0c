"""Verdicts on turns whose text does not show by a rule whether they give the answer.

A judge model gives them for answers of kind "judged", a function of the user for those of kind "function". Each turn of
either side is judged once, when it was played, and keeps its verdict. The last line of the judge's reply must be
exactly `VERDICT: YES` or `VERDICT: NO`, and no other line may be one of these. Any other reply, a cut or empty one, is
no verdict: the turn then neither gives nor tells the answer, and is counted.

The turn is untrusted text. It is shown as a JSON string on one line, so that it can neither imitate the prompt nor
spell a special token of the judge.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.functions import import_function
from socratic_distill.config.trust import check_code
from socratic_distill.dialogues.dialogue import Dialogue, Message, PromptUse, Turn
from socratic_distill.dialogues.prompts import read_prompt
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.reading.values import PLACEHOLDER
from socratic_distill.dialogues.remote_speaker import RemoteSpeaker
from socratic_distill.dialogues.seed import BY_VERDICT, Seed
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.errors import ConfigError, RolloutError
from socratic_distill.service.waiting import gather_all

AnswerFunction = Callable[[str, Seed], bool]

T = TypeVar("T")

VERDICTS = {"VERDICT: YES": True, "VERDICT: NO": False}
_FIELDS = ("question", "expected_answer", "rubric", "speaker", "message")
_EXPECTED = (
    "takes the text of a turn and its Seed, and returns True or False, as in `def {name}(text, seed): return "
    "seed.expected_answer in text`"
)


@dataclass(frozen=True)
class Verdicts:
    """Gives turns their verdicts.

    Attributes:
        function: of the user; None if no seed needs it.
        judge: the judge's model; None if no seed needs it.
        prompt: the judge's prompt, as a template.
        seed: the run's random seed.
    """

    function: AnswerFunction | None
    judge: Speaker | RemoteSpeaker | None
    prompt: str
    seed: int

    def counted(self, on_use: Callable[[PromptUse], None]) -> "Verdicts":
        """The same, with a function that is called with the cost of each of the judge's requests."""
        return replace(self, judge=None if self.judge is None else replace(self.judge, on_use=on_use))

    async def on(self, turns: Sequence[Turn], dialogue: Dialogue) -> list[Turn]:
        """Turns that follow a dialogue so far, with their verdicts; as they are where a rule reads the answer.

        Raises:
            RolloutError: the function failed, or returned neither True nor False.
        """
        seed = dialogue.seed
        if seed.answer_kind not in BY_VERDICT:
            return list(turns)
        if seed.answer_kind == "function":
            assert self.function is not None, "a start without the function is refused"
            return [replace(turn, verdict=self.function(turn.text, seed)) for turn in turns]
        return await gather_all(self._judged(turn, dialogue, index) for index, turn in enumerate(turns))

    async def _judged(self, turn: Turn, dialogue: Dialogue, index: int) -> Turn:
        assert self.judge is not None, "a start without the judge is refused"
        own = stable_seed(
            self.seed, dialogue.step, dialogue.seed.id, dialogue.number + index, f"verdict {len(dialogue.turns)}"
        )
        messages = answer_messages(turn, dialogue.seed, self.prompt)
        verdict, reply = await ask_judge(self.judge, messages, own, VERDICTS)
        return replace(turn, verdict=verdict, judged=reply.use)


def check_verdicts(config: SocraticConfig, seeds: Sequence[Seed]) -> None:
    """Refuses seeds whose answers need a verdict that nobody gives.

    Raises:
        ConfigError: the message names the seed and the field to set.
    """
    fields = {"judged": config.answer_judge, "function": config.answer_function}
    for seed in seeds:
        if seed.answer_kind in fields and fields[seed.answer_kind] is None:
            raise ConfigError(
                f"the answer of seed {seed.id!r} is of kind {seed.answer_kind!r}; set "
                + ("answer_judge to a model" if seed.answer_kind == "judged" else "answer_function to 'module:name'")
                + ", or give the seed another answer_kind"
            )


def load_answer_function(config: SocraticConfig) -> AnswerFunction | None:
    """The config's function for answers; None if it names none.

    It raises `RolloutError` if it raises an error, or returns neither True nor False.

    Raises:
        ConfigError: it cannot be imported or called; the message says what to write instead.
        UntrustedConfig: the config was read from a run directory, and its code is not allowed.
    """
    path = config.answer_function
    if path is None:
        return None
    check_code(config, "answers")
    function: Callable[[str, Seed], object] = import_function(path, "answer function", _EXPECTED)

    def gives(text: str, seed: Seed) -> bool:
        try:
            result = function(text, seed)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise RolloutError(f"answer function {path!r} raised {problem}, on seed {seed.id!r}") from error
        if not isinstance(result, bool):
            raise RolloutError(f"answer function {path!r} returned {result!r:.60} on {seed.id!r}; expected a bool")
        return result

    return gives


def load_answer_prompt(path: str | None = None) -> str:
    """The prompt of the judge of answers, as a template.

    Args:
        path: a text file that may use the fields `{question}`, `{expected_answer}`, `{rubric}`, `{speaker}` and
            `{message}`. It must use `{message}` and name both forms of a verdict. None: the packaged prompt.

    Raises:
        ConfigError: the file cannot be read, uses another field, or lacks a required part.
    """
    prompt = read_prompt(path, "answer_judge.txt")
    check_judge_prompt(prompt, f"the prompt file {path!r} of answer_judge", _FIELDS, "message", VERDICTS)
    return prompt


def check_judge_prompt(
    prompt: str, whose: str, fields: Sequence[str], shown: str, verdicts: Mapping[str, object]
) -> None:
    """Refuses a judge's prompt that uses an unknown field, does not show what is judged, or names no verdict.

    Args:
        prompt: the template.
        whose: what it is, as the beginning of messages.
        fields: fields that it may use.
        shown: the field that holds what is judged.
        verdicts: the lines that count.

    Raises:
        ConfigError: it does one of these.
    """
    used = set(PLACEHOLDER.findall(prompt))
    if unknown := sorted(used.difference(fields)):
        raise ConfigError(f"{whose} uses {{{unknown[0]}}}; the fields are {', '.join(fields)}")
    if shown not in used:
        raise ConfigError(f"{whose} does not use {{{shown}}}, so the judge would see no {shown}; add it")
    if missing := [form for form in verdicts if form not in prompt]:
        raise ConfigError(
            f"{whose} does not say {missing[0]!r}; tell the judge to end its reply with a line that is exactly "
            f"{' or '.join(map(repr, verdicts))}, since nothing else counts as a verdict"
        )


def answer_messages(turn: Turn, seed: Seed, prompt: str) -> list[Message]:
    """The judge's input: one message, the prompt filled with problem, answer and turn."""
    facts = {
        "question": seed.problem,
        "expected_answer": seed.expected_answer or "not known",
        "rubric": seed.rubric or "the same meaning as the right answer",
        "speaker": turn.role,
        "message": quoted(turn.text),
    }
    return [Message("user", fill(prompt, facts))]


def fill(prompt: str, facts: Mapping[str, str]) -> str:
    """A judge's prompt with its fields filled in one pass, so that a field's name in what is judged stays."""
    return PLACEHOLDER.sub(lambda match: facts[match[1]], prompt)


def quoted(text: str) -> str:
    """A text as one line of JSON; "<", with which special tokens begin, is written as its escape."""
    return json.dumps(text, ensure_ascii=False).replace("<", "\\u003c")


async def ask_judge(
    judge: Speaker | RemoteSpeaker, messages: Sequence[Message], seed: int, verdicts: Mapping[str, bool]
) -> tuple[bool | None, Turn]:
    """A judge's verdict, None if its reply is none, and the reply.

    Raises what a failed request raises.
    """
    replies = await judge.reply(messages, seed, 1, None)
    assert replies is not None, "no limit was given"
    (reply,) = replies
    # A reply that was cut might have ended differently.
    return closing_verdict(reply.text, verdicts) if reply.stop_reason == "stop" else None, reply


def closing_verdict(reply: str, verdicts: Mapping[str, T]) -> T | None:
    """What a judge's reply named with; None if that is no verdict.

    The last line must be a verdict in capitals and nothing else, and no other line may be a verdict. White space at the
    named of lines and blank lines after the last are ignored.
    """
    lines = [line.strip() for line in reply.rstrip().split("\n")]
    named = [line for line in lines if line in verdicts]
    return verdicts[lines[-1]] if named == lines[-1:] else None
