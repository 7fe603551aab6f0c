"""Resume: the same `log_path` continues the run from its newest state.

Run it, stop it with Ctrl-C in the middle, and run it again.

    python examples/resume.py
"""

from socratic_distill import build_socratic_config, run_script, train
from socratic_distill.local.tiny import TRAIN_SEEDS

config = build_socratic_config(
    tutor_model_name="tiny",
    student_model_name="tiny",
    teacher_model_name="tiny",
    learning_rate=3e-3,
    max_tokens=40,
    log_path="runs/run-001",
    base_url="local",
    seeds_file=TRAIN_SEEDS,
    max_turns=3,
    max_steps=8,
    save_every=2,
)


def main() -> None:
    result = train(config)
    print(f"{result.status} after {result.steps} steps; the state is {result.state_path}")


# An error is shown as one message. After Ctrl-C a state is saved, and the message says how to resume.
raise SystemExit(run_script(main))
