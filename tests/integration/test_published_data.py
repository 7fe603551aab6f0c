"""The published files load fully, each answer equal to what an independent reading of the file gives, and train.

`SOCRATIC_DATA` names a folder with `mathdial_sample.jsonl` and `gsm8k_sample.jsonl`: the first 100 rows of
MathDial's test split and the first 200 of GSM8K's, as published.
"""

import json
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.support.rows import read_rows

from socratic_distill import build_socratic_config, load_checkpoints, load_seeds, train
from socratic_distill.dialogues.answers.numbers import same_answer
from socratic_distill.dialogues.recordings import load_recordings

pytestmark = pytest.mark.data

MATHDIAL, MATHDIAL_ROWS = "mathdial_sample.jsonl", 100
GSM8K, GSM8K_ROWS = "gsm8k_sample.jsonl", 200


def published(name: str) -> Path:
    folder = os.environ.get("SOCRATIC_DATA")
    if not folder:
        pytest.fail(f"set SOCRATIC_DATA to a folder that holds {MATHDIAL} and {GSM8K}")
    path = Path(folder) / name
    if not path.is_file():
        pytest.fail(f"SOCRATIC_DATA={folder} holds no {name}")
    return path


def plain(number: str) -> float:
    assert re.fullmatch(r"-?\d[\d,]*(\.\d+)?", number), number
    return float(number.replace(",", ""))


def test_mathdial_loads_fully_with_right_answers():
    path = published(MATHDIAL)
    seeds = load_seeds(path)
    assert len(seeds) == MATHDIAL_ROWS
    for seed, row in zip(seeds, read_rows(path, without=()), strict=True):
        # The last line of both solutions is the bare number, behind one space.
        answer = plain(row["ground_truth"].rpartition("\n ")[2].strip())
        mistake = plain(row["student_incorrect_solution"].rpartition("\n ")[2].strip())
        assert float(seed.expected_answer) == answer, seed.id
        assert same_answer(seed.initial_error or "", str(mistake)), seed.id
        assert answer != mistake, seed.id
        assert seed.question == row["question"].strip()
        assert seed.student_profile == row["student_profile"].strip()
        assert "|EOM|" not in f"{seed}", "the published conversation is no part of a seed"


def test_gsm8k_loads_fully_with_right_answers():
    path = published(GSM8K)
    seeds = load_seeds(path)
    assert len(seeds) == GSM8K_ROWS
    for seed, row in zip(seeds, read_rows(path, without=()), strict=True):
        assert float(seed.expected_answer) == plain(row["answer"].split("#### ")[1]), seed.id
        assert seed.question == row["question"].strip()
        assert seed.initial_error is None and seed.student_profile is None
        assert "<<" not in f"{seed}", seed.id


def test_published_files_load_together():
    both = [(published(GSM8K), 150), (published(MATHDIAL), None)]
    assert len(load_seeds(seeds_files=both)) == 150 + MATHDIAL_ROWS


@pytest.mark.parametrize(("name", "key"), [(GSM8K, "answer"), (MATHDIAL, "ground_truth")])
def test_answers_agree_with_the_last_step_of_the_working(name, key):
    """The line above the marked answer works it out, so it holds the number that was read."""
    path = published(name)
    for seed, row in zip(load_seeds(path), read_rows(path, without=()), strict=True):
        step = re.sub(r"<<.*?>>", "", row[key]).strip().split("\n")[-2]
        results = {float(number) for number in re.findall(r"\d*\.?\d+", step.replace(",", ""))}
        assert float(seed.expected_answer) in results, (seed.id, step)


def test_mathdial_conversations_load_fully():
    path = published(MATHDIAL)
    recordings = load_recordings([path])
    assert [recording.seed for recording in recordings] == list(load_seeds(path))
    for recording, row in zip(recordings, read_rows(path, without=()), strict=True):
        sides = [part.startswith("Teacher: ") for part in row["conversation"].split("|EOM|")]
        changes = sum(one != other for one, other in pairwise(sides))
        # The solution is a turn before the first, which is the teacher's in every published row.
        assert sides[0] and len(recording.turns) == 1 + 1 + changes, recording.id
        assert [turn.role for turn in recording.turns] == ["student", "tutor"] * (len(recording.turns) // 2) + [
            "student"
        ] * (len(recording.turns) % 2), recording.id
        assert recording.turns[0].text == row["student_incorrect_solution"].strip()


def test_mathdial_conversations_keep_every_word_but_marks_and_moves():
    path = published(MATHDIAL)
    for recording, row in zip(load_recordings([path]), read_rows(path, without=()), strict=True):
        bare = re.sub(r"Teacher: \((focus|probing|telling|generic)\)", "", row["conversation"])
        bare = re.sub(r"(^|\|EOM\|)(Student|Mariana|DeAndre|Cody|Ronny): ", " ", bare).replace("|EOM|", " ")
        assert " ".join(turn.text for turn in recording.turns[1:]).split() == bare.split(), recording.id


@pytest.fixture
def long_model(tmp_path):
    """A random Llama with the tiny model's tokenizer, whose context holds every published conversation."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from socratic_distill.local.tiny import MODEL_DIR

    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL_DIR)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=2048,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture(params=["tiny", "long"])
def model(request):
    """The tiny model, whose context is too short for some conversations, and one whose context is not."""
    return "tiny" if request.param == "tiny" else request.getfixturevalue("long_model")


def total(rows, name):
    return sum(row[name] for row in rows)


def test_one_mathdial_file_trains_through_warm_start_and_on_policy_stage(model, tmp_path):
    """The same file is the recordings and the seeds; the tiny tokenizer knows few of its words."""
    pytest.importorskip("peft")
    from safetensors.torch import load_file

    file, warm_path, path = published(MATHDIAL), tmp_path / "warm", tmp_path / "on-policy"
    fields: dict[str, Any] = dict(
        tutor_model_name=model, student_model_name=model, teacher_model_name=model, learning_rate=1e-3, max_tokens=16,
        base_url="local", seeds_file=file, groups_per_batch=20, num_envs=2, max_turns=2, display="off",
    )  # fmt: skip
    warm = train(build_socratic_config(**fields, log_path=warm_path, recordings={"files": [file]}))
    result = train(build_socratic_config(**fields, log_path=path, load_checkpoint_path=warm_path, max_steps=2))

    rows, dialogues = (read_rows(warm_path / name) for name in ("metrics.jsonl", "dialogues.jsonl"))
    assert warm.steps == len(rows) == MATHDIAL_ROWS / 20, "one pass over the recordings"
    assert {row["recording"] for row in dialogues} == {one.id for one in load_recordings([file])}
    assert total(rows, "datums") == total(rows, "dialogues/recorded") == MATHDIAL_ROWS
    cut = total(rows, "end/context")
    assert total(rows, "end/recorded") + cut == MATHDIAL_ROWS and (0 < cut < 20 if model == "tiny" else cut == 0)
    losses = [row["service/loss:sum"] / row["tokens/tutor"] for row in rows]
    assert losses[-1] < losses[0]

    assert json.loads((path / "origin.json").read_text()) == {"given": str(warm_path), "resolved": warm.state_path}
    begun = load_checkpoints(path)[0]
    assert (begun.batch, begun.version) == (0, 0)
    first, last = (
        load_file(Path(str(one)) / "adapter_model.safetensors") for one in (begun.sampler_path, warm.sampler_path)
    )
    assert all((first[key] == last[key]).all() for key in first.keys() | last.keys())
    rows, dialogues = (read_rows(path / name) for name in ("metrics.jsonl", "dialogues.jsonl"))
    assert result.steps == len(rows) == 2
    assert {row["seed"] for row in dialogues} <= {seed.id for seed in load_seeds(file)}
    spoken = [row for row in dialogues if len(row["turns"]) > 1]
    assert total(rows, "dialogues") == len(dialogues) == 2 * 20 * 2
    assert total(rows, "datums") == len(spoken) > 70
    assert total(rows, "end/failed") == 0
