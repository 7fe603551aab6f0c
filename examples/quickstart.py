"""A tutor stops telling and starts asking, on this machine, in under a minute.

The packaged tiny model plays all three roles. Its plain self mostly tells the answer; under the Socratic
prompt, as the teacher, it asks. Distillation moves the plain tutor to where the prompted teacher is.

    python examples/quickstart.py [--steps 8] [--log-path runs/quickstart]
"""

import argparse
import os
import sys

# A model this small computes less than threads cost to start; set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.console import Console
from rich.table import Table

from socratic_distill import (
    Evaluation,
    RunInterrupted,
    SocraticConfig,
    SocraticError,
    build_socratic_config,
    evaluate,
    load_seeds,
    open_service,
    train,
)
from socratic_distill.tiny import HELDOUT_SEEDS, TRAIN_SEEDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8, help="training steps in all (default 8)")
    parser.add_argument("--log-path", default="runs/quickstart", help="directory of the run")
    arguments = parser.parse_args()

    config = make_config(arguments.steps, arguments.log_path)
    heldout = load_seeds(HELDOUT_SEEDS, seeds_limit=64)
    service = open_service(config)
    clients = {"service_client": service.client, "rest_client": service.rest}

    result = train(config, **clients)
    if result.status == "already_complete":
        print(f"Nothing left to do. Train on with --steps {result.steps + 8}, or talk to the tutor:")
    else:
        before = evaluate(config, seeds=heldout, **clients)
        after = evaluate(config, seeds=heldout, sampler_path=result.sampler_path, **clients)
        show(before, after)
        print("Talk to the tutor:")
    print(f"  python -m socratic_distill chat {config.log_path}")


def make_config(steps: int, log_path: str) -> SocraticConfig:
    """Tutor, student and teacher are the tiny model; only the teacher's prompt is Socratic."""
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
    )


def show(before: Evaluation, after: Evaluation) -> None:
    """The same held-out problems before and after: one in full, and the shares of all."""
    console = Console()
    for title, evaluation in (("before", before), ("after", after)):
        console.print(f"\n[bold]{title}[/bold]")
        for turn in evaluation.dialogues[0].dialogue.turns:
            console.print(f"  {turn.role:>7}: {turn.text}", markup=False, highlight=False)
    table = Table(title=f"{len(after.dialogues)} held-out problems, sampled replies")
    for column in ("", "before", "after"):
        table.add_column(column, justify="right" if column else "left")
    for label, name, shape in (
        ("first reply tells the answer", "tells", "{:.0%}"),
        ("first reply asks a question", "asks", "{:.0%}"),
        ("student reaches the answer", "solved", "{:.0%}"),
        ("teacher_kl, nats a token", "teacher_kl", "{:.3f}"),
    ):
        table.add_row(label, *(shape.format(getattr(evaluation, name)) for evaluation in (before, after)))
    console.print(table)


if __name__ == "__main__":
    try:
        main()
    except SocraticError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code if isinstance(error, RunInterrupted) else 1) from None
