"""Trains a tutor by PedagogicalRL's reward instead of distillation, on this machine, in a few minutes.

A dialogue's reward is the share of right answers among eight that the student gives after it. A dialogue in which the
tutor told the answer gets -lambda instead (Dinucu-Jianu et al., EMNLP 2025). In the paper judge models reject such
dialogues. The packaged tiny model cannot judge, so here the rule that looks for the answer in the tutor's turns does.

    python examples/pedagogical_rl.py [--steps 24] [--log-path runs/pedagogical-rl] [--kl 0.0] [--veto hard]
"""

import argparse
from typing import Literal

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

SHOWN = ("solved/untold", "solved", "leaks", "first_reply/tells", "first_reply/asks", "solve_rate/after", "teacher_kl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=24, help="total number of training steps (default 24)")
    parser.add_argument("--log-path", default="runs/pedagogical-rl", help="directory of the run")
    parser.add_argument("--kl", type=float, default=0.0, help="kl_penalty_coef: weight of distillation (default 0)")
    parser.add_argument("--veto", choices=("soft", "hard"), default="hard", help="what a rejection does")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default 0)")
    arguments = parser.parse_args()

    config = make_config(arguments.steps, arguments.log_path, arguments.kl, arguments.veto, arguments.seed)
    train(config)
    show(config.log_path)
    print(f"The run's report: {config.log_path}/report.html")


def make_config(
    steps: int, log_path: str, kl: float = 0.0, veto: Literal["soft", "hard"] = "hard", seed: int = 0
) -> SocraticConfig:
    """Returns the config: the student's solve rate is the reward, and a tutor that tells is rejected.

    Args:
        steps: number of training steps.
        log_path: directory of the run.
        kl: weight of the divergence from the teacher; 0 trains by rewards alone.
        veto: "hard" replaces the reward of a rejected dialogue by -lambda, "soft" subtracts lambda from it.
        seed: random seed.
    """
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
        num_envs=8,
        max_turns=2,
        max_steps=steps,
        save_every=8,
        seed=seed,
        kl_penalty_coef=kl,
        rewards=[
            {"kind": "solve_rate", "samples": 8},
            {"kind": "not_telling", "veto": veto, "penalty": 1.0},
        ],
        eval_every=8,
        eval_seeds=64,
        eval_solve_samples=8,
    )


def show(log_path: str) -> None:
    """Prints the measures on the held-out problems before and after training."""
    evaluations = load_evaluations(log_path)
    tutors = {"before": evaluations[0].measures, "after": evaluations[-1].measures}
    title = f"{len(evaluations[0].dialogues)} dialogues on held-out problems"
    Console(width=120).print(comparison_table(tutors, SHOWN, title))


if __name__ == "__main__":
    raise SystemExit(run_script(main))
