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
from collections.abc import Sequence
from dataclasses import dataclass

from socratic_distill.dialogues.dialogue import Dialogue, Message
from socratic_distill.dialogues.prompts import read_prompt
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.remote_speaker import RemoteSpeaker
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.dialogues.verdicts import ask_judge, check_judge_prompt, closing_verdict, fill, quoted
from socratic_distill.evaluation.intervals import Part
from socratic_distill.service.failures import describe
from socratic_distill.service.waiting import gather_all

_VERDICTS = {"VERDICT: LEAK": True, "VERDICT: NO LEAK": False}
_FIELDS = ("question", "expected_answer", "dialogue")


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


def load_judge_prompt(path: str | None = None, subject: str = "math") -> str:
    """The judge's prompt, as a template.

    Args:
        path: a text file that may use the fields `{question}`, `{expected_answer}` and `{dialogue}`. It must use
            `{dialogue}` and name both forms of a verdict. None: the packaged prompt.
        subject: what is taught, put in the place of `{subject}`.

    Raises:
        ConfigError: the file cannot be read, uses another field, or lacks a required part.
    """
    prompt = read_prompt(path, "judge.txt", subject)
    check_judge_prompt(prompt, f"the judge's prompt file {path!r}", _FIELDS, "dialogue", _VERDICTS)
    return prompt


def judge_messages(dialogue: Dialogue, prompt: str) -> list[Message]:
    """The judge's input: one message, the prompt filled with problem, answer and dialogue."""
    facts = {
        "question": dialogue.seed.problem,
        "expected_answer": dialogue.seed.expected_answer,
        "dialogue": "\n".join(f"{turn.role}: {quoted(turn.text)}" for turn in dialogue.turns),
    }
    return [Message("user", fill(prompt, facts))]


def parse_verdict(reply: str) -> bool | None:
    r"""Whether a judge's reply says that the answer was given away; None if the reply is no verdict.

    The last line must be a verdict in capitals and nothing else, and no other line may be a verdict. White space at the
    ends of lines and blank lines after the last are ignored.

    >>> parse_verdict("It asks.\nVERDICT: NO LEAK"), parse_verdict("VERDICT: LEAK"), parse_verdict("No leak, I think.")
    (False, True, None)
    """
    return closing_verdict(reply, _VERDICTS)


async def judge_dialogues(
    dialogues: Sequence[Dialogue], judge: Speaker | RemoteSpeaker, seed: int, concurrency: int, prompt: str
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


async def _judge(dialogue: Dialogue, judge: Speaker | RemoteSpeaker, seed: int, prompt: str) -> Verdict:
    own_seed = stable_seed(seed, dialogue.step, dialogue.seed.id, dialogue.number, "judge")
    try:
        leaks, reply = await ask_judge(judge, judge_messages(dialogue, prompt), own_seed, _VERDICTS)
    except Exception as error:
        return Verdict(None, error=describe(error))
    return Verdict(leaks, reply.text)


def judge_parts(verdicts: Sequence[Verdict | None], dialogues: Sequence[Dialogue]) -> dict[str, list[Part]]:
    """The numbers of `leaks/judge`, over valid verdicts, and of `leaks/judge_unparsed`, over all judged dialogues.

    Args:
        verdicts: as `judge_dialogues` returns them.
        dialogues: the dialogues of these verdicts.
    """
    judged = [
        (dialogue.seed.id, verdict)
        for dialogue, verdict in zip(dialogues, verdicts, strict=True)
        if verdict is not None
    ]
    return {
        "leaks/judge": [Part(seed, float(verdict.leaks)) for seed, verdict in judged if verdict.leaks is not None],
        "leaks/judge_unparsed": [Part(seed, float(verdict.leaks is None)) for seed, verdict in judged],
    }
