"""The model card of an export, README.md: what the tutor was trained from and with, its measures, and how to load it.

A run's files may come from a stranger. What they hold stands in the card as code, so that it is neither Markdown nor
HTML. Of paths only the last part stands there, and neither servers nor keys do.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from socratic_distill.config.config import SocraticConfig
from socratic_distill.dialogues.prompts import load_prompts
from socratic_distill.errors import SocraticError, StorageError
from socratic_distill.evaluation.definitions import definition_of
from socratic_distill.evaluation.intervals import Measure
from socratic_distill.evaluation.stored import StoredEvaluation, load_evaluations
from socratic_distill.files.durable import write_atomically
from socratic_distill.files.rows import read_object
from socratic_distill.run.directory import config_of
from socratic_distill.run.layout import config_file
from socratic_distill.text import shown

CARD = "README.md"
Form = Literal["merged", "adapter"]
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_MOST_NAME, _MOST_PROMPT = 200, 20_000  # characters
_OBJECTIVES = {
    "sampled_reverse_kl": "on-policy distillation: each token that the tutor said is rewarded by how much likelier the "
    "teacher finds it (reverse KL on sampled tokens)",
    "reverse_kl": "on-policy distillation: reverse KL to the teacher over the likeliest tokens at each position",
    "forward_kl": "on-policy distillation: forward KL, the teacher's likeliest tokens at each position are imitated",
    "jensen_shannon": "on-policy distillation: Jensen-Shannon divergence between tutor and teacher",
    "monte_carlo_kl": "on-policy distillation: KL to the teacher over tokens that were drawn at each position",
    "control_shuffled_teacher": "a control: the teacher's scores were shuffled",
    "control_constant_advantage": "a control: every token got the same negative advantage",
    "custom": "an objective of the user's own",
    "supervised": "supervised learning on recorded dialogues",
    "mixture": "a mixture of objectives",
}
# What a reader asks first; an evaluation has many more.
_MEASURES = (
    "leaks", "solved", "solved/untold", "first_reply/asks", "first_reply/tells", "asks", "reply_tokens", "teacher_kl",
)  # fmt: skip


def write_card(
    directory: Path,
    form: Form,
    base_model: str,
    source: str | os.PathLike[str] | None = None,
    *,
    batch: int | None = None,
    allow_files: bool = False,
) -> None:
    """Writes README.md into an exported directory.

    Args:
        directory: the export.
        form: whether it is a model or an adapter.
        base_model: name or path of the base model.
        source: directory of the run, or its URL. None: weights alone, of which the run is not known.
        batch: batches that the run had finished when the weights were saved; None if that is unknown.
        allow_files: whether prompts in files outside `source` may be read.

    Raises:
        StorageError: the file cannot be written.
    """
    run = {} if source is None else _stored_config(Path(os.fspath(source)))
    evaluations, prompt = ([], None) if source is None else (_evaluations(source, batch), _prompt(source, allow_files))
    sections = [
        _front(form, base_model),
        "# A tutor that asks\n\n"
        + ("A LoRA adapter" if form == "adapter" else "A language model")
        + " that was trained to tutor: it asks a student questions, and leaves the answer to the student. Trained with "
        f"socratic-distill {_version()}.",
        _facts(run, base_model, batch),
        _measures(evaluations),
        _loading(form, base_model, directory),
        _prompt_section(prompt),
    ]
    write_atomically(directory / CARD, "\n\n".join(section for section in sections if section) + "\n")


def _front(form: Form, base_model: str) -> str:
    """What the hub reads. Values are JSON, which is YAML too."""
    fields: dict[str, Any] = {
        "library_name": "peft" if form == "adapter" else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["socratic-distill", "tutoring", "distillation", *(["lora"] if form == "adapter" else [])],
    }
    if _HUB_NAME.fullmatch(base_model) and not os.path.exists(base_model):
        fields = {
            "base_model": base_model,
            "base_model_relation": "adapter" if form == "adapter" else "finetune",
        } | fields
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in fields.items()), "---"])


def _facts(run: Mapping[str, Any], base_model: str, batch: int | None) -> str:
    objective = run.get("objective")
    kind = objective.get("kind") if isinstance(objective, dict) else None
    seeds = [run.get("seeds_file"), *(entry.get("path") for entry in _objects(run.get("seeds_files")))]
    students = [
        run.get("student_model_name"),
        *(student.get("model_name") for student in _objects(run.get("students"))),
    ]
    rows = {
        "Base model": code(_name(base_model)),
        "Teacher": ", ".join(_teachers(run)),
        "Student": _names(*students),
        "Problems": _names(*seeds),
        "Objective": _OBJECTIVES.get(kind, code(kind)) if isinstance(kind, str) else "",
        "Steps": "" if batch is None else str(batch),
        "LoRA rank": code(run["lora_rank"]) if "lora_rank" in run else "",
        "Subject": _names(run.get("subject")),
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items() if value]
    return "\n".join(["## How it was made", "", "| | |", "|---|---|", *lines])


def _teachers(run: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(name := run.get("teacher_model_name"), str):
        yield f"{code(_name(name))}, {_prompt_kind(run.get('teacher_prompt_file'))}"
    for teacher in _objects(run.get("teachers")):
        if isinstance(name := teacher.get("model_name"), str):
            yield f"{code(_name(name))}, {_prompt_kind(teacher.get('prompt_file'))}"


def _prompt_kind(file: object) -> str:
    return f"with the prompt {code(_name(file))}" if isinstance(file, str) else "with the packaged Socratic prompt"


def _measures(evaluations: list[StoredEvaluation]) -> str:
    """The first and the last evaluation side by side, with 95 % intervals."""
    if not evaluations:
        return ""
    columns = evaluations[:1] if len(evaluations) == 1 else [evaluations[0], evaluations[-1]]
    heads = [f"after {evaluation.batch} steps" if evaluation.batch else "before training" for evaluation in columns]
    lines = [f"| measure | {' | '.join(heads)} |", f"|---|{'---|' * len(columns)}"]
    notes = []
    for name in _MEASURES:
        cells = [_cell(evaluation.measures.get(name)) for evaluation in columns]
        if any(cells):
            lines.append(f"| `{name}` | {' | '.join(cell or '–' for cell in cells)} |")
            definition = definition_of(name)
            notes += [f"- `{name}`: {definition.description}"] if definition is not None else []
    if not notes:
        return ""
    count = max(
        (
            evaluation.measures[name].count
            for evaluation in columns
            for name in _MEASURES
            if name in evaluation.measures
        ),
        default=0,
    )
    about = (
        f"Means with 95 % intervals in brackets, over up to {count} values, on problems that were held out of training."
    )
    return "\n".join(["## Measures", "", about, "", *lines, "", *notes])


def _cell(measure: Measure | None) -> str:
    if measure is None or measure.value is None:
        return ""
    if measure.low is None or measure.high is None:
        return f"{measure.value:.3g}"
    return f"{measure.value:.3g} [{measure.low:.3g}, {measure.high:.3g}]"


def _loading(form: Form, base_model: str, directory: Path) -> str:
    if form == "merged":
        lines = [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'model = AutoModelForCausalLM.from_pretrained("DIRECTORY_OR_REPOSITORY")',
            'tokenizer = AutoTokenizer.from_pretrained("DIRECTORY_OR_REPOSITORY")',
        ]
    else:
        lines = [
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM",
            "",
            f"base = AutoModelForCausalLM.from_pretrained({json.dumps(_name(base_model))})",
            'model = PeftModel.from_pretrained(base, "DIRECTORY_OR_REPOSITORY")',
        ]
    return f"## How to load it\n\n{fenced(chr(10).join(lines), 'python')}"


def _prompt_section(prompt: str | None) -> str:
    if prompt is None:
        return ""
    return (
        "## Its system prompt\n\nIt was trained with this system prompt, and needs it. `{question}` is the student's "
        f"problem.\n\n{fenced(prompt[:_MOST_PROMPT])}"
    )


def code(text: object) -> str:
    """A text as code in a line or a table, whatever it holds."""
    plain = shown(text, one_line=True)[:_MOST_NAME].replace("`", "'").replace("|", "\\|").strip()
    return f"`{plain}`" if plain else ""


def fenced(text: str, language: str = "") -> str:
    """A text as a block of code, whatever it holds."""
    plain = shown(text)
    longest = max(map(len, re.findall("`+", plain)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{plain}\n{fence}"


def _name(text: str) -> str:
    """A name without the directories or the server before it; a hub's name is whole."""
    if "://" in text:
        return Path(urlsplit(text).path).name
    is_path = text.startswith(("/", "~", ".")) or "\\" in text or text.count("/") > 1
    return re.split(r"[\\/]", text.rstrip("\\/"))[-1] if is_path else text


def _names(*values: object) -> str:
    names = dict.fromkeys(code(_name(value)) for value in values if isinstance(value, str) and value)
    return ", ".join(name for name in names if name)


def _objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _stored_config(directory: Path) -> Mapping[str, Any]:
    """The run's config as it is stored; it may be one that this version does not take."""
    try:
        return read_object(config_file(directory), StorageError, "the card leaves it out", lenient=True) or {}
    except StorageError:
        return {}


def _evaluations(source: str | os.PathLike[str], batch: int | None) -> list[StoredEvaluation]:
    """Those up to the weights, the oldest first, without failed ones."""
    try:
        stored = load_evaluations(source)
    except SocraticError:
        return []
    return [evaluation for evaluation in stored if evaluation.measures and (batch is None or evaluation.batch <= batch)]


def _prompt(source: str | os.PathLike[str], allow_files: bool) -> str | None:
    """The tutor's prompt, if the run's config lets it be read."""
    try:
        config: SocraticConfig = config_of(source, allow_files=allow_files)
        return load_prompts(config).tutor
    except SocraticError:
        return None


def _version() -> str:
    try:
        return version("socratic-distill")
    except PackageNotFoundError:
        return "(version unknown)"
