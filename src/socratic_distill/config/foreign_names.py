"""The names that TRL, transformers and tinker-cookbook use for what a config sets, with our field and the difference.

These names are answered, and not accepted: a config has one name for each thing, and many of theirs count other things.
In TRL and the cookbook the trained model is the student. Here it is the tutor, and the student is a simulated pupil.
"""

from typing import NamedTuple


class Ours(NamedTuple):
    """What a foreign name is here.

    Attributes:
        fields: the config fields; a dot leads into a part, such as `recordings.on_policy_fraction`.
        note: how the meaning differs, and what to write; empty if only the name differs.
    """

    fields: tuple[str, ...]
    note: str = ""


_TUTOR = Ours(("tutor_model_name",), "the trained model is the tutor here, and the student is a simulated pupil")
_TEACHER = Ours(("teacher_model_name",))
_DIRECTORY = Ours(("log_path",), "a directory for one run; the same directory resumes it")
_BATCH = Ours(
    ("groups_per_batch", "num_envs"),
    "a batch has groups_per_batch × num_envs dialogues of several turns, and not so many texts",
)
_GROUP = Ours(("num_envs",), "the dialogues on one seed")
_REPLY = Ours(("max_tokens",), "the limit of one tutor reply; max_turns limits the dialogue")
_TEXT = Ours(("max_context_tokens",), "the limit of a dialogue's whole context; max_tokens is that of one reply")
_EPOCHS = Ours(("epochs",), "whole passes over the seeds, if max_steps is None")
_SHAPE = Ours(("lr_schedule",), "'constant', 'linear' or 'cosine'; lr_warmup_steps adds a warm-up to each")
_DATA = Ours(("seeds_file",), "a file or data set of problems; recordings takes whole dialogues")
_HELDOUT = Ours(("eval_seeds",), "a number of seeds, which are held out of the same files")
_RESUME = Ours(
    ("log_path",),
    "a run with the log_path of an earlier one resumes it; load_checkpoint_path starts from other weights",
)
_PROJECT, _RUN = Ours(("tracker_project",), "of every tracker"), Ours(("tracker_name",), "of every tracker")
_REWARDS = Ours(
    ("rewards",),
    "'solved', 'not_telling', 'few_turns', 'solve_rate', {'kind': 'judge', …}, or "
    "{'kind': 'function', 'function': 'module:name'}",
)
_KEPT = Ours(("periodic_ttl_seconds",), "states are kept for a time, and not by their number")
_CLIP = Ours(
    ("loss_fn_options",),
    "bounds of the ratio itself: an epsilon of 0.2 is {'clip_low_threshold': 0.8, 'clip_high_threshold': 1.2}",
)
_ASYNC = Ours(("max_staleness",), "in batches")

FOREIGN = {
    # Models and adapters
    "model": _TUTOR,
    "model_name": _TUTOR,
    "model_name_or_path": _TUTOR,
    "base_model": _TUTOR,
    "student_model": _TUTOR,
    "teacher_model": _TEACHER,
    "teacher_model_name_or_path": _TEACHER,
    "teacher_checkpoint": Ours(("teacher_checkpoint_path",), "sampler weights"),
    "teacher_config": Ours(("teacher_model_name", "teachers"), "one teacher, or several"),
    "judge_model": Ours(("judge",)),
    "lora_r": Ours(("lora_rank",)),
    "rank": Ours(("lora_rank",)),
    "target_modules": Ours(("lora_targets",), "parts of the model, whatever its layers are called"),
    "train_mlp": Ours(("lora_targets",), "'mlp' in it"),
    "train_attn": Ours(("lora_targets",), "'attention' in it"),
    "train_unembed": Ours(("lora_targets",), "'unembed' in it"),
    "lora_alpha": Ours(("lora_rank",), "alpha is fixed; learning_rate has the same effect"),
    "chat_template_kwargs": Ours(("tutor_template_options", "tutor_reasoning"), "one for each role"),
    "enable_thinking": Ours(("tutor_reasoning", "student_reasoning"), "'on' or 'off', one for each role"),
    "use_vllm": Ours(("base_url",), "it says which service samples and trains"),
    "vllm_server_base_url": Ours(("base_url",), "a server of the Tinker API, which samples and trains"),
    # Data
    "dataset": _DATA,
    "dataset_name": _DATA,
    "dataset_path": _DATA,
    "train_dataset": _DATA,
    "train_file": _DATA,
    "dataset_builder": _DATA,
    "eval_dataset": _HELDOUT,
    "test_size": _HELDOUT,
    "system_prompt": Ours(("tutor_prompt_file", "teacher_prompt_file"), "text files"),
    # Batches and lengths
    "batch_size": _BATCH,
    "per_device_train_batch_size": _BATCH,
    "train_batch_size": _BATCH,
    "generation_batch_size": _BATCH,
    "per_device_eval_batch_size": Ours(("eval_dialogues_per_seed",), "dialogues on each held-out seed"),
    "gradient_accumulation_steps": Ours(
        ("groups_per_batch", "groups_per_minibatch"), "gradients of a whole batch are always added up"
    ),
    "group_size": _GROUP,
    "num_generations": _GROUP,
    "num_iterations": Ours(("num_substeps",), "each optimizer step takes another part of the batch"),
    "ppo_epochs": Ours(("num_substeps",), "each optimizer step takes another part of the batch"),
    "max_new_tokens": _REPLY,
    "max_completion_length": _REPLY,
    "max_length": _TEXT,
    "max_seq_length": _TEXT,
    "max_prompt_length": _TEXT,
    "max_steps_off_policy": _ASYNC,
    "async_config": _ASYNC,
    "num_turns": Ours(("max_turns",), "tutor turns"),
    # Objective
    "kl_penalty": Ours(("kl_penalty_coef",)),
    "kl_coef": Ours(("kl_penalty_coef",), "the divergence to the teacher, and not to the untrained tutor"),
    "kl_loss_coef": Ours(("kl_penalty_coef",), "the divergence to the teacher, and not to the untrained tutor"),
    "kl_discount": Ours(("kl_discount_factor",)),
    "beta": Ours(
        ("objective.beta", "kl_penalty_coef"),
        "GKD's beta is objective={'kind': 'jensen_shannon', 'beta': 0.5}; a factor on the divergence, as in GRPO, is "
        "kl_penalty_coef, and it weighs the divergence to the teacher",
    ),
    "lmbda": Ours(
        ("recordings.on_policy_fraction",),
        "without recordings every dialogue is played; with them: "
        "recordings={'files': [...], 'on_policy_fraction': 0.5}",
    ),
    "loss_fn_config": Ours(("loss_fn_options",)),
    "epsilon": _CLIP,
    "epsilon_high": _CLIP,
    "clip_range": _CLIP,
    "clip_ratio": _CLIP,
    "loss_type": Ours(("objective", "loss_fn"), "the divergence, and the service's loss function"),
    "reward_funcs": _REWARDS,
    "reward_fn": _REWARDS,
    "reward_weights": Ours(("rewards",), "each reward has its weight: {'kind': 'solved', 'weight': 0.5}"),
    "mask_truncated_completions": Ours(("cut_replies",), "'mask'"),
    "top_p": Ours(("temperature",), "tokens are always drawn from the whole vocabulary"),
    "top_k": Ours(("temperature",), "tokens are always drawn from the whole vocabulary"),
    # Optimizer and length of the run
    "lr": Ours(("learning_rate",)),
    "lr_scheduler_type": _SHAPE,
    "lr_scheduler": _SHAPE,
    "warmup_steps": Ours(("lr_warmup_steps",)),
    "warmup_ratio": Ours(("lr_warmup_steps",), "a number of batches, and not a share of them"),
    "max_grad_norm": Ours(("grad_clip_norm",), "0 does not clip"),
    "adam_epsilon": Ours(("adam_eps",)),
    "num_train_epochs": _EPOCHS,
    "num_epochs": _EPOCHS,
    "total_steps": Ours(("max_steps",), "batches"),
    "num_steps": Ours(("max_steps",), "batches"),
    "random_seed": Ours(("seed",)),
    "data_seed": Ours(("seed",), "one seed for everything"),
    # Directory, saves, evaluation and trackers
    "output_dir": _DIRECTORY,
    "log_dir": _DIRECTORY,
    "logging_dir": Ours(("log_path",), "TensorBoard's files, too, go into log_path"),
    "resume_from_checkpoint": _RESUME,
    "behavior_if_log_dir_exists": _RESUME,
    "overwrite_output_dir": _RESUME,
    "save_steps": Ours(("save_every",), "batches"),
    "save_strategy": Ours(("save_every",), "batches; None saves by save_every_seconds, or only at the end"),
    "save_total_limit": _KEPT,
    "ttl_seconds": _KEPT,
    "eval_steps": Ours(("eval_every",), "batches; eval_seeds says how many seeds are held out for it"),
    "eval_strategy": Ours(("eval_every",), "batches; None does not evaluate"),
    "infrequent_eval_every": Ours(("eval_every",)),
    "logging_steps": Ours(("display",), "every batch is shown, and written to metrics.jsonl"),
    "disable_tqdm": Ours(("display",), "'off'"),
    "report_to": Ours(("trackers",), "'wandb', 'trackio' or 'tensorboard', or a list of these"),
    "wandb_project": _PROJECT,
    "project": _PROJECT,
    "wandb_name": _RUN,
    "run_name": _RUN,
}


def answer(name: str) -> str | None:
    """What to write instead of a foreign name; None if the name is not known.

    >>> answer("save_steps")
    "here it is 'save_every' (batches)"
    """
    if (ours := FOREIGN.get(name)) is None:
        return None
    fields = " and ".join(repr(field) for field in ours.fields)
    return f"here it is {fields}" + (f" ({ours.note})" if ours.note else "")
