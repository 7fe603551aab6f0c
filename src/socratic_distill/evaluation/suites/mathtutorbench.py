"""MathTutorBench: nine tasks on a checkout of eth-lre/mathtutorbench, whose prompts are read when it runs.

The checkout has the prompts (`configs/*.yaml`) and the dialogues of the open tasks (`datasets/*.json`). The problems of
the five tasks that are scored by a rule are data sets of their own; they are read from `datasets/gsm8k`,
`datasets/gsm8k_socratic` and `datasets/stepverify`, each with an ending that seeds files may have, or a directory that
`datasets` saved. A task without data is left out, with a note.
"""

import ast
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from socratic_distill.dialogues.prompts import read_prompt
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.verdicts import fill, quoted
from socratic_distill.errors import SuiteError
from socratic_distill.evaluation.suites.definitions import MATHTUTORBENCH, OPEN_TASKS
from socratic_distill.evaluation.suites.mathtutorbench_scores import SCORES, check_bleu, open_figures
from socratic_distill.evaluation.suites.reading import read_rows_of, read_yaml, text_of
from socratic_distill.evaluation.suites.suite import About, Answers, Figures, Item, Wish

Row = Mapping[str, Any]

_JINJA = ImmutableSandboxedEnvironment()
_PROBLEMS = {
    "problem_solving": "gsm8k",
    "socratic_questioning": "gsm8k_socratic",
    "solution_correctness": "stepverify",
    "mistake_location": "stepverify",
    "mistake_correction": "stepverify",
}
# Where the name of a task's config is not the task's.
_CONFIGS = {"solution_correctness": "student_solution_correctness"}
_NUMBERED = ("problem_solving", "mistake_location", "mistake_correction")
_ENDINGS = ("", ".jsonl", ".json", ".parquet", ".csv", ".jsonl.gz", ".jsonl.zst")
_REWARD_SCRIPT = Path("reward_model", "compute_scaffolding_score.py")


class MathTutorBench:
    """The suite."""

    measures_judge = False
    about = About(
        MATHTUTORBENCH,
        "MathTutorBench",
        "CC BY 4.0 (GSM8K: MIT)",
        "counts like the repository at commit 54b6213",
        "Its rule tasks are counted as by its own scorer: the last number of the reply; the best line of the reply by "
        "sentence BLEU; a reply with 'yes' in it calls a solution wrong, and so does one with neither yes nor no; the "
        "first number of the reply is the step; the number after 'Final Answer:', or else the last one. The prompt is "
        "one user message, where its own runs use a completion or a system message. Open tasks have the official win "
        "rate only with its reward model; a judge's win rate is not the official score.",
        "a checkout of eth-lre/mathtutorbench, with GSM8K's test split (configurations main and socratic) and "
        "eth-nlped/stepverify as datasets/gsm8k, datasets/gsm8k_socratic and datasets/stepverify (.jsonl, .parquet, …)",
    )

    def items(self, wish: Wish) -> tuple[list[Item], list[str]]:
        """The items of every task that has data."""
        if not (wish.data / "configs").is_dir():
            raise SuiteError(f"{wish.data} has no folder configs; expected {self.about.data}")
        items, notes = list[Item](), list[str]()
        for task in (*_PROBLEMS, *OPEN_TASKS):
            source = _source(wish.data, task)
            if source is None:
                wanted = _PROBLEMS.get(task, _open_file(task))
                notes.append(f"{task} is not measured: {wish.data / 'datasets'} has no {wanted}")
                continue
            items += _items(wish, task, source)
        if not items:
            raise SuiteError(f"{wish.data / 'datasets'} has no data of any task; expected {self.about.data}")
        if any(item.task == "socratic_questioning" for item in items):
            check_bleu()
        return items, notes

    def follow_up(self, items: Sequence[Item], answers: Answers, wish: Wish) -> list[Item]:
        """The open tasks' replies, for the reward model if it is given, otherwise for the judge if there is one."""
        replies = [item for item in items if item.task in OPEN_TASKS and answers[item.id].error is None]
        if wish.reward_model is not None:
            instructions = _reward_instructions(wish.data)
            return [asked for item in replies for asked in _to_reward(item, answers[item.id].text, instructions)]
        return [_to_judge(item, answers[item.id].text, wish.seed) for item in replies] if wish.has_judge else []

    def figures(self, items: Sequence[Item], answers: Answers, wish: Wish) -> Figures:
        """The figures of each task."""
        every = [SCORES[task](_of(items, task), answers) for task in _PROBLEMS if _of(items, task)]
        every += [open_figures(task, _of(items, task), answers) for task in OPEN_TASKS if _of(items, task)]
        parts = {name: of for figures in every for name, of in figures.parts.items()}
        measures = {name: of for figures in every for name, of in figures.measures.items()}
        notes = dict.fromkeys(note for figures in every for note in figures.notes)
        return Figures(parts, measures, tuple(notes))


def _of(items: Sequence[Item], task: str) -> list[Item]:
    return [item for item in items if item.task == task]


def _open_file(task: str) -> str:
    return "mathdial_bridge_hard.json" if task.endswith("_hard") else "mathdial_bridge.json"


def _source(data: Path, task: str) -> Path | None:
    """The file of a task's data; None if there is none."""
    if task in OPEN_TASKS:
        path = data / "datasets" / _open_file(task)
        return path if path.is_file() else None
    paths = [data / "datasets" / f"{_PROBLEMS[task]}{ending}" for ending in _ENDINGS]
    return next((path for path in paths if path.exists()), None)


def _items(wish: Wish, task: str, source: Path) -> Iterator[Item]:
    config = read_yaml(wish.data / "configs" / f"{_CONFIGS.get(task, task)}.yaml")
    stop = config.get("stop") or []
    if not isinstance(config.get("system_prompt"), str) or not isinstance(stop, list):
        raise SuiteError(f"the config of {task} in {wish.data / 'configs'} has no system_prompt, or a stop of no list")
    rows = enumerate(read_rows_of(source, wish.limit))
    for number, row, example in ((number, own, example) for number, own in rows for example in _examples(task, own)):
        prompt = _rendered(config["system_prompt"], example | {"shots": config.get("few_shot_samples") or ""}, task)
        target = _rendered(str(config.get("ground_truth_format") or ""), example, task)
        if task in _NUMBERED and not _is_number(target):
            raise SuiteError(f"{source}, row {number + 1}: {target!r:.60} is no number, as {task} needs")
        kind = "" if example.get("is_error", True) else "/right"
        yield Item(
            f"{task}/{number}{kind}",
            task,
            prompt,
            cluster=f"{source.name}/{number}",
            stop=tuple(map(str, stop)),
            facts={"target": target, "row": row, "human": example.get("human", "")},
        )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _rendered(template: str, facts: Mapping[str, Any], task: str) -> str:
    """A template of the checkout, in a sandbox: the checkout is data."""
    try:
        return _JINJA.from_string(template).render(**facts)
    except TemplateError as error:
        raise SuiteError(f"a template in the config of {task} cannot be filled: {error}") from error


def _examples(task: str, row: Row) -> Iterator[dict[str, Any]]:
    """What the templates of a task are filled with."""
    if task in ("problem_solving", "socratic_questioning"):
        yield {"question": text_of(row, "question"), "answer": text_of(row, "answer")}
    elif task in OPEN_TASKS:
        turns = _turns(row)
        context = turns[:-1] if len(turns) > 1 else turns
        yield {
            "question": text_of(row, "problem"),
            "dialog_history": "\n".join(
                f"{'Student' if who == 'Student' else 'Teacher'}: {said}" for who, said in context
            ),
            "reference_solution": text_of(row, "reference_solution"),
            "human": turns[-1][1] if turns else "",
        }
    else:
        yield _solution(row, is_wrong=True)
        if task != "mistake_correction":
            yield _solution(row, is_wrong=False)


def _turns(row: Row) -> list[tuple[str, str]]:
    return [(text_of(turn, "user"), text_of(turn, "text")) for turn in _listed(row, "dialog_history")]


def _listed(row: Row, key: str) -> list[Any]:
    value = row.get(key)
    if isinstance(value, str):  # a cell of a table
        value = json.loads(value)
    if not isinstance(value, list):
        raise SuiteError(f"a row has no list {key!r}, but {value!r:.60}; expected the suite's published data")
    return value


def _solution(row: Row, is_wrong: bool) -> dict[str, Any]:
    """A student's solution: its own wrong one, or the reference as if a student had written it."""
    turns = _turns(row)
    first = next((index for index, (who, _) in enumerate(turns) if who == "Student"), None)
    if first is None:
        raise SuiteError("a dialogue of stepverify has no turn of the student; expected the suite's published data")
    if not str(row.get("incorrect_index", "")).isdecimal():
        raise SuiteError(f"a row of stepverify has incorrect_index {row.get('incorrect_index')!r}; expected a number")
    reference = text_of(row, "reference_solution")
    steps = _listed(row, "student_incorrect_solution") if is_wrong else reference.split("\n")
    return {
        "question": text_of(row, "problem"),
        # The suite joins the steps by a backslash and an n, and leaves out the last one, the bare answer.
        "student_solution": "\\n".join(f"Step {number} - {step}" for number, step in enumerate(steps[:-1], start=1)),
        "is_error": is_wrong,
        "error_step": int(row["incorrect_index"]) + 1 if is_wrong else 0,
        "dialog_history": "\n".join(f"Teacher: {said}" for _, said in turns[:first]),
        "student_chat_solution": turns[first][1] if is_wrong else text_of(row, "student_correct_response"),
        "reference_solution": reference,
    }


def _reward_instructions(data: Path) -> str:
    """The reward model's system prompt, read from the text of the checkout's script, which is not run."""
    path = data / _REWARD_SCRIPT
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        return next(
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["SYSTEM_PROMPT"]
        )
    except (OSError, SyntaxError, ValueError, StopIteration) as error:
        raise SuiteError(f"{path} has no SYSTEM_PROMPT, which the reward model needs: {error!r}") from error


def _to_reward(item: Item, reply: str, instructions: str) -> Iterator[Item]:
    """The tutor's reply and the human teacher's, each after the dialogue, as the reward model reads them."""
    row: Row = item.facts["row"]
    *context, _ = _turns(row)
    head = [
        {"role": "system", "content": instructions},
        {
            "role": "user",
            "content": f"Problem: {text_of(row, 'problem')}\nReference Solution: {text_of(row, 'reference_solution')}",
        },
        *({"role": "assistant" if who in ("Teacher", "Tutor") else "user", "content": said} for who, said in context),
    ]
    for whose, text in (("tutor", reply), ("human", item.facts["human"])):
        yield Item(
            f"{item.id}/reward/{whose}",
            item.task,
            json.dumps([*head, {"role": "assistant", "content": text}]),
            item.cluster,
            asked="reward_model",
            facts={"of": item.id, "whose": whose},
        )


def _to_judge(item: Item, reply: str, seed: int) -> Item:
    """The tutor's reply and the human teacher's side by side, in an order that is drawn."""
    row: Row = item.facts["row"]
    is_first = stable_seed(seed, "order", item.id) % 2 == 0
    first, second = (reply, item.facts["human"]) if is_first else (item.facts["human"], reply)
    facts = {
        "question": text_of(row, "problem"),
        "solution": text_of(row, "reference_solution"),
        "dialogue": "\n".join(f"{who}: {quoted(said)}" for who, said in _turns(row)[:-1]),
        "first": quoted(first),
        "second": quoted(second),
    }
    prompt = fill(read_prompt(None, "suite_preference.txt"), facts)
    return Item(f"{item.id}/judge", item.task, prompt, item.cluster, asked="judge", facts={"is_first": is_first})
