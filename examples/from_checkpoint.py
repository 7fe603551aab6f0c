"""From a checkpoint: another `log_path` and `load_checkpoint_path` start with another run's weights.

Run `resume.py` first. The weights come from its run; the optimizer and the count of batches start anew.

    python examples/from_checkpoint.py
"""

from pathlib import Path

from socratic_distill import build_socratic_config, run_script, train
from socratic_distill.local.tiny import TRAIN_SEEDS

journal = Path("runs/run-001/checkpoints.jsonl")
if not journal.exists():
    raise SystemExit(f"{journal} does not exist. Run examples/resume.py first.")

config = build_socratic_config(
    tutor_model_name="tiny",
    student_model_name="tiny",
    teacher_model_name="tiny",
    learning_rate=1e-3,
    max_tokens=40,
    log_path="runs/run-from-checkpoint",
    load_checkpoint_path=journal,
    base_url="local",
    seeds_file=TRAIN_SEEDS,
    max_turns=3,
    max_steps=4,
)


def main() -> None:
    result = train(config)
    print(f"{result.status} after {result.steps} steps; the state is {result.state_path}")


# An error is shown as one message. After Ctrl-C a state is saved, and the message says how to resume.
raise SystemExit(run_script(main))
