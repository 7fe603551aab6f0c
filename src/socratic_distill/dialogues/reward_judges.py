"""A judge that accepts or rejects a dialogue by a rubric.

The last line of its reply must be exactly `VERDICT: ACCEPT` or `VERDICT: REJECT`, and no other line may be one of
these. Any other reply, a cut or empty one, is no verdict. The dialogue is untrusted text: each turn is shown as a JSON
string on a line of its own, so that it can neither imitate another turn nor spell a special token of the judge.
"""

from dataclasses import dataclass

from socratic_distill.config.rewards import JudgeReward
from socratic_distill.dialogues.dialogue import NOTHING_SENT, Dialogue, Message, PromptUse
from socratic_distill.dialogues.prompts import read_prompt
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.remote_speaker import RemoteSpeaker
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.dialogues.verdicts import ask_judge, check_judge_prompt, fill, quoted
from socratic_distill.errors import ConfigError, RolloutError, TrainingError
from socratic_distill.service.failures import describe

VERDICTS = {"VERDICT: ACCEPT": True, "VERDICT: REJECT": False}
_FIELDS = ("question", "expected_answer", "rubric", "dialogue")


@dataclass(frozen=True)
class Judgement:
    """A judge's verdict.

    Attributes:
        accepted: 1 or 0; None without a verdict.
        is_unparsed: whether it was asked and gave no verdict.
        use: cost of the request.
    """

    accepted: float | None = None
    is_unparsed: bool = False
    use: PromptUse = NOTHING_SENT


@dataclass(frozen=True)
class Brief:
    """What a judge is asked.

    Attributes:
        name: the judge's.
        prompt: its prompt, as a template.
        rubric: what it accepts.
    """

    name: str
    prompt: str
    rubric: str

    def messages(self, dialogue: Dialogue) -> list[Message]:
        """The judge's input: one message, the prompt filled with problem, answer, rubric and dialogue."""
        facts = {
            "question": dialogue.seed.question,
            "expected_answer": dialogue.seed.expected_answer or "not known",
            "rubric": self.rubric,
            "dialogue": "\n".join(f"{turn.role}: {quoted(turn.text)}" for turn in dialogue.turns),
        }
        return [Message("user", fill(self.prompt, facts))]


def load_brief(reward: JudgeReward, subject: str) -> Brief:
    """Reads a judge's prompt and rubric.

    Args:
        reward: the judge, as the config has it.
        subject: what is taught, put in the place of `{subject}`.

    Raises:
        ConfigError: a file cannot be read, or the prompt uses another field, or lacks a required part.
    """
    prompt = read_prompt(reward.prompt_file, "reward_judge.txt", subject)
    whose = f"the prompt file {reward.prompt_file!r} of the judge {reward.name!r} in rewards"
    check_judge_prompt(prompt, whose, _FIELDS, "dialogue", VERDICTS)
    has_own = reward.rubric is not None or reward.rubric_file is not None
    if has_own and "{rubric}" not in prompt:
        raise ConfigError(
            f"{whose} does not use {{rubric}}, so its rubric has no effect; add it, or leave the rubric out"
        )
    rubric = reward.rubric or read_prompt(reward.rubric_file, "reward_rubric.txt", subject)
    if not rubric.strip():
        raise ConfigError(f"rubric file {reward.rubric_file!r} is empty; expected what the judge accepts")
    return Brief(reward.name, prompt, rubric)


async def judgement(brief: Brief, judge: Speaker | RemoteSpeaker, dialogue: Dialogue, seed: int) -> Judgement:
    """Asks a judge about a dialogue; one without a tutor turn is not judged.

    Args:
        brief: what it is asked.
        judge: its model.
        dialogue: as played.
        seed: the run's random seed.

    Raises:
        RolloutError: the request failed.
        TrainingError: the service lost its clients.
    """
    if not dialogue.tutor_turns:
        return Judgement()
    own_seed = stable_seed(seed, dialogue.step, dialogue.seed.id, dialogue.number, f"reward {brief.name}")
    try:
        accepted, turn = await ask_judge(judge, brief.messages(dialogue), own_seed, VERDICTS)
    except TrainingError:
        raise
    except Exception as error:
        raise RolloutError(f"the judge {brief.name!r} in rewards failed: {describe(error)}") from error
    return Judgement(None if accepted is None else float(accepted), accepted is None, turn.use)
