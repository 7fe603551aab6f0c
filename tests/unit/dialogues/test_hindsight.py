from dataclasses import replace

import pytest

from socratic_distill import ConfigError, Seed
from socratic_distill.dialogues.dialogue import Dialogue, Ending, Turn, student_view, teacher_view, tutor_view
from socratic_distill.dialogues.hindsight import outcome_in_words, peer_of, quotes_for
from socratic_distill.dialogues.prompts import Prompts, check_prompts, load_prompts
from socratic_distill.dialogues.quotes import NOTHING_QUOTED, QUOTES

SEED = Seed("s", "What is 5 + 7?", "12")
TEACHER = "After it: {next_student_turn} End: {outcome} Other: {peer_dialogue}"
PROMPTS = Prompts("T {question}", {"teacher": TEACHER}, "S", "A", "Go.")


def turns_of(*texts):
    roles = ("student", "tutor")
    return tuple(Turn(roles[i % 2], text, (), (1,), (1,), (-1.0,), 0, "stop") for i, text in enumerate(texts))


def dialogue_of(*texts: str, ending: Ending = "max_turns", number: int = 0, seed: Seed = SEED) -> Dialogue:
    return Dialogue(seed, 0, number, turns_of(*texts), ending)


def test_each_turn_is_quoted_with_the_answer_to_it():
    dialogue = dialogue_of("11.", "What is 5 + 5?", "10.", "And 2 more?", "12.", ending="solved")
    assert quotes_for(dialogue, 1, None).next_student_turn == "10."
    assert quotes_for(dialogue, 3, None).next_student_turn == "12."
    cut = replace(dialogue, turns=dialogue.turns[:4])
    assert quotes_for(cut, 3, None) == replace(NOTHING_QUOTED, outcome=outcome_in_words(cut))


@pytest.mark.parametrize(
    ("texts", "ending", "words"),
    [
        (("11.", "Why?", "12."), "solved", "The student solved the problem; the tutor did not tell the answer."),
        (("11.", "Why?", "13."), "max_turns", "The student did not solve the problem; the tutor did not tell"),
        (("11.", "It is 12.", "12."), "solved_after_tell", "The tutor told the answer, and the student gave it."),
        (("11.", "It is 12.", "Hm."), "max_turns", "The tutor told the answer, and the student did not give it."),
        (("11.", "Why?", "12."), "recorded", "The student solved the problem; the tutor did not tell the answer."),
        (("11.", "Why?"), "recorded", "The student did not solve the problem"),
    ],
)
def test_an_outcome_is_a_sentence(texts, ending, words):
    assert outcome_in_words(dialogue_of(*texts, ending=ending)).startswith(words)


def test_an_outcome_that_nothing_tells_is_not_known():
    unknown = Seed("s", "Why is the sky blue?", "", answer_kind="none")
    assert "not known" in outcome_in_words(dialogue_of("So?", "Why?", "Hm.", seed=unknown))


def test_a_peer_is_the_next_solved_one_in_which_nothing_was_told():
    solved = [dialogue_of("11.", "Why?", "12.", ending="solved", number=n) for n in range(4)]
    told = dialogue_of("11.", "12.", "12.", ending="solved_after_tell", number=4)
    failed = dialogue_of("11.", "Why?", number=5, ending="failed")
    group = [failed, told, *reversed(solved)]  # in any order
    peers = [peer_of(one, group) for one in sorted(group, key=lambda one: one.number)]
    assert [None if one is None else one.number for one in peers] == [1, 2, 3, 0, 0, 0]
    assert peer_of(solved[0], [solved[0], told]) is None
    quoted = quotes_for(solved[0], 1, solved[1]).peer_dialogue
    assert quoted == "Student: 11.\nTutor: Why?\nStudent: 12."


def test_only_the_teacher_sees_what_came_later():
    dialogue = dialogue_of("11.", "Why?", "No idea.")
    before, quotes = replace(dialogue, turns=dialogue.turns[:1]), quotes_for(dialogue, 1, None)
    (system, *rest) = teacher_view(before, PROMPTS, "p", "teacher", quotes)
    assert "After it: No idea. End: The student did not solve" in (system.text or "")
    assert rest == tutor_view(before, PROMPTS)[1:]
    others = [*tutor_view(before, PROMPTS), *student_view(before, PROMPTS, "p")]
    assert not any("No idea" in (message.text or "") or "solve" in (message.text or "") for message in others)


@pytest.mark.parametrize("name", QUOTES)
@pytest.mark.parametrize("reader", ["tutor", "student"])
def test_a_prompt_of_tutor_or_student_may_not_quote(make_config, tmp_path, reader, name):
    path = tmp_path / "prompt.txt"
    path.write_text(f"Hello. {{{name}}}")
    with pytest.raises(ConfigError, match=f"the {reader}'s prompt uses {{{name}}}, .* only a teacher's prompt may"):
        load_prompts(make_config(**{f"{reader}_prompt_file": path}))


def test_a_seeds_own_field_of_such_a_name_is_refused_only_where_it_matters():
    seed = replace(SEED, fields=(("outcome", "Good."),))
    with pytest.raises(ConfigError, match=r"the prompt uses \{outcome\}, which quotes the dialogue, but the seed has"):
        check_prompts(PROMPTS, [seed], "p", {"s": ("teacher",)})
    check_prompts(replace(PROMPTS, teachers={"teacher": "Plain."}), [seed], "p", {"s": ("teacher",)})


def test_without_a_dialogue_the_words_say_so():
    text = PROMPTS.for_teacher(SEED, "p")
    assert all(words in text for _, words in NOTHING_QUOTED.facts)
