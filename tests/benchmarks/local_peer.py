"""TRL's DistillationTrainer on the workload of `local.py`, in an environment of its own with TRL 1.16.

    python local_peer.py JOB.json

A step is done for every line that comes on stdin; its figures are printed as one line of JSON. What JOB.json holds is
in `local_workload.py`, with the settings: `dtype` of the models, `autocast` (rounds products to bf16, of models kept
in fp32 or not), `batch` prompts sampled and trained on together, and `vllm` (samples with vLLM on a GPU, for `gpu.py`;
without it all is on the CPU).
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset  # pyright: ignore[reportMissingImports]
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DistillationConfig, DistillationTrainer  # pyright: ignore[reportMissingImports]


class Turns(TrainerCallback):
    """Waits for its turn before every step, and tells afterwards how long it took."""

    def __init__(self) -> None:
        self.began = 0.0
        self.trainer: Any = None

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        sys.stdin.readline()
        self.trainer.sampling, self.trainer.tokens, self.began = 0.0, 0, time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        seconds = time.perf_counter() - self.began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sampled = {"sampling": self.trainer.sampling, "tokens": self.trainer.tokens}
        print("FIGURES", json.dumps({"seconds": seconds, "peak_mib": peak} | sampled), flush=True)


class Metered(DistillationTrainer):
    """Adds up what sampling takes, and the tokens that come of it."""

    sampling = 0.0
    tokens = 0

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        replies = super()._generate_single_turn(*args, **kwargs)
        self.sampling += time.perf_counter() - began
        self.tokens += sum(map(len, replies))
        return replies


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    dtype = getattr(torch, job["dtype"])
    model, teacher = (AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype) for _ in range(2))
    steps, turns = job["prompts"], Turns()
    with tempfile.TemporaryDirectory() as scratch:
        config = DistillationConfig(
            output_dir=scratch,
            per_device_train_batch_size=job["batch"],
            gradient_accumulation_steps=len(steps[0]) // job["batch"],
            gradient_checkpointing=False,
            max_steps=len(steps),
            max_completion_length=job["new_tokens"],
            generation_kwargs={"min_new_tokens": job["new_tokens"]},  # replies of one length, on either side
            learning_rate=job["rate"],
            bf16=job["autocast"],
            **({"use_vllm": True, "vllm_mode": "colocate"} if job.get("vllm") else {"use_cpu": True}),
            shuffle_dataset=False,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        lora = LoraConfig(r=job["rank"], lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        turns.trainer = Metered(
            model=model,
            teacher_model=teacher,
            args=config,
            train_dataset=Dataset.from_list([{"prompt": prompt} for step in steps for prompt in step]),
            processing_class=tokenizer,
            peft_config=lora,
            callbacks=[turns],
        )
        turns.trainer.train()


if __name__ == "__main__":
    main()
