import json
import logging
import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from tests.support.rows import write_rows

from socratic_distill import Seed
from socratic_distill.dialogues.answers.kinds import solves
from socratic_distill.dialogues.answers.numbers import contains_answer
from socratic_distill.dialogues.batches import batch, on_policy_before, on_policy_places, recorded_batch
from socratic_distill.dialogues.recordings import RecordedTurn, Recording, load_recordings, parse_conversation
from socratic_distill.dialogues.seeds import load_seeds
from socratic_distill.errors import RecordingError

SAMPLES = Path(__file__).parents[2] / "data_samples"
MATHDIAL = {
    "question": "How many?",
    "ground_truth": "6+6=12\n 12",
    "student_incorrect_solution": "It is 11",
    "conversation": "Teacher: (focus)Count again|EOM|Student: 12",
}
SAID = [{"role": "user", "content": "It is 11"}, {"role": "assistant", "content": "Count again"}]
MESSAGES = {"messages": SAID}
TUTOR = {
    "role": "tutor",
    "text": "Why?",
    "stop_reason": "stop",
    "version": 3,
    "tokens": [5, 2],
    "tutor_logprobs": [-1, 0],
}
TURNS = [{"role": "student", "text": "It is 11", "stop_reason": "stop"}, TUTOR]
RUN = {
    "step": 0, "seed": "a", "number": 0, "question": "How many?", "expected_answer": "12", "initial_error": None,
    "student_profile": None, "ending": "max_turns", "error": None, "turns": TURNS,
}  # fmt: skip
ROWS = {"mathdial": MATHDIAL, "run": RUN, "messages": MESSAGES}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes rows (dicts, or raw lines) to a file."""

    def write(*rows: dict[str, Any] | str, name: str = "talks.jsonl") -> Path:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        return write_rows(tmp_path / name, *rows)

    return write


def refusal(*files: Any) -> str:
    with pytest.raises(RecordingError) as caught:
        load_recordings(files)
    return str(caught.value)


def said(recording: Recording) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in recording.turns]


def test_load_recordings_reads_mathdial():
    path = SAMPLES / "mathdial_like.jsonl"
    recordings = load_recordings([path])
    assert [recording.seed for recording in recordings] == list(load_seeds(path))
    assert said(recordings[0])[1:] == [
        ("tutor", "Hi Wanda, how did you get 18?"),
        ("student", "I took 5 broken lamps away from 8, that is 3, times 6 is 18."),
        ("tutor", "Are 5 lamps broken each day or each week?"),
        ("student", "Each week. So 48 - 5 = 43."),
    ]
    assert said(recordings[1])[2] == ("student", "no"), "a student goes by a first name"
    for recording in recordings:
        assert recording.turns[0] == RecordedTurn("student", recording.seed.initial_error or "")
        assert (recording.kind, recording.step, recording.id) == ("mathdial", None, recording.seed.id)


def test_load_recordings_reads_a_run_and_leaves_failed_dialogues_out(caplog):
    caplog.set_level(logging.INFO, "socratic_distill")
    path = SAMPLES / "recorded_run.jsonl"
    first, second = load_recordings([path])
    assert first == Recording(
        "apples:0:0",
        "run",
        Seed("apples", "Tom has 7 apples and buys 5. How many does he have?", "12", "7 - 5 = 2"),
        (
            RecordedTurn("student", "I got 2."),
            RecordedTurn("tutor", " Does he buy or sell?", (11, 12, 2), (-0.5, -1.0, -0.25), 0, "stop"),
            RecordedTurn("student", "He buys. 7 + 5 = 12"),
        ),
        step=0,
    )
    assert (second.id, second.step, second.seed.student_profile) == ("twelve:3:0", 3, "You are in second grade.")
    assert second.tutor_turns == (RecordedTurn("tutor", "", (7,), (-3.0,), 2, "length"),)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 3 dialogues left out (failed, recorded, or without a tutor turn), 2 kept"
    ]


def test_load_recordings_reads_messages():
    cups, prime, percent = load_recordings([SAMPLES / "recorded_messages.jsonl"])
    assert cups.seed == Seed(
        "cups", "A tray holds 6 cups. How many cups do 4 trays hold?", "24", "6 + 4 = 10", "You are in third grade."
    )
    assert said(cups) == [
        ("student", "I added them and got 10."),
        ("tutor", "What does each tray hold?"),
        ("student", "6 cups, so 24 in all."),
    ]
    question = "What is a prime number?\nI say 9 is one."
    assert prime.seed == Seed("recorded_messages:2", question, "", answer_kind="none")
    assert said(prime) == [("student", question), ("tutor", "Which numbers divide 9?")]
    assert said(percent) == [
        ("student", "It is 20."),
        ("tutor", "What does 20% mean?\nSay it with a fraction."),
        ("student", "One fifth."),
    ]
    assert percent.seed.expected_answer == ""


def test_load_recordings_takes_the_first_user_message_as_the_question(write):
    (recording,) = load_recordings([write({"messages": [{"role": "user", "content": "2 + 2?"}, *SAID]})])
    assert recording.seed.question == "2 + 2?"
    assert said(recording) == [("student", "2 + 2?\nIt is 11"), ("tutor", "Count again")]


REASONED = {
    "think": {"content": "<think>It is 12.</think>\n\nCount again"},
    "think without its beginning": {"content": "It is 12.</think>Count again"},
    "think within": {"content": "<think>a</think>b<think>c</think>Count again"},
    "cut think": {"content": "Count again <think>It is"},
    "field": {"content": "Count again", "reasoning_content": "It is 12.", "thinking": "It is 12."},
    "part": {
        "content": [
            {"type": "reasoning", "text": "It is 12."},
            {"type": "thinking", "thinking": "It is 12."},
            {"type": "output_text", "text": "Count again"},
        ]
    },
    "part with think": {"content": [{"type": "text", "text": "<think>It is 12.</think>Count again"}]},
    "final channel": {"content": "Count again", "channel": "final"},
}


@pytest.mark.parametrize("message", REASONED.values(), ids=REASONED)
def test_load_recordings_leaves_reasoning_out(write, message):
    (recording,) = load_recordings([write({"messages": [SAID[0], {"role": "assistant", **message}]})])
    assert said(recording) == [("student", "It is 11"), ("tutor", "Count again")]


@pytest.mark.parametrize("unsaid", [{"content": "<think>It is"}, {"content": "It is 12.", "channel": "analysis"}])
def test_load_recordings_leaves_out_a_message_that_only_thinks(write, unsaid):
    (recording,) = load_recordings([write({"messages": [SAID[0], {"role": "assistant", **unsaid}, *SAID]})])
    assert said(recording) == [("student", "It is 11\nIt is 11"), ("tutor", "Count again")]


def test_load_recordings_leaves_a_students_reasoning_out(write):
    talk = [{"role": "user", "content": "<think>12?</think>It is 11"}, SAID[1]]
    assert said(load_recordings([write({"messages": talk})])[0])[0] == ("student", "It is 11")


def test_load_recordings_tells_and_solves_nothing_without_an_answer(write):
    (recording,) = load_recordings([write(MESSAGES)])
    assert recording.seed.expected_answer == ""
    for turn in recording.turns:
        assert not contains_answer(turn.text, recording.seed.expected_answer)
        assert not solves(turn.text, recording.seed)


@pytest.mark.parametrize("kind", ROWS)
def test_load_recordings_keeps_what_teachers_are_told_and_chosen_by(write, kind):
    path = write(ROWS[kind] | {"fields": {"hint": "Draw it."}, "tags": ["short"]})
    (recording,) = load_recordings([str(path)])
    seed = recording.seed
    assert (seed.fields, seed.tags, seed.source) == ((("hint", "Draw it."),), ("short",), str(path))
    bad = write(ROWS[kind] | {"fields": ["hint"]}, name="bad.jsonl")
    assert refusal(bad).startswith(f"{bad}, line 1: fields must be an object")


def test_load_recordings_takes_several_files_in_order(write):
    files = [write(row, name=f"{kind}.jsonl") for kind, row in ROWS.items()]
    recordings = load_recordings(files)
    assert [recording.kind for recording in recordings] == ["mathdial", "run", "messages"]
    assert [recording.id for recording in recordings] == ["mathdial:1", "a:0:0", "messages:1"]
    assert load_recordings([str(path) for path in files]) == recordings


def test_load_recordings_tells_dialogues_of_two_runs_apart(write):
    again = RUN | {"turns": [*TURNS, TURNS[0]]}
    first, second = write(RUN, name="1/dialogues.jsonl"), write(again, RUN, name="2/dialogues.jsonl")
    recordings = load_recordings([first, second])
    assert [recording.id for recording in recordings] == ["a:0:0", "a:0:0#2", "a:0:0#3"]
    assert {recording.seed.id for recording in recordings} == {"a"}, "they are on one problem"
    assert [len(recording.turns) for recording in recordings] == [2, 3, 2]


def test_load_recordings_tells_unnamed_rows_of_equal_files_apart(write):
    recordings = load_recordings([write(MESSAGES, name="1/talks.jsonl"), write(MESSAGES, name="2/talks.jsonl")])
    assert [(one.id, one.seed.id) for one in recordings] == [("talks:1", "talks:1"), ("talks:1#2", "talks:1#2")]


def test_load_recordings_refuses_an_id_that_is_taken(write):
    path = write(MESSAGES | {"id": "x"}, MESSAGES, MESSAGES | {"id": "x"})
    assert refusal(path) == f"{path}, line 3: id 'x' is taken by {path}, line 1; make the ids unique, or leave them out"


def test_load_recordings_refuses_a_file_twice(write):
    path = write(MESSAGES)
    message = refusal(path, path.parent / "." / "talks.jsonl")
    assert "a file is given twice" in message and str(path) in message


def test_load_recordings_wants_a_list_of_files(write):
    with pytest.raises(RecordingError, match="expected a list of one or more JSONL files"):
        load_recordings(str(write(MESSAGES)))
    assert "the recordings files are ()" in refusal()


@pytest.mark.parametrize(("change", "reason"), [
    ({"conversation": "Student: ok"}, "there is no turn of the tutor"),
    ({"conversation": "Teacher: (focus) |EOM|Student: ok"}, "there is no turn of the tutor"),
    ({"conversation": "Count again"}, "turn 1 has no speaker: 'Count again'; expected 'Teacher: (move)text'"),
    ({"conversation": "Teacher: a|EOM|at 3:30"}, "turn 2 has no speaker: 'at 3:30'"),
    ({"conversation": ""}, "conversation is empty"),
    ({"conversation": ["Teacher: a"]}, "conversation must be text"),
    ({"ground_truth": "many"}, "'many' holds 0"),
    ({"student_incorrect_solution": None}, "student_incorrect_solution must be text"),
])  # fmt: skip
def test_load_recordings_refuses_mathdial_rows(write, change, reason):
    path = write(MATHDIAL, "", MATHDIAL | change)
    message = refusal(path)
    assert message.startswith(f"{path}, line 3: ") and reason in message


@pytest.mark.parametrize(("change", "reason"), [
    ({"question": None}, "question is missing or not a text; early versions did not write it, add it from the seeds"),
    ({"expected_answer": 12}, "expected_answer is missing or not a text"),
    ({"step": -1}, "step must be a whole number from 0 on, found -1"),
    ({"number": True}, "number must be a whole number from 0 on, found true"),
    ({"seed": 3}, "seed must be text"),
    ({"turns": {}}, "turns must be a list, found {}"),
    ({"turns": [*TURNS, TUTOR]}, 'turn 3: expected the student\'s, found {"role": "tutor"'),
    ({"turns": [*TURNS, None]}, "turn 3: expected the student's, found null; both sides alternate"),
    ({"turns": [{"role": "student", "text": None}, TUTOR]}, "turn 1: text must be text, found null; keep rows as"),
    ({"turns": [TURNS[0], TUTOR | {"tokens": None}]}, "turn 2: tokens must be a list of token ids, found null"),
    ({"turns": [TURNS[0], TUTOR | {"tokens": [5, 2.5]}]}, "turn 2: tokens must be a list of token ids"),
    ({"turns": [TURNS[0], TUTOR | {"tokens": [5, -2]}]}, "turn 2: tokens must be a list of token ids"),
    ({"turns": [TURNS[0], TUTOR | {"tutor_logprobs": [0.0]}]}, "there are 2 tokens, but 1 tutor_logprobs"),
    ({"turns": [TURNS[0], TUTOR | {"tutor_logprobs": [-1, None]}]}, "tutor_logprobs must be a list of numbers"),
    ({"turns": [TURNS[0], TUTOR | {"tutor_logprobs": [-1, 10**400]}]}, "int too large"),
    ({"turns": [TURNS[0], TUTOR | {"version": None}]}, "turn 2: version must be a whole number from 0 on"),
    ({"turns": [TURNS[0], TUTOR | {"stop_reason": "eos"}]}, "stop_reason must be 'stop' or 'length', found \"eos\""),
])  # fmt: skip
def test_load_recordings_refuses_run_rows(write, change, reason):
    path = write(RUN, RUN | change)
    message = refusal(path)
    assert message.startswith(f"{path}, line 2: ") and reason in message


@pytest.mark.parametrize(("change", "reason"), [
    ({"messages": "hi"}, 'messages must be a list, found "hi"'),
    ({"messages": []}, "there is no turn of the tutor (Teacher, assistant) to learn from; leave the row out"),
    ({"messages": SAID[:1]}, "there is no turn of the tutor"),
    ({"messages": [*SAID, "hi"]}, 'message 3: expected an object with role and content, found "hi"'),
    ({"messages": [{"content": "a"}]}, "message 1: role is null; expected one of system, developer, user, assistant"),
    ({"messages": [*SAID, {"role": "tool", "content": "4"}]}, 'message 3: role is "tool"'),
    ({"messages": [{"role": ["user"], "content": "4"}]}, 'message 1: role is ["user"]'),
    ({"messages": [*SAID, SAID[1] | {"tool_calls": [{}]}]}, "message 3: it calls a tool"),
    ({"messages": [*SAID, SAID[1] | {"function_call": {"name": "f"}}]}, "message 3: it calls a tool"),
    ({"messages": [SAID[0], SAID[1] | {"weight": 0}]}, "message 2: its weight is not 1"),
    ({"messages": [*SAID, {"role": "user", "content": None}]}, "message 3: content must be text"),
    ({"messages": [*SAID, {"role": "user", "content": [{"type": "image_url"}]}]}, "message 3: content holds"),
    ({"messages": [*SAID, {"role": "user", "content": [{"type": "text"}]}]}, "message 3: text must be text"),
    ({"messages": [SAID[0], SAID[1] | {"channel": "critic"}]}, "message 2: channel is"),
    ({"messages": [SAID[0], SAID[1] | {"content": "<|channel|>final<|message|>a"}]}, "message 2: its content holds"),
    ({"messages": SAID[::-1]}, "the assistant speaks first, but the student must; put a user's message before it"),
    ({"messages": SAID[::-1], "initial_error": "11"}, "or give question and initial_error"),
    ({"messages": SAID[::-1], "question": "How many?"}, "or give question and initial_error"),
    ({"expected_answer": "many"}, "an answer must hold exactly one number"),
    ({"question": " "}, "question is empty"),
])  # fmt: skip
def test_load_recordings_refuses_messages_rows(write, change, reason):
    path = write(MESSAGES, MESSAGES | change)
    message = refusal(path)
    assert message.startswith(f"{path}, line 2: ") and reason in message


@pytest.mark.parametrize(("line", "reason"), [
    ("{", "not JSON"),
    ("{", "recordings files are JSONL, one whole object a line"),
    ("[]", "expected a JSON object, found a list; recordings files are JSONL"),
    ('{"messages": NaN}', "NaN is not JSON"),
    ('{"seed": "a", "seed": "b"}', "a key occurs twice in one object: ['seed', 'seed']"),
    ("[" * 100_000, "not a recording (nested too deeply)"),
    ('{"question": "How many?", "expected_answer": "3"}', "are of no known format; the nearest is"),
    (json.dumps(RUN), "are of the format run, the file's first line is of messages; split the file"),
])  # fmt: skip
def test_load_recordings_refuses_lines_of_no_use(write, line, reason):
    path = write(MESSAGES, line)
    message = refusal(path)
    assert message.startswith(f"{path}, line 2: ") and reason in message


def test_load_recordings_refuses_files_of_no_use(write, tmp_path):
    missing = tmp_path / "seeds files.jsonl"
    expected = "cannot be read (No such file or directory); expected a JSONL file of recordings"
    assert refusal(missing) == f"{missing}: {expected}"
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(json.dumps(MESSAGES).encode() + b"\n\xe9\n")
    assert refusal(latin).startswith(f"{latin}, line 2: not UTF-8")
    empty = write("", " ", name="empty.jsonl")
    assert refusal(empty) == f"{empty}: the file holds no recordings; expected one JSON object a line"
    failed = write(RUN | {"ending": "failed"}, name="failed.jsonl")
    assert refusal(failed).endswith(
        "holds no recordings; expected a dialogue that the tutor played and that did not fail"
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**400) | st.floats() | st.text(max_size=5) | st.just("student"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*TUTOR, "content"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(kind=st.sampled_from(sorted(ROWS)), data=st.data())
def test_load_recordings_reads_a_line_or_names_it(tmp_path_factory, kind, data):
    row = dict(ROWS[kind])
    row[data.draw(st.sampled_from([*row, "id", "qid", "initial_error"]))] = data.draw(values)
    path = write_rows(tmp_path_factory.getbasetemp() / "fuzzed.jsonl", ROWS[kind], row)
    try:
        recordings = load_recordings([path])
    except RecordingError as error:
        assert str(error).startswith(f"{path}, line 2: ")
    else:
        assert [turn.role for turn in recordings[-1].turns[:2]] == ["student", "tutor"]


spoken = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).map(str.strip).filter(
    lambda text: text and "|" not in text and not text.startswith("(")
)  # fmt: skip
names = st.sampled_from(["Student", "Mariana", "DeAndre", "Zoë", "Anne-Marie", "O'Neil", "Li Wei"])
moves = st.sampled_from(["(generic)", "(focus)", "(probing)", "(telling)", "(Focus)", "", " (focus) "])
spaces = st.sampled_from(["", " ", "\n"])
parts = st.one_of(
    st.tuples(st.just("tutor"), st.just("Teacher"), moves, spoken),
    st.tuples(st.just("student"), names, st.just(""), spoken),
)


@given(turns=st.lists(parts, max_size=8), space=spaces)
def test_parse_conversation_reads_back_what_was_written(turns, space):
    written = "|EOM|".join(f"{space}{name}:{space}{move}{text}{space}" for _, name, move, text in turns)
    expected: list[tuple[str, str]] = []
    for role, _, _, text in turns:
        if expected and expected[-1][0] == role:
            expected[-1] = (role, f"{expected[-1][1]}\n{text}")
        else:
            expected.append((role, text))
    assert [(turn.role, turn.text) for turn in parse_conversation(written)] == expected


@given(st.lists(st.sampled_from([*"TSa: (1)\n", "|EOM|", "Teacher:", "(focus)"])).map("".join))
def test_parse_conversation_alternates_or_refuses(conversation):
    try:
        turns = parse_conversation(conversation)
    except ValueError as error:
        assert "has no speaker" in str(error)
        return
    assert all(turn.text and turn.text == turn.text.strip() for turn in turns)
    assert all(one.role != other.role for one, other in pairwise(turns))


def test_parse_conversation_drops_empty_turns():
    turns = parse_conversation(
        "Teacher: (focus)|EOM|Ana: |EOM||EOM|Teacher: (telling) Yes|EOM|Ana:|EOM|teacher: (x) is 3|EOM|"
    )
    assert turns == (RecordedTurn("tutor", "Yes\n(x) is 3"),)


def test_parse_conversation_keeps_parentheses_and_colons_of_the_text():
    turns = parse_conversation("Teacher: (2 + 3): what is it (focus)?|EOM|Student: (focus) Ratio: 2:3")
    assert [turn.text for turn in turns] == ["(2 + 3): what is it (focus)?", "(focus) Ratio: 2:3"]


def recorded(count: int) -> list[Recording]:
    turns = (RecordedTurn("student", "11"), RecordedTurn("tutor", "Why?"))
    return [Recording(str(one), "messages", Seed(str(one), "How many?", ""), turns) for one in range(count)]


@given(count=st.integers(1, 30), size=st.integers(1, 12), seed=st.integers(0, 5), epochs=st.integers(1, 3))
def test_recorded_batch_takes_each_recording_once_an_epoch(count, size, seed, epochs):
    recordings = recorded(count)
    steps = math.ceil(count * epochs / size)
    row = [one.id for step in range(steps) for one in recorded_batch(recordings, seed=seed, step=step, size=size)]
    assert set(Counter(row[: count * epochs]).values()) == {epochs}
    for epoch in range(epochs):
        assert len(set(row[epoch * count : (epoch + 1) * count])) == count


@given(stop=st.integers(0, 6), seed=st.integers(0, 3))
def test_recorded_batch_of_a_resumed_run_trains_none_twice(stop, seed):
    recordings = recorded(24)
    before = [one.id for step in range(stop) for one in recorded_batch(recordings, seed=seed, step=step, size=4)]
    after = [one.id for step in range(stop, 6) for one in recorded_batch(recordings[:], seed=seed, step=step, size=4)]
    assert Counter(before + after) == Counter(one.id for one in recordings)


def test_recorded_batch_follows_the_order_of_seeds():
    recordings = recorded(10)
    seeds = [one.seed for one in recordings]
    for step in range(5):
        taken = recorded_batch(recordings, seed=2, step=step, size=4)
        assert [one.seed for one in taken] == batch(seeds, seed=2, step=step, size=4)


fractions = st.sampled_from([0, 1, 0.0, 1.0, 0.1, 0.25, 0.3, 0.5, 2 / 3, 1e-7]) | st.floats(0, 1)


@given(seed=st.integers(0, 9), groups=st.integers(1, 9), fraction=fractions, steps=st.integers(1, 40))
def test_on_policy_places_keep_the_share_at_every_step(seed, groups, fraction, steps):
    exact, played = Fraction(str(fraction)) * groups, 0
    for step in range(steps):
        assert on_policy_before(step, groups, fraction) == played
        places = on_policy_places(seed, step, groups, fraction)
        assert len(places) == groups
        played += sum(places)
        assert abs(played - exact * (step + 1)) <= Fraction(1, 2)
    if exact * steps % 1 != Fraction(1, 2):
        assert played == round(exact * steps)


@pytest.mark.parametrize(("fraction", "played"), [(0.1, 100), (0.5, 500), (0.3, 300), (1.0, 1000), (0.0, 0)])
def test_on_policy_places_are_exact_in_the_long_run(fraction, played):
    assert sum(sum(on_policy_places(0, step, 10, fraction)) for step in range(100)) == played


def test_on_policy_places_are_the_same_everywhere():
    """Runs that were begun elsewhere, or by an earlier version, must resume with the same places."""
    rows = ["".join(".P"[place] for place in on_policy_places(7, step, 4, 0.4)) for step in range(5)]
    assert rows == ["PP..", ".P..", "P.P.", "..P.", "..PP"]


def test_on_policy_places_are_spread_over_a_batch():
    played = Counter(
        place for step in range(200) for place, one in enumerate(on_policy_places(1, step, 4, 0.25)) if one
    )
    assert sum(played.values()) == 200
    assert all(25 <= played[place] <= 75 for place in range(4)), played
    assert on_policy_places(1, 0, 64, 0.5) != on_policy_places(2, 0, 64, 0.5)


@given(fraction=st.sampled_from([0.25, 0.3, 0.5]), groups=st.integers(1, 5))
def test_recorded_groups_among_played_take_each_recording_once_an_epoch(fraction, groups):
    """The use that `recorded_batch` describes: batches of unequal numbers of recordings."""
    recordings, taken = recorded(6), []
    for step in range(40):
        first = step * groups - on_policy_before(step, groups, fraction)
        for place in range(on_policy_places(0, step, groups, fraction).count(False)):
            taken += [one.id for one in recorded_batch(recordings, seed=0, step=first + place, size=1)]
    for start in range(0, len(taken) - 5, 6):
        assert len(set(taken[start : start + 6])) == 6
