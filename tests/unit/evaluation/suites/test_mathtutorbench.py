"""MathTutorBench on problems and replies of our own: the prompts and figures are those of its own code."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.support.mathtutorbench_like import ROWS, reply_to, write_checkout

from socratic_distill import BleuExtraMissing, SuiteError
from socratic_distill.evaluation.intervals import means
from socratic_distill.evaluation.suites.definitions import OPEN_TASKS
from socratic_distill.evaluation.suites.mathtutorbench import MathTutorBench
from socratic_distill.evaluation.suites.mathtutorbench_scores import (
    asks,
    calls_wrong,
    corrected_number,
    last_number,
    named_step,
)
from socratic_distill.evaluation.suites.suite import Answer, Wish

RECORDED = json.loads(Path("tests/data_samples/mathtutorbench_figures.json").read_text())["tasks"]
RULE_TASKS = [task for task in RECORDED if task not in OPEN_TASKS]
# How the suite's scorer calls what we call otherwise.
NAMES = {"accuracy": "accuracy_flexible-extract", "asks": "match"}
HAS_BLEU = find_spec("sacrebleu") is not None


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return write_checkout(tmp_path_factory.mktemp("mathtutorbench") / "checkout")


def only(checkout: Path, tmp_path: Path, *names: str) -> Path:
    """A checkout with some of the data."""
    root = tmp_path / "some"
    (root / "datasets").mkdir(parents=True)
    (root / "configs").symlink_to(checkout / "configs")
    for path in (checkout / "datasets").iterdir():
        if path.stem in names:
            (root / "datasets" / path.name).symlink_to(path)
    return root


def data_of(task):
    if task in OPEN_TASKS:
        return "mathdial_bridge_hard" if task.endswith("hard") else "mathdial_bridge"
    return {"problem_solving": "gsm8k", "socratic_questioning": "gsm8k_socratic"}.get(task, "stepverify")


def items_of(task, checkout, tmp_path):
    items, _ = MathTutorBench().items(Wish(only(checkout, tmp_path, data_of(task))))
    return [item for item in items if item.task == task]


def replied(items):
    """Replies of our own, cut as the suite cuts them."""
    answers = {}
    for item in items:
        place, is_right = int(item.id.split("/")[1]), item.id.endswith("/right")
        text = reply_to(item.task, place, is_right)
        for stop in item.stop:
            text = text.partition(stop)[0]
        answers[item.id] = Answer(text.strip())
    return answers


def figures(items, answers):
    found = MathTutorBench().figures(items, answers, Wish(Path()))
    return {name: of.value for name, of in (means(found.parts) | dict(found.measures)).items()}


def needs_bleu(task):
    if task == "socratic_questioning":
        pytest.importorskip("sacrebleu")


@pytest.mark.parametrize("task", RECORDED)
def test_prompts_are_those_that_the_suite_makes(checkout, tmp_path, task):
    needs_bleu(task)
    items = items_of(task, checkout, tmp_path)
    assert len(items) == RECORDED[task]["items"] >= 40
    assert hashlib.sha256("\x1e".join(item.prompt for item in items).encode()).hexdigest() == RECORDED[task]["prompts"]


@pytest.mark.parametrize("task", RULE_TASKS)
def test_targets_are_those_that_the_suite_compares_with(checkout, tmp_path, task):
    needs_bleu(task)
    assert [item.facts["target"] for item in items_of(task, checkout, tmp_path)] == RECORDED[task]["targets"]


@pytest.mark.parametrize("task", RECORDED)
def test_figures_are_those_of_the_suites_scorer(checkout, tmp_path, task):
    needs_bleu(task)
    items, wanted = items_of(task, checkout, tmp_path), RECORDED[task]["metrics"]
    found = {name.rpartition("/")[2]: value for name, value in figures(items, replied(items)).items()}
    assert found == {
        name: pytest.approx(wanted.get(name, wanted.get(NAMES.get(name, ""))), abs=1e-12) for name in found
    }
    assert len(found) == len({name.partition("_strict")[0].partition("_flexible")[0] for name in wanted})


READ = {
    "problem_solving": lambda reply: None if (number := last_number(reply)) is None else number,
    "solution_correctness": calls_wrong,
    "mistake_location": named_step,
    "mistake_correction": corrected_number,
}


@pytest.mark.parametrize("task", READ)
def test_each_reply_is_read_as_the_suite_reads_it(checkout, tmp_path, task):
    items = items_of(task, checkout, tmp_path)
    answers = replied(items)
    wanted = [
        float(value) if isinstance(value, str) else value for value in RECORDED[task]["predictions"]
    ]  # its scorer keeps some numbers as text
    assert [READ[task](answers[item.id].text) for item in items] == wanted


def test_tasks_without_data_are_left_out_and_named(checkout, tmp_path):
    items, notes = MathTutorBench().items(Wish(only(checkout, tmp_path, "gsm8k"), limit=3))
    assert {item.task for item in items} == {"problem_solving"} and len(items) == 3
    assert len(notes) == 8 and any("mistake_location is not measured" in note for note in notes)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "configs" / "problem_solving.yaml").write_text("- 1"), "holds no mapping"),
        (lambda root: (root / "configs" / "problem_solving.yaml").unlink(), "cannot be read"),
        (lambda root: (root / "datasets" / "gsm8k.jsonl").write_text("{"), "gsm8k.jsonl, line 1"),
        (lambda root: (root / "datasets" / "gsm8k.jsonl").write_text('{"question": 3}'), "no text 'question'"),
        (
            lambda root: (root / "datasets" / "gsm8k.jsonl").write_text('{"question": "?", "answer": "#### x"}'),
            "row 1: 'x' is no number",
        ),
        (lambda root: (root / "datasets" / "gsm8k.jsonl").unlink(), "has no data of any task"),
    ],
)
def test_data_that_cannot_be_read_are_named(tmp_path, spoil, message):
    root = write_checkout(tmp_path / "checkout", rows=1)
    for path in (root / "datasets").iterdir():
        if path.stem != "gsm8k":
            path.unlink()
    spoil(root)
    with pytest.raises(SuiteError, match=message):
        MathTutorBench().items(Wish(root))


def test_folder_that_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(SuiteError, match="has no folder configs; expected a checkout of eth-lre/mathtutorbench"):
        MathTutorBench().items(Wish(tmp_path))


def test_templates_of_a_checkout_run_in_a_sandbox(tmp_path):
    root = write_checkout(tmp_path / "checkout", rows=1)
    (root / "configs" / "problem_solving.yaml").write_text(
        json.dumps({"system_prompt": "{{ ''.__class__.__mro__ }}", "stop": []})
    )
    with pytest.raises(SuiteError, match="cannot be filled"):
        MathTutorBench().items(Wish(root))


@pytest.mark.skipif(HAS_BLEU, reason="sacrebleu is installed")
def test_without_sacrebleu_the_extra_is_named(checkout):
    with pytest.raises(BleuExtraMissing, match=r"needs sacrebleu.*pip install .*bleu"):
        MathTutorBench().items(Wish(checkout))


def test_items_without_an_answer_are_left_out(checkout, tmp_path):
    items = items_of("solution_correctness", checkout, tmp_path)
    answers = {item.id: Answer("Yes" if item.facts["target"] == "Yes" else "No") for item in items}
    answers |= {item.id: Answer(error="gone") for item in items[:10]}
    found = MathTutorBench().figures(items, answers, Wish(Path()))
    assert all(of.value == 1.0 for of in means(found.parts).values())
    assert means(found.parts)["mathtutorbench/solution_correctness/accuracy"].count == 2 * ROWS - 10


def test_scores_without_a_base_are_zero_as_for_the_suites_scorer(checkout, tmp_path):
    items = items_of("solution_correctness", checkout, tmp_path)
    found = figures(items, {item.id: Answer("No") for item in items})
    assert found["mathtutorbench/solution_correctness/precision"] == 0.0
    assert found["mathtutorbench/solution_correctness/recall"] == 0.0


def open_items(checkout, tmp_path):
    return items_of("scaffolding_generation", checkout, tmp_path)


def test_judge_sees_both_replies_in_an_order_that_is_drawn(checkout, tmp_path):
    items, wish = open_items(checkout, tmp_path), Wish(Path(), has_judge=True, seed=4)
    answers = {item.id: Answer("<MINE>") for item in items}
    asked = MathTutorBench().follow_up(items, answers, wish)
    firsts = [item.facts["is_first"] for item in asked]
    assert len(asked) == ROWS and 0.25 < sum(firsts) / ROWS < 0.75
    assert all(
        ('First reply: "\\u003cMINE>"' in item.prompt) is first for item, first in zip(asked, firsts, strict=True)
    )
    assert MathTutorBench().follow_up(items, answers, Wish(Path())) == []


def test_judges_win_rate_follows_the_reply_and_not_its_place(checkout, tmp_path):
    items, wish = open_items(checkout, tmp_path), Wish(Path(), has_judge=True)
    answers = {item.id: Answer("Why?") for item in items}
    asked = MathTutorBench().follow_up(items, answers, wish)
    for_us = {item.id: Answer(f"VERDICT: {'FIRST' if item.facts['is_first'] else 'SECOND'}") for item in asked}
    for_us[asked[0].id] = Answer("Both are good.")
    found = figures([*items, *asked], answers | for_us)
    assert found["mathtutorbench/scaffolding_generation/judge_win_rate"] == 1.0
    assert found["mathtutorbench/scaffolding_generation/judge_unparsed"] == 1 / ROWS
    always_first = figures([*items, *asked], answers | {item.id: Answer("VERDICT: FIRST") for item in asked})
    assert 0.25 < (always_first["mathtutorbench/scaffolding_generation/judge_win_rate"] or 0) < 0.75


def test_reward_model_reads_the_dialogue_with_each_reply(checkout, tmp_path):
    script = tmp_path / "reward_model" / "compute_scaffolding_score.py"
    script.parent.mkdir()
    script.write_text('raise SystemExit("it is not run")\nSYSTEM_PROMPT = ("Judge " "them.")\n')
    items, wish = open_items(checkout, tmp_path), Wish(tmp_path, reward_model=tmp_path)
    answers = {item.id: Answer("Why?") for item in items}
    asked = MathTutorBench().follow_up(items, answers, wish)
    assert [item.facts["whose"] for item in asked[:2]] == ["tutor", "human"]
    mine, human = (json.loads(item.prompt) for item in asked[:2])
    assert [message["role"] for message in mine] == ["system", "user", "assistant", "user", "assistant"]
    assert mine[0]["content"] == "Judge them." and mine[-1]["content"] == "Why?"
    assert mine[:-1] == human[:-1] and human[-1]["content"] == items[0].facts["human"] != "Why?"
    rewards = {item.id: Answer(logprobs=(float(item.facts["whose"] == "tutor"),)) for item in asked}
    tied = {item.id: Answer(logprobs=(1.0,)) for item in asked[:24]}
    found = figures([*items, *asked], answers | rewards | tied)
    assert found["mathtutorbench/scaffolding_generation/win_rate"] == 36 / ROWS, "a tie is no win"


def test_reward_model_without_its_instructions_is_refused(checkout, tmp_path):
    items = open_items(checkout, tmp_path)
    with pytest.raises(SuiteError, match="has no SYSTEM_PROMPT"):
        MathTutorBench().follow_up(
            items, {item.id: Answer("Why?") for item in items}, Wish(tmp_path, reward_model=tmp_path)
        )


@pytest.mark.parametrize(("reply", "asked"), [("Is it?", True), ("tell me how", True), ("However, no", False)])
def test_questions_are_told_by_mark_or_word(reply, asked):
    assert asks(reply) is asked
