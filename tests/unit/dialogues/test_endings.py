import re

import pytest
from tests.support.chat_templates import ids
from tests.support.talks import END

from socratic_distill import ConfigError, RolloutError, Seed
from socratic_distill.dialogues.dialogue import Dialogue, Turn
from socratic_distill.dialogues.endings import load_endings
from socratic_distill.dialogues.prompts import load_prompts

SEED = Seed("s", "What is 5 + 7?", "12")
TUTORS = {"kind": "phrase", "phrase": "That is all."}
STUDENTS = {"kind": "phrase", "by": "student", "phrase": "I give up"}


def long(dialogue):
    return len(dialogue.turns) >= 2


def broken(dialogue):
    raise KeyError("x")


def vague(dialogue):
    return 1


def play(make_config, *texts, endings, max_turns=9):
    """The dialogue of these turns, up to where it ends."""
    ends = load_endings(make_config(endings=endings))
    dialogue = Dialogue(SEED, 0, 0)
    for text in texts:
        if dialogue.ending is not None:
            break
        said = ids(text)
        turn = Turn(dialogue.speaker, text, (1,), said + END, said, (-1.0,) * (len(said) + 1), 0, "stop")
        dialogue = dialogue.add(turn, max_turns, ends)
    return dialogue


@pytest.mark.parametrize(
    ("endings", "texts", "ending", "turns", "solved"),
    [
        (["solved"], ["11", "Sure?", "12"], "solved", 3, True),
        (["solved", TUTORS], ["11", "Sure? that is ALL.", "12"], "ended_by_tutor", 2, False),
        ([STUDENTS], ["11", "Sure?", "So 12", "Right.", "Then i give up now"], "ended_by_student", 5, True),
        ([STUDENTS], ["11", "I give up", "13"], None, 3, False),
        ([TUTORS], ["12", "Yes.", "Thanks"], None, 3, False),
        ([TUTORS], ["12", "Yes. That is all."], "ended_by_tutor", 2, True),
        ([TUTORS, {"kind": "function", "function": f"{__name__}:long"}], ["11", "Why?"], "ended_by_function", 2, False),
    ],
)
def test_a_dialogue_ends_by_the_first_rule_that_holds(make_config, endings, texts, ending, turns, solved):
    dialogue = play(make_config, *texts, endings=endings)
    assert (dialogue.ending, len(dialogue.turns), dialogue.solved) == (ending, turns, solved)


def test_max_turns_ends_a_dialogue_that_no_rule_ends(make_config):
    dialogue = play(make_config, "12", "Yes?", "12.", endings=[TUTORS], max_turns=1)
    assert dialogue.ending == "max_turns" and dialogue.solved


@pytest.mark.parametrize(
    ("name", "message"),
    [("broken", "raised KeyError: 'x', on dialogue 0 on seed 's'"), ("vague", "returned 1 on dialogue 0")],
)
def test_a_function_that_fails_is_named_with_the_dialogue(make_config, name, message):
    with pytest.raises(RolloutError, match=message):
        play(make_config, "11", endings={"kind": "function", "function": f"{__name__}:{name}"})


def test_a_function_that_is_not_there_is_refused(make_config):
    with pytest.raises(ConfigError, match=f"did you mean '{re.escape(__name__)}:long'"):
        load_endings(make_config(endings=[{"kind": "function", "function": f"{__name__}:lon"}]))


def test_packaged_prompts_name_the_tutors_phrase_and_others_must(make_config, tmp_path):
    prompts = load_prompts(make_config(endings=["solved", TUTORS]))
    assert all(prompt.endswith("with: That is all.") for prompt in (prompts.tutor, *prompts.teachers.values()))
    assert "That is all." not in prompts.student
    own = tmp_path / "teacher.txt"
    own.write_text("Ask about {question}.")
    with pytest.raises(ConfigError, match=r"the teacher's \('teacher'\) prompt does not name 'That is all.'"):
        load_prompts(make_config(endings=["solved", TUTORS], teacher_prompt_file=own))
    own.write_text("Ask about {question}. End by: That is all.")
    assert load_prompts(make_config(endings=[TUTORS], teacher_prompt_file=own)).teachers["teacher"] == own.read_text()


@pytest.mark.parametrize("subject", ["algebra", "chemistry"])
def test_packaged_prompts_name_the_subject(make_config, subject):
    article = "an" if subject == "algebra" else "a"
    prompts = load_prompts(make_config(subject=subject))
    assert prompts.tutor.startswith(f"You are {article} {subject} tutor.")
    assert f"talks with {article} {subject} tutor" in prompts.student
    assert prompts.teachers["teacher"].startswith(f"You are a Socratic {subject} tutor.")
    assert load_prompts(make_config()).tutor.startswith("You are a math tutor.")
