"""A folder laid out like a checkout of MathTutorBench, and replies to it: problems, prompts and replies of our own.

The figures in `tests/data_samples/mathtutorbench_figures.json` are those of the suite's own scorer on these replies.
"""

import json
from pathlib import Path
from random import Random
from typing import Any

ROWS = 48

_NAMES = ("Ada", "Ben", "Cleo", "Dov", "Ema", "Finn", "Gul", "Hana")
_THINGS = ("pears", "stamps", "coins", "shells", "cards", "beads")
_ANSWER = "{{ answer.split('### ')[-1].replace(',', '').strip() }}"
_LAST_LINE = "{{ reference_solution.split('\n')[-1].replace(',', '').strip() }}"
_TALK = "Task: {{question}}\n{{dialog_history}}\n"
_SAID = f"{_TALK}Student: {{{{student_chat_solution}}}}\n"
_STEPS = "Task: {{question}}\nSteps: {{student_solution}}\n"
_CONFIGS = {
    "problem_solving": ("Work it out. {{ shots }}\nTask: {{question}}\nSolution:", ["Task:"], _ANSWER),
    "socratic_questioning": ("Ask.\n{{ shots }}\nTask: {{question}}\nAsk:", ["Task:", "\n\n"], "{{ answer }}"),
    "student_solution_correctness": (f"{_SAID}Wrong?", ["Task:"], "{{ 'Yes' if is_error else 'No' }}"),
    "mistake_location": (f"Which?\n{_STEPS}Step:", ["Task:"], "{{ error_step }}"),
    "mistake_correction": (f"Correct it.\n{_SAID}Teacher:", ["Task:"], _LAST_LINE),
    "scaffolding_generation": (f"Reply.\n{_TALK}Teacher:", ["Student:", "\n\n"], ""),
    "scaffolding_generation_hard": (f"Reply.\n{_TALK}Teacher:", ["Student:", "\n\n"], ""),
    "pedagogy_following": (f"Ask one thing.\n{_TALK}Teacher:", ["Student:", "\n\n"], ""),
    "pedagogy_following_hard": (f"Ask one thing.\n{_TALK}Teacher:", ["Student:", "\n\n"], ""),
}


def _problem(place: int) -> dict[str, Any]:
    random = Random(place)
    name, thing = random.choice(_NAMES), random.choice(_THINGS)
    have, times, given = random.randint(3, 400), random.randint(2, 9), random.randint(1, 90)
    product, answer = have * times, have * times - given
    return {
        "question": f"{name} has {have} {thing}, buys {times} times as many and gives {given} away. How many are left?",
        "product": product,
        "answer": answer,
        "asked": [f"How many {thing} does {name} buy?", f"How many {thing} are left after {given} are given away?"],
        "steps": [f"{name} buys {have} * {times} = {product} {thing}.", f"{product} - {given} = {answer} are left."],
        "wrong": [f"{name} buys {have} + {times} = {have + times} {thing}.", f"{have + times} - {given} are left."],
        "has_two": place % 3 > 0,
    }


def _stepverify(place: int) -> dict[str, Any]:
    own = _problem(place)
    wrong = own["wrong"] if own["has_two"] else [own["steps"][0], own["wrong"][1]]
    return {
        "problem": own["question"],
        "reference_solution": "\n".join([*own["steps"], f"{own['answer']:,}" if place % 2 else f" {own['answer']}"]),
        "dialog_history": [
            {"user": "Teacher", "text": "How did you do it?"},
            {"user": "Student", "text": " ".join(wrong)},
            {"user": "Teacher", "text": own["asked"][0]},
        ],
        "student_incorrect_solution": [*wrong, "7"],
        "incorrect_index": 0 if own["has_two"] else 1,
        "student_correct_response": " ".join(own["steps"]),
    }


def _bridge(place: int) -> dict[str, Any]:
    row = _stepverify(place)
    return {key: row[key] for key in ("problem", "reference_solution", "dialog_history")} | {"topic": "Sums"}


def write_checkout(root: Path, rows: int = ROWS) -> Path:
    """Writes the folder."""
    (root / "configs").mkdir(parents=True)
    (root / "datasets").mkdir()
    for name, (prompt, stop, target) in _CONFIGS.items():
        # JSON is YAML.
        config = {"name": name, "system_prompt": prompt, "stop": stop, "ground_truth_format": target}
        (root / "configs" / f"{name}.yaml").write_text(json.dumps(config | {"few_shot_samples": "Task: 1 + 1? 2"}))
    problems = [_problem(place) for place in range(rows)]
    data = {
        "gsm8k": [
            {"question": own["question"], "answer": "\n".join([*own["steps"], f"#### {own['answer']:,}"])}
            for own in problems
        ],
        "gsm8k_socratic": [
            {
                "question": own["question"],
                "answer": "\n".join(
                    [*(f"{ask} ** {step}" for ask, step in zip(own["asked"], own["steps"], strict=True)),
                     f"#### {own['answer']}"]
                ),
            }
            for own in problems
        ],
        "stepverify": [_stepverify(place) for place in range(rows)],
    }  # fmt: skip
    for name, of in data.items():
        (root / "datasets" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in of))
    for name in ("mathdial_bridge", "mathdial_bridge_hard"):
        (root / "datasets" / f"{name}.json").write_text(json.dumps([_bridge(place) for place in range(rows)]))
    return root


def reply_to(task: str, place: int, is_right: bool = False) -> str:
    """A reply of our own to an item: right, wrong, or one that a scorer may misread.

    Args:
        task: the task.
        place: number of the row.
        is_right: of two items of a row, whether this is the one on the right solution.
    """
    own, random = _problem(place), Random(f"{task} {place} {is_right}")
    answer, wrong = own["answer"], own["answer"] + random.randint(1, 9)
    first, second = own["asked"]
    product = own["product"]
    forms = {
        "problem_solving": [
            f"{own['steps'][0]} Final answer: {answer}", f"The answer is {answer}.", f"{answer:,} are left.",
            f"Final answer: {wrong}", f"= {answer}.0", f"I get {answer}, after 2 steps", "I do not know.",
            f"-{answer}", f"${answer}.", f"{answer}.50", f"{product}-{product - answer}={answer}", "", ".5 of them",
        ],
        "socratic_questioning": [
            f"{first} {second}", first, f"{first}\n{second}", "What?", "", f"{first.upper()}\nWhy is that so, then?",
            f"  {second}  \n\n ", f"1. {first}\n2. {second}\n3. Are you sure?", "How many are there, and why so?",
        ],
        "solution_correctness": [
            "Yes", "No", "yes, it is wrong", "No.", "I am not sure", "Maybe", "", "NO", "Yes and no",
            "Nobody can tell", "It is correct", "Yesterday I knew",
        ],
        "mistake_location": [
            "0", "1", "2", "Step 1", "The first", "Step 2, not 1", "", "10", "I think 0", "Error in step 1 of 2", "-1",
            "3.5",
        ],
        "mistake_correction": [
            f"Final Answer: {answer}", f"Final Answer: ${answer:,}", f"Final Answer: {wrong}", f"So {answer}.", "None",
            f"Final Answer: about {answer}", f"{product}-{product - answer} = {answer}", f"It is 5-{answer}",
            f"Final Answer:   {answer}.00 and not {wrong}", "", f"final answer: {wrong}, no, {answer}",
            "Final Answer: -,5", f"Final Answer: {answer}. That is more than 3.",
        ],
    }.get(task, [
        "What did you do first?", "Good work.", "Tell me how you got it", "The answer is 7.", "Could it be more?",
        "Whatever.", "",
    ])  # fmt: skip
    # Each form occurs, and half of the replies are drawn.
    return forms[place % len(forms)] if place % 2 else random.choice(forms)
