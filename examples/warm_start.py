"""Warm start: trains on recorded dialogues, then on-policy from there, measured on held-out problems.

Stage one learns the tutor's words in recorded dialogues. Stage two starts with stage one's weights, by
`load_checkpoint_path`, and learns from its own dialogues, which the teacher scores. Without --recordings the script
records the dialogues itself: the model tutors under the teacher's prompt. Run the same command again to resume.

    python examples/warm_start.py [--warm-steps 4] [--steps 4] [--log-path runs/warm-start]
    python examples/warm_start.py --recordings FILE --seeds FILE --model NAME [--base-url URL]

The last fifth of your seeds is held out, so keep it out of your recordings.
"""

import argparse
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console

from socratic_distill import (
    Seed,
    SocraticConfig,
    build_socratic_config,
    comparison_table,
    evaluate,
    load_seeds,
    open_service,
    run_script,
    train,
)
from socratic_distill.local.tiny import HELDOUT_SEEDS, TRAIN_SEEDS


def main() -> None:
    arguments = parse_arguments()
    runs = Path(arguments.log_path)
    fields, heldout = common_fields(arguments)
    # All calls share one service, so the local engine loads the model once.
    service = open_service(build_socratic_config(**fields, log_path=runs))
    clients = {"service_client": service.client, "rest_client": service.rest}

    recordings = arguments.recordings or record(fields, runs / "recorded", clients)
    warm = build_socratic_config(
        **fields, log_path=runs / "warm", recordings={"files": [recordings]}, max_steps=arguments.warm_steps
    )
    on_policy = build_socratic_config(
        **fields, log_path=runs / "on-policy", load_checkpoint_path=warm.log_path, max_steps=arguments.steps
    )
    samplers = {"start": "base"}
    samplers |= {"warm start": trained(warm, clients), "on-policy": trained(on_policy, clients)}

    tutors = {name: evaluate(on_policy, path, seeds=heldout, **clients).measures for name, path in samplers.items()}
    shown = ("first_reply/tells", "first_reply/asks", "solved", "teacher_kl")
    Console(width=120).print(comparison_table(tutors, shown, f"on {len(heldout)} held-out problems"))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", help="JSONL file of dialogues (default: recorded by this script)")
    parser.add_argument("--seeds", help="JSONL file of problems (default: the tiny model's)")
    parser.add_argument("--model", default="tiny", help="tutor, student and teacher (default tiny)")
    parser.add_argument("--base-url", default="local", help="the service; '' for Tinker's (default local)")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--max-tokens", type=int, default=40, help="longest reply (default 40)")
    parser.add_argument("--warm-steps", type=int, default=4, help="steps on the recordings (default 4)")
    parser.add_argument("--steps", type=int, default=4, help="steps on-policy (default 4)")
    parser.add_argument("--log-path", default="runs/warm-start", help="directory of the runs")
    return parser.parse_args()


def common_fields(arguments: argparse.Namespace) -> tuple[dict[str, Any], tuple[Seed, ...]]:
    """Returns the config fields that both stages share, and the held-out seeds."""
    if arguments.seeds:
        seeds = load_seeds(arguments.seeds)
        training = len(seeds) * 4 // 5
        heldout = seeds[training:]
    else:
        training, heldout = None, load_seeds(HELDOUT_SEEDS, seeds_limit=64)
    fields: dict[str, Any] = dict(
        tutor_model_name=arguments.model,
        student_model_name=arguments.model,
        teacher_model_name=arguments.model,
        learning_rate=arguments.learning_rate,
        max_tokens=arguments.max_tokens,
        base_url=arguments.base_url or None,
        seeds_file=arguments.seeds or TRAIN_SEEDS,
        seeds_limit=training,
        groups_per_batch=8,
        num_envs=4,
        max_turns=2,
    )
    return fields, heldout


def record(fields: dict[str, Any], log_path: Path, clients: dict[str, Any]) -> Path:
    """Records dialogues of a tutor under the teacher's prompt, and returns their file.

    One batch of a run is enough. It learns nothing, since its tutor and its teacher have the same prompt.
    """
    prompt = files("socratic_distill.dialogues.prompts") / "teacher.txt"
    fields = {**fields, "groups_per_batch": 64, "num_envs": 1, "max_steps": 1}
    config = build_socratic_config(**fields, log_path=log_path, tutor_prompt_file=str(prompt))
    train(config, **clients)
    return log_path / "dialogues.jsonl"


def trained(config: SocraticConfig, clients: dict[str, Any]) -> str:
    """Trains or resumes, and returns the path of the final sampler weights."""
    result = train(config, **clients)
    if result.sampler_path is None:
        raise SystemExit(f"{config.log_path} has no sampler weights any more. Use another --log-path.")
    print(f"{config.log_path}: {result.status} after {result.steps} steps")
    return result.sampler_path


if __name__ == "__main__":
    raise SystemExit(run_script(main))
