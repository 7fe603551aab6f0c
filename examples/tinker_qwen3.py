"""Trains on Tinker's hosted service, as in its guide. Needs TINKER_API_KEY, and costs money.

TINKER_API_KEY=… python examples/tinker_qwen3.py SEEDS.jsonl
"""

import argparse

from socratic_distill import build_socratic_config, run_script, train

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("seeds_file", help="JSONL file of problems in this project's, MathDial's or GSM8K's format")
parser.add_argument("--max-steps", type=int, default=20)
arguments = parser.parse_args()

config = build_socratic_config(
    tutor_model_name="Qwen3.5-9B",
    student_model_name="Qwen3.6-35B-A3B",
    teacher_model_name="Qwen3.5-397B-A17B",
    learning_rate=1e-4,
    max_tokens=512,
    log_path="runs/tinker-qwen3",
    seeds_file=arguments.seeds_file,
    groups_per_batch=16,
    num_envs=4,
    max_turns=6,
    max_steps=arguments.max_steps,
)
raise SystemExit(run_script(lambda: print(train(config))))
