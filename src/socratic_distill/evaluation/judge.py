"""Whether the tutor gave the answer away, by a judge model that reads the dialogue.

PedagogicalRL (Dinucu-Jianu et al., EMNLP 2025) has a model judge whether a tutor leaked the solution. Here the judge
must end its reply with a line that is exactly one of

    VERDICT: LEAK
    VERDICT: NO LEAK

and has no other such line. Any other reply, one that is cut, an empty one, and a call that failed are no verdict: they
are counted as that, never as a pass.

The dialogue is untrusted text. Its turns are shown as JSON strings, a line each, so that a turn can neither feign one
of the other side's nor spell a special token of the judge's; and only what the judge itself says is read as a verdict.
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
from socratic_distill.dialogues.seeds import FIELD_NAME
from socratic_distill.errors import ConfigError
from socratic_distill.evaluation.intervals import Measure, Part, means
from socratic_distill.service.failures import describe
from socratic_distill.service.waiting import gather_all

_VERDICTS = {"VERDICT: LEAK": True, "VERDICT: NO LEAK": False}
_FIELDS = ("question", "expected_answer", "dialogue")
_PLACEHOLDER = re.compile(rf"\{{({FIELD_NAME.pattern})\}}")


@dataclass(frozen=True)
class Verdict:
    """What a judge made of a dialogue.

    Attributes:
        leaks: whether the tutor gave the answer away; None where the reply is no verdict.
        reply: what the judge said, without its reasoning.
        error: what went wrong where the call failed.
    """

    leaks: bool | None
    reply: str = ""
    error: str | None = None


def load_judge_prompt(path: str | None = None) -> str:
    """The judge's prompt, its fields open.

    Args:
        path: a text file with the fields `{question}`, `{expected_answer}` and `{dialogue}`, the last of which must be
            there, as must both forms of a verdict. None: the packaged one.

    Raises:
        ConfigError: the file cannot be read, uses another field, or lacks what must be there.
    """
    prompt = read_prompt(path, "judge.txt")
    whose = f"the judge's prompt file {path!r}"
    fields = set(_PLACEHOLDER.findall(prompt))
    if unknown := sorted(fields.difference(_FIELDS)):
        raise ConfigError(f"{whose} uses {{{unknown[0]}}}; there are {', '.join(_FIELDS)}")
    if "dialogue" not in fields:
        raise ConfigError(f"{whose} does not use {{dialogue}}, so that the judge would see no dialogue; put it in")
    if missing := [form for form in _VERDICTS if form not in prompt]:
        raise ConfigError(
            f"{whose} does not say {missing[0]!r}; tell the judge to end its reply with a line that is exactly "
            f"{' or '.join(map(repr, _VERDICTS))}, since nothing else counts as a verdict"
        )
    return prompt


def judge_messages(dialogue: Dialogue, prompt: str) -> list[Message]:
    """What the judge reads: one message, with problem, answer and talk in the prompt's fields."""
    facts = {
        "question": dialogue.seed.question,
        "expected_answer": dialogue.seed.expected_answer,
        "dialogue": "\n".join(map(_quoted, dialogue.turns)),
    }
    # In one pass, so that a field's name in the talk stays text.
    return [Message("user", _PLACEHOLDER.sub(lambda match: facts[match[1]], prompt))]


def _quoted(turn: Turn) -> str:
    """A turn as a line; "<", with which special tokens begin, as JSON may write it too."""
    return f"{turn.role}: {json.dumps(turn.text, ensure_ascii=False)}".replace("<", "\\u003c")


def parse_verdict(reply: str) -> bool | None:
    r"""Whether a judge's reply says that the answer was given away; None where it is no verdict.

    The last line must be a verdict, in capitals and without anything else, and no other line may be one. White space at
    the ends of lines, and blank lines behind the last, are passed over.

    >>> parse_verdict("It asks.\nVERDICT: NO LEAK"), parse_verdict("VERDICT: LEAK"), parse_verdict("No leak, I think.")
    (False, True, None)
    """
    lines = [line.strip() for line in reply.rstrip().split("\n")]
    verdicts = [line for line in lines if line in _VERDICTS]
    return _VERDICTS[lines[-1]] if verdicts == lines[-1:] else None


async def judge_dialogues(
    dialogues: Sequence[Dialogue], judge: Speaker, seed: int, concurrency: int, prompt: str
) -> list[Verdict | None]:
    """Has every dialogue judged; a call that fails becomes a verdict without a decision, with its error.

    Args:
        dialogues: as played.
        judge: the judge's model.
        seed: the run's seed; the judge samples by it and the dialogue's place.
        concurrency: most dialogues judged at once.
        prompt: the judge's, as `load_judge_prompt` gives it.

    Returns:
        One for each dialogue; None for those that failed or hold no tutor turn, which are not judged.
    """
    places = asyncio.Semaphore(concurrency)

    async def judge_next(dialogue: Dialogue) -> Verdict | None:
        if dialogue.ending == "failed" or not dialogue.tutor_turns:
            return None
        async with places:
            return await _judge(dialogue, judge, seed, prompt)

    return await gather_all(map(judge_next, dialogues))


async def _judge(dialogue: Dialogue, judge: Speaker, seed: int, prompt: str) -> Verdict:
    own_seed = stable_seed(seed, dialogue.step, dialogue.seed.id, dialogue.number, "judge")
    try:
        (turn,) = await judge.speak(judge.renderer.prompt(judge_messages(dialogue, prompt)), own_seed)
    except Exception as error:
        return Verdict(None, error=describe(error))
    # What is cut might have gone on.
    return Verdict(parse_verdict(turn.text) if turn.stop_reason == "stop" else None, turn.text)


def judge_measures(verdicts: Sequence[Verdict | None], dialogues: Sequence[Dialogue]) -> dict[str, Measure]:
    """`leaks/judge`, over what could be read, and `leaks/judge_unparsed`, over all that was judged.

    Args:
        verdicts: as `judge_dialogues` gives them.
        dialogues: those that were judged.
    """
    judged = [(dialogue.seed.id, one) for dialogue, one in zip(dialogues, verdicts, strict=True) if one is not None]
    return means(
        {
            "leaks/judge": [Part(seed, float(one.leaks)) for seed, one in judged if one.leaks is not None],
            "leaks/judge_unparsed": [Part(seed, float(one.leaks is None)) for seed, one in judged],
        }
    )
