"""The problems and recorded dialogues in `examples/data`: right answers, good tutors, and splits that share nothing."""

import ast
import operator
import re
from collections import Counter
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest
from examples.first_replies import commonest_share, is_good

from socratic_distill import Seed, load_seeds
from socratic_distill.dialogues.answers.kinds import rule_of, solves
from socratic_distill.dialogues.recordings import load_recordings

DATA = Path(__file__).parents[2] / "examples" / "data"
TRAINING = load_seeds(DATA / "tutoring_problems.jsonl")
HELDOUT = load_seeds(DATA / "tutoring_heldout.jsonl")
RECORDINGS = load_recordings([DATA / "tutoring_dialogues.jsonl"])
PROBLEMS = (*TRAINING, *HELDOUT)
LONGEST_REPLY = 20  # words; none has more than 30 of SmolLM2's tokens
# Two problems of one kind share phrases such as "how many minutes does it take", but never this share of 5-grams.
ALIKE = 0.35
_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def value_of(expression: str) -> Fraction:
    """The exact value of a sum in whole numbers."""
    return _value(ast.parse(expression, mode="eval").body)


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int(number)):
            return Fraction(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=sign, right=right):
            return Fraction(_OPERATIONS[type(sign)](_value(left), _value(right)))
    raise AssertionError(f"not a sum of whole numbers: {ast.dump(node)}")


def five_grams(text: str) -> set[tuple[str, ...]]:
    """The runs of five words or numbers in a text."""
    words = re.findall(r"[^\W\d_]+|\d+", text.casefold())
    return {tuple(words[place : place + 5]) for place in range(len(words) - 4)}


def overlap(first: str, second: str) -> float:
    """The share of 5-grams that two texts have in common, of those in the shorter one."""
    runs, others = five_grams(first), five_grams(second)
    return len(runs & others) / min(len(runs), len(others))


def expression(seed: Seed) -> str:
    """The sum that gives a problem's answer."""
    return dict(seed.fields)["expression"]


def test_value_of_an_expression_is_exact():
    assert value_of("(70 - 28) / 6") == 7
    assert value_of("-(-30 // 8)") == 4, "rounded up"
    assert value_of("8 / 3 * 3") == 8
    assert value_of("50 % 7") == 1


def test_overlap_is_whole_for_other_names_of_one_text_only():
    assert overlap("Tom has 17 red apples and gets 25.", "Tom has 17 red apples and gets 25.") == 1
    assert overlap("Tom has 17 red apples and gets 25.", "Ann has 17 red apples and gets 25.") == 0.75
    assert overlap("Tom has 17 red apples and gets 25.", "Two hikers walk to the lake.") == 0


def test_there_are_problems_and_dialogues_enough():
    assert len(TRAINING) >= 180 and len(HELDOUT) >= 70
    kinds = Counter(seed.tags for seed in TRAINING)
    assert len(kinds) >= 45 and min(kinds.values()) >= 3, "at least 45 kinds, with three different stories each"
    assert {seed.tags for seed in HELDOUT} <= set(kinds), "problems that are held out are of kinds that were practised"


def test_problems_have_right_answers_and_wrong_solutions():
    for seed in PROBLEMS:
        assert seed.answer_kind == "number" and seed.initial_error and seed.question.endswith("?"), seed.id
        assert value_of(expression(seed)) == Fraction(seed.expected_answer), seed.id
        reveals = rule_of(seed).reveals
        assert not reveals(seed.question, seed), f"{seed.id}: the question gives its answer away"
        assert not reveals(seed.initial_error, seed), f"{seed.id}: the mistake holds the answer"
        assert re.search(r"\d", seed.initial_error), f"{seed.id}: the mistake gives no number"


def test_no_problem_stands_in_two_files():
    for first, second in ((TRAINING, HELDOUT), (TRAINING, load_seeds()), (HELDOUT, load_seeds())):
        alike = [
            (one.question, other.question)
            for one, other in product(first, second)
            if overlap(one.question, other.question) >= ALIKE
        ]
        assert not alike
    assert len({seed.question for seed in PROBLEMS}) == len(PROBLEMS) == len({seed.id for seed in PROBLEMS})


def test_each_training_problem_has_one_dialogue_on_it():
    assert [recording.id for recording in RECORDINGS] == [seed.id for seed in TRAINING]
    for recording, seed in zip(RECORDINGS, TRAINING, strict=True):
        facts = ("question", "expected_answer", "initial_error", "answer_kind", "tags")
        assert [getattr(recording.seed, name) for name in facts] == [getattr(seed, name) for name in facts]


def test_recorded_tutors_ask_about_their_problem_and_do_not_tell():
    for recording in RECORDINGS:
        for turn in recording.tutor_turns:
            assert is_good(turn.text, recording.seed), f"{recording.id}: {turn.text}"
            assert turn.text.count("?") == 1 and turn.text.endswith("?"), f"{recording.id}: {turn.text}"
            assert len(turn.text.split()) <= LONGEST_REPLY, f"{recording.id}: {turn.text}"


def test_recorded_students_begin_with_their_mistake_and_end_right():
    for recording in RECORDINGS:
        seed, turns = recording.seed, recording.turns
        assert turns[0].text == seed.initial_error, recording.id
        assert 2 <= len(recording.tutor_turns) <= 3 and turns[-1].role == "student", recording.id
        assert solves(turns[-1].text, seed), f"{recording.id}: does not end with {seed.expected_answer}"
        early = [turn.text for turn in turns[:-1] if rule_of(seed).reveals(turn.text, seed)]
        assert not early, f"{recording.id}: the answer comes before the last turn"


def test_first_replies_are_various():
    replies = [recording.tutor_turns[0].text for recording in RECORDINGS]
    assert commonest_share(replies) <= 0.05
    openings = Counter(reply.split()[0] for reply in replies)
    assert len(openings) >= 40 and max(openings.values()) <= 0.2 * len(replies)
    beginnings = Counter(" ".join(reply.split()[:3]) for reply in replies)
    assert max(beginnings.values()) <= 0.05 * len(replies)
    every = [turn.text for recording in RECORDINGS for turn in recording.tutor_turns]
    assert len(set(every)) == len(every), "a reply is used twice"


@pytest.mark.smollm2
def test_tutor_replies_are_short_in_tokens_of_smollm2(tmp_path):
    from examples.smollm2 import model_file

    from socratic_distill.local import LocalServiceClient

    client = LocalServiceClient(tmp_path).create_sampling_client(base_model=str(model_file())).result()
    encode = client.get_tokenizer().encode
    assert max(len(encode(turn.text)) for recording in RECORDINGS for turn in recording.tutor_turns) <= 30
