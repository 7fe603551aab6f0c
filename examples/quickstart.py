"""Trains a tutor to ask instead of tell, on this machine, in under a minute.

The packaged tiny model plays all three roles. Under the tutor's plain prompt it mostly tells the answer; under the
teacher's Socratic prompt it asks. Distillation teaches the tutor to ask under its plain prompt too.

    python examples/quickstart.py [--steps 8] [--log-path runs/quickstart]
"""

import argparse

from rich.console import Console

from socratic_distill import (
    SocraticConfig,
    build_socratic_config,
    comparison_table,
    load_evaluations,
    run_script,
    train,
)
from socratic_distill.local.tiny import TRAIN_SEEDS

SHOWN = ("first_reply/tells", "first_reply/asks", "leaks", "solved/untold", "mathdial/telling@1", "teacher_kl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8, help="total number of training steps (default 8)")
    parser.add_argument("--log-path", default="runs/quickstart", help="directory of the run")
    arguments = parser.parse_args()

    config = make_config(arguments.steps, arguments.log_path)
    result = train(config)
    show(config.log_path)
    if result.status == "already_complete":
        print(f"The run was already complete. To train on, use --steps {result.steps + 8}.")
    print(f"The run's report: {config.log_path}/report.html")
    print(f"Talk to the tutor: python -m socratic_distill chat {config.log_path}")


def make_config(steps: int, log_path: str) -> SocraticConfig:
    """Returns the config: all three roles are the tiny model, and only the teacher's prompt is Socratic."""
    return build_socratic_config(
        tutor_model_name="tiny",
        student_model_name="tiny",
        teacher_model_name="tiny",
        learning_rate=3e-3,
        max_tokens=40,
        log_path=log_path,
        base_url="local",
        seeds_file=TRAIN_SEEDS,
        groups_per_batch=8,
        num_envs=4,
        max_turns=2,
        max_steps=steps,
        save_every=4,
        eval_every=4,
        eval_seeds=64,
    )


def show(log_path: str) -> None:
    """Prints the held-out problems before and after training: one dialogue in full, and the measures of all."""
    console, evaluations = Console(), load_evaluations(log_path)
    for title, evaluation in (("before", evaluations[0]), ("after", evaluations[-1])):
        console.print(f"\n[bold]{title}[/bold]")
        for turn in evaluation.dialogues[0]["turns"]:
            console.print(f"  {turn['role']:>7}: {turn['text']}", markup=False, highlight=False)
    console.print()
    tutors = {"before": evaluations[0].measures, "after": evaluations[-1].measures}
    title = f"{len(evaluations[0].dialogues)} dialogues on held-out problems"
    console.print(comparison_table(tutors, SHOWN, title))


if __name__ == "__main__":
    raise SystemExit(run_script(main))
