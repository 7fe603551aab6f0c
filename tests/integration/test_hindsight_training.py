"""Teachers that read what came after a turn, or a solved dialogue of the group; nobody else does."""

from collections import Counter

import pytest
from tests.support.on_the_fake import strict_run, train_on_fake, train_until_it_dies
from tests.support.rows import read_rows, rows_of_run

from socratic_distill import evaluate, train
from socratic_distill.testing import FakeServiceClient, ToyTokenizer
from socratic_distill.testing.clients import FakeSamplingClient
from socratic_distill.training import stream

TOKENIZER = ToyTokenizer()
NEXT, END, PEER = "NEXT[{next_student_turn}]", "END[{outcome}]", "PEER[{peer_dialogue}]"


@pytest.fixture
def teacher(tmp_path):
    """Fields of a config whose teacher's prompt is this text."""

    def fields(text, name="teacher.txt"):
        (tmp_path / name).write_text(text + " {question}")
        return {"teacher_prompt_file": tmp_path / name}

    return fields


@pytest.fixture
def prompts(monkeypatch):
    """The texts that models read, by whether they score or speak."""
    found = {True: [], False: []}
    right = FakeSamplingClient.sample

    def sample(self, prompt, num_samples, sampling_params, include_prompt_logprobs=False, **rest):
        found[include_prompt_logprobs].append(TOKENIZER.decode(prompt.to_ints()))
        return right(self, prompt, num_samples, sampling_params, include_prompt_logprobs, **rest)

    monkeypatch.setattr(FakeSamplingClient, "sample", sample)
    return found


@pytest.fixture
def all_solved(monkeypatch):
    """The toy student never solves a problem: every dialogue counts as a peer."""
    monkeypatch.setattr("socratic_distill.dialogues.dialogue.by_answer", lambda dialogue: None)
    monkeypatch.setattr(
        stream,
        "peer_of",
        lambda dialogue, group: min(
            (one for one in group if one.number != dialogue.number), key=lambda one: one.number
        ),
    )


def test_each_turn_is_scored_on_its_own_with_the_answer_to_it(make_config, tmp_path, prompts, teacher):
    strict_run(make_config(**teacher(f"{NEXT} {END}"), max_steps=1))
    rows = read_rows(tmp_path / "run" / "dialogues.jsonl")
    expected = Counter()
    for row in rows:
        texts = [turn["text"] for turn in row["turns"]]
        expected.update(f"NEXT[{texts[i + 1]}]" for i, turn in enumerate(row["turns"]) if turn["role"] == "tutor")
    found = Counter(text[text.index("NEXT[") : text.index("] END[") + 1] for text in prompts[True])
    assert found == expected and sum(expected.values()) == sum(len(row["turns"]) // 2 for row in rows)
    assert all("END[The student did not solve the problem" in text for text in prompts[True])
    assert prompts[False] and not any("NEXT[" in text or "END[" in text for text in prompts[False])


def test_an_outcome_alone_needs_one_request_a_dialogue(make_config, tmp_path, prompts, teacher):
    strict_run(make_config(**teacher(END), max_steps=1))
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert len(prompts[True]) == row["dialogues"] and all("END[The student did not" in text for text in prompts[True])


def test_a_teacher_reads_a_solved_dialogue_of_the_group(make_config, tmp_path, prompts, teacher, all_solved):
    # One place for dialogues: nobody who waits for the group may keep it.
    strict_run(make_config(**teacher(PEER), max_steps=1, num_envs=3, max_concurrent_dialogues=1))
    rows = read_rows(tmp_path / "run" / "dialogues.jsonl")
    texts = {
        (row["seed"], row["number"]): "\n".join(f"{turn['role'].capitalize()}: {turn['text']}" for turn in row["turns"])
        for row in rows
    }
    expected = Counter(texts[seed, 1 if number == 0 else 0] for seed, number in texts)
    assert Counter(text[text.index("PEER[") + 5 :].rsplit("] Tom has", 1)[0] for text in prompts[True]) == expected
    assert not any("PEER[" in text for text in prompts[False])


def test_without_a_solved_dialogue_the_prompt_says_so(make_config, prompts, teacher):
    strict_run(make_config(**teacher(PEER), max_steps=1))
    assert prompts[True] and all("PEER[(There is no solved dialogue on this" in text for text in prompts[True])


def short_prompt(directory):
    (directory / "student.txt").write_text("Learn.")
    return directory / "student.txt"


def test_a_quote_that_has_no_room_is_left_out(make_config, tmp_path, prompts, teacher, all_solved):
    config = make_config(**teacher(PEER), max_steps=1, student_prompt_file=short_prompt(tmp_path), max_turns=3)
    server = strict_run(config.model_copy(update={"log_path": str(tmp_path / "roomy")}))
    asked = [one.arguments for one in server.calls if one.call == "sample"]
    longest = max(one["prompt_tokens"] for one in asked if one["prompt_logprobs"])
    assert not any("PEER[(There is no" in text for text in prompts[True])
    strict_run(config.model_copy(update={"max_context_tokens": longest - 1}))
    assert any("PEER[(There is no" in text for text in prompts[True]), "the longest one has no room for the other"
    roomy, run = (read_rows(tmp_path / name / "dialogues.jsonl") for name in ("roomy", "run"))
    assert [row["ending"] for row in run] == [row["ending"] for row in roomy]


def test_several_teachers_each_read_their_own_prompt(make_config, tmp_path, prompts, teacher):
    teacher(NEXT, "late.txt")
    teachers = [{"name": "plain"}, {"name": "late", "prompt_file": tmp_path / "late.txt"}]
    strict_run(make_config(teachers=teachers, teacher_average="log_mean", max_steps=1))
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    late = [text for text in prompts[True] if "NEXT[" in text]
    assert (len(late), len(prompts[True])) == (row["turns/tutor"], row["turns/tutor"] + row["dialogues"])


def test_recordings_are_read_with_hindsight_and_their_scores_reused(make_config, tmp_path, prompts, teacher):
    fields = teacher(f"{NEXT} {END}")
    train(make_config(log_path=tmp_path / "played", max_steps=1, **fields), service_client=FakeServiceClient())
    rows = tmp_path / "played" / "dialogues.jsonl"
    prompts[True].clear()
    objective = {"kind": "sampled_reverse_kl"}
    for reuse in (False, True):
        recordings = {"files": [rows], "objective": objective, "reuse_scores": reuse}
        strict_run(make_config(recordings=recordings, max_steps=1, log_path=tmp_path / f"run-{reuse}", **fields))
    read = {text[text.index("NEXT[") : text.index("] END[")] for text in prompts[True]}
    said = {turn["text"] for row in read_rows(rows) for turn in row["turns"] if turn["role"] == "student"}
    assert read and read <= {f"NEXT[{text}" for text in said}
    (again,) = read_rows(tmp_path / "run-True" / "metrics.jsonl")
    assert again["dialogues/scores_reused"] == 3 and again["prompt_tokens/teacher"] == 0


def test_an_evaluation_scores_with_hindsight_too(make_config, prompts, teacher):
    evaluate(make_config(**teacher(NEXT)), "base", service_client=FakeServiceClient())
    assert prompts[True] and all("NEXT[" in text for text in prompts[True])


@pytest.mark.parametrize("text", [f"{NEXT} {END}", PEER], ids=["next", "peer"])
def test_a_killed_run_resumes_to_the_same_rows(make_config, tmp_path, teacher, text):
    small = {"max_steps": 3, "save_every": 1, **teacher(text)}
    train_until_it_dies(tmp_path / "server", make_config(**small), steps=1)
    assert len(read_rows(tmp_path / "run" / "metrics.jsonl")) == 1
    train_on_fake(FakeServiceClient(tmp_path / "server"), make_config(**small))
    train_on_fake(FakeServiceClient(), make_config(log_path=tmp_path / "whole", **small))
    assert rows_of_run(tmp_path / "run") == rows_of_run(tmp_path / "whole")
