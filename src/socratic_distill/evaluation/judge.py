"""Asks a judge model that reads the dialogue whether the tutor gave the answer away.

In PedagogicalRL (Dinucu-Jianu et al., EMNLP 2025) a model judges whether a tutor leaked the solution. Here the last
line of the judge's reply must be exactly one of

    VERDICT: LEAK
    VERDICT: NO LEAK

and no other line may be one of these. Any other reply, a cut or empty one, and a failed call are no verdict. They are
counted separately, never as a pass.

The dialogue is untrusted text. Each turn is shown as a JSON string on a line of its own, so that it can neither imitate
a turn of the other side nor spell a special token of the judge. Only the judge's own reply is read as a verdict.
"""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from socratic_distill.dialogues.cast import Speaker
from socratic_distill.dialogues.dialogue import Dialogue, Message, Turn
from socratic_distill.dialogues.prompts import read_prompt
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.reading.values import FIELD_NAME
from socratic_distill.errors import ConfigError
from socratic_distill.evaluation.intervals import Measure, Part, means
from socratic_distill.service.failures import describe
from socratic_distill.service.waiting import gather_all

_VERDICTS = {"VERDICT: LEAK": True, "VERDICT: NO LEAK": False}
_FIELDS = ("question", "expected_answer", "dialogue")
_PLACEHOLDER = re.compile(rf"\{{({FIELD_NAME.pattern})\}}")


@dataclass(frozen=True)
class Verdict:
    """A judge's verdict on a dialogue.

    Attributes:
        leaks: whether the tutor gave the answer away; None if the reply is no verdict.
        reply: the judge's reply, without its reasoning.
        error: what went wrong if the call failed.
    """

    leaks: bool | None
    reply: str = ""
    error: str | None = None


def load_judge_prompt(path: str | None = None) -> str:
    """The judge's prompt, as a template.

    Args:
        path: a text file that may use the fields `{question}`, `{expected_answer}` and `{dialogue}`. It must use
            `{dialogue}` and name both forms of a verdict. None: the packaged prompt.

    Raises:
        ConfigError: the file cannot be read, uses another field, or lacks a required part.
    """
    prompt = read_prompt(path, "judge.txt")
    whose = f"the judge's prompt file {path!r}"
    fields = set(_PLACEHOLDER.findall(prompt))
    if unknown := sorted(fields.difference(_FIELDS)):
        raise ConfigError(f"{whose} uses {{{unknown[0]}}}; the fields are {', '.join(_FIELDS)}")
    if "dialogue" not in fields:
        raise ConfigError(f"{whose} does not use {{dialogue}}, so the judge would see no dialogue; add it")
    if missing := [form for form in _VERDICTS if form not in prompt]:
        raise ConfigError(
            f"{whose} does not say {missing[0]!r}; tell the judge to end its reply with a line that is exactly "
            f"{' or '.join(map(repr, _VERDICTS))}, since nothing else counts as a verdict"
        )
    return prompt


def judge_messages(dialogue: Dialogue, prompt: str) -> list[Message]:
    """The judge's input: one message, the prompt filled with problem, answer and dialogue."""
    facts = {
        "question": dialogue.seed.question,
        "expected_answer": dialogue.seed.expected_answer,
        "dialogue": "\n".join(map(_quoted, dialogue.turns)),
    }
    # All fields are filled in one pass, so that a field's name inside the dialogue is not replaced.
    return [Message("user", _PLACEHOLDER.sub(lambda match: facts[match[1]], prompt))]


def _quoted(turn: Turn) -> str:
    """A turn as one line of JSON; "<", with which special tokens begin, is written as its escape."""
    return f"{turn.role}: {json.dumps(turn.text, ensure_ascii=False)}".replace("<", "\\u003c")


def parse_verdict(reply: str) -> bool | None:
    r"""Whether a judge's reply says that the answer was given away; None if the reply is no verdict.

    The last line must be a verdict in capitals and nothing else, and no other line may be a verdict. White space at the
    ends of lines and blank lines after the last are ignored.

    >>> parse_verdict("It asks.\nVERDICT: NO LEAK"), parse_verdict("VERDICT: LEAK"), parse_verdict("No leak, I think.")
    (False, True, None)
    """
    lines = [line.strip() for line in reply.rstrip().split("\n")]
    verdicts = [line for line in lines if line in _VERDICTS]
    return _VERDICTS[lines[-1]] if verdicts == lines[-1:] else None


async def judge_dialogues(
    dialogues: Sequence[Dialogue], judge: Speaker, seed: int, concurrency: int, prompt: str
) -> list[Verdict | None]:
    """Judges every dialogue. A failed call gives a `Verdict` with `leaks` None and the error.

    Args:
        dialogues: as played.
        judge: the judge's model.
        seed: the run's random seed; the judge's seed is made from it and from the dialogue's step, seed and number.
        concurrency: maximum number of dialogues that are judged at once.
        prompt: the judge's prompt, as `load_judge_prompt` returns it.

    Returns:
        A verdict for each dialogue; None for dialogues that failed or have no tutor turn, which are not judged.
    """
    slots = asyncio.Semaphore(concurrency)

    async def judge_next(dialogue: Dialogue) -> Verdict | None:
        if dialogue.ending == "failed" or not dialogue.tutor_turns:
            return None
        async with slots:
            return await _judge(dialogue, judge, seed, prompt)

    return await gather_all(map(judge_next, dialogues))


async def _judge(dialogue: Dialogue, judge: Speaker, seed: int, prompt: str) -> Verdict:
    own_seed = stable_seed(seed, dialogue.step, dialogue.seed.id, dialogue.number, "judge")
    try:
        (turn,) = await judge.speak(judge.renderer.prompt(judge_messages(dialogue, prompt)), own_seed)
    except Exception as error:
        return Verdict(None, error=describe(error))
    # A reply that was cut might have ended differently.
    return Verdict(parse_verdict(turn.text) if turn.stop_reason == "stop" else None, turn.text)


def judge_measures(verdicts: Sequence[Verdict | None], dialogues: Sequence[Dialogue]) -> dict[str, Measure]:
    """`leaks/judge`, over valid verdicts, and `leaks/judge_unparsed`, over all judged dialogues.

    Args:
        verdicts: as `judge_dialogues` returns them.
        dialogues: the dialogues of these verdicts.
    """
    judged = [
        (dialogue.seed.id, verdict)
        for dialogue, verdict in zip(dialogues, verdicts, strict=True)
        if verdict is not None
    ]
    return means(
        {
            "leaks/judge": [Part(seed, float(verdict.leaks)) for seed, verdict in judged if verdict.leaks is not None],
            "leaks/judge_unparsed": [Part(seed, float(verdict.leaks is None)) for seed, verdict in judged],
        }
    )
