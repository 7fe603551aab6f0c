import pytest

from socratic_distill import Seed
from socratic_distill.dialogues.answers.kinds import solves
from socratic_distill.dialogues.dialogue import Dialogue, Message, Turn, student_view, teacher_view, tutor_view
from socratic_distill.dialogues.prompts import Prompts

SEED = Seed("s", "What is 5 + 7?", "12", initial_error="5 + 7 = 11")
PROMPTS = Prompts(
    "T {question}",
    {"teacher": "Teach {question} {expected_answer}"},
    "S {question} {initial_error}",
    "A {question}",
    "Go.",
)


def turn(role, text, tokens=(5, 9)):
    return Turn(role, text, (1, 2), tuple(tokens), tuple(tokens[:-1]), (-0.5,) * len(tokens), 0, "stop")


def play(*texts, max_turns=3):
    dialogue = Dialogue(SEED, step=0, number=0)
    for text in texts:
        dialogue = dialogue.add(turn(dialogue.speaker, text), max_turns)
    return dialogue


@pytest.mark.parametrize(
    ("texts", "ending"),
    [
        (["It is 11.", "What is 5 + 5?", "So it is 12."], "solved"),
        (["It is 11.", "No, 12.", "So it is 12."], "solved_after_tell"),
        (["It is 12."], "solved_at_start"),
        (["It is 11.", "Why?"], None),
        (["It is 11.", "Why?", "Is it 12?"], None),
        (["It is 11.", "Why?", "Hm.", "Why?", "Hm.", "Why?", "Still 11."], "max_turns"),
        (["It is 11.", "Why?", "Hm.", "Why?", "Hm.", "Why?", "Ah, 12."], "solved"),
    ],
)
def test_dialogue_ends_as_its_rules_say(texts, ending):
    assert play(*texts).ending == ending


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5 + 7 = 12.", True), ("It is 12.0 apples", True), ("Is it 12?", False), ("Is it 12? I am not sure.", False),
        ("12? No, 13.", False), ("It is 12. Why was I wrong?", False), ("Why? Oh. It is 12.", True), ("Hm.", False),
    ],
)  # fmt: skip
def test_solved_is_the_last_number_where_it_is_not_asked_about(text, expected):
    assert solves(text, SEED) is expected


def test_each_side_sees_its_own_view():
    dialogue = play("It is 11.", "Why?", "Hm.")
    assert tutor_view(dialogue, PROMPTS) == [
        Message("system", "T What is 5 + 7?"),
        Message("user", "It is 11."),
        Message("assistant", tokens=(5,)),
        Message("user", "Hm."),
    ]
    assert teacher_view(dialogue, PROMPTS, "p", "teacher")[0] == Message("system", "Teach What is 5 + 7? 12")
    assert teacher_view(dialogue, PROMPTS, "p", "teacher")[1:] == tutor_view(dialogue, PROMPTS)[1:]
    assert student_view(dialogue, PROMPTS, "p") == [
        Message("system", "S What is 5 + 7? 5 + 7 = 11"),
        Message("user", "Go."),
        Message("assistant", tokens=(5,)),
        Message("user", "Why?"),
        Message("assistant", tokens=(5,)),
    ]


def test_student_without_a_mistake_is_asked_for_its_own_attempt():
    dialogue = Dialogue(Seed("s", "What is 5 + 7?", "12"), step=0, number=0)
    assert student_view(dialogue, PROMPTS, "p")[0] == Message("system", "A What is 5 + 7?")


def test_dialogue_refuses_a_turn_out_of_order():
    with pytest.raises(AssertionError, match="student's turn"):
        Dialogue(SEED, 0, 0).add(turn("tutor", "Why?"), 3)


def test_a_student_hears_its_recorded_turns_as_its_own_words():
    recorded = Turn("student", "I got 7.", (), (), (), (), 0, "stop", by="recording")
    talk = student_view(Dialogue(Seed("s", "q", "1"), 0, 0, (recorded,)), PROMPTS, "p")
    assert talk[-1] == Message("assistant", "I got 7.")
