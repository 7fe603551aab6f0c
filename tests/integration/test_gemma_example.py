"""The parts of `examples/gemma.py` that need no model: its file, its template, its configs and its problems."""

import hashlib
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from examples import gemma
from examples.gemma import heldout, joined, parse_arguments, part, tutor_config, warm_config
from transformers import AutoTokenizer

from socratic_distill import Supervised, load_seeds
from socratic_distill.evaluation.comparison import evaluation_seeds
from socratic_distill.local.tiny import MODEL_DIR

SHA256 = hashlib.sha256(b"one two three").hexdigest()


@pytest.fixture
def parts(tmp_path):
    paths = [tmp_path / f"part{number}" for number in (1, 2, 3)]
    for path, content in zip(paths, (b"one ", b"two ", b"three"), strict=True):
        path.write_bytes(content)
    return paths


def test_parts_are_joined_in_order_and_once(parts, tmp_path):
    target = tmp_path / "cache" / "model.gguf"
    assert joined(parts, target, SHA256).read_bytes() == b"one two three"
    for path in parts:
        path.unlink()
    assert joined(parts, target, SHA256) == target, "the second start needs no parts"


def test_wrong_parts_are_refused_and_leave_nothing(parts, tmp_path):
    target = tmp_path / "cache" / "model.gguf"
    with pytest.raises(SystemExit, match=rf"not {SHA256}\. Reinstall"):
        joined(parts[::-1], target, SHA256)
    assert not list(target.parent.iterdir())


def test_missing_package_is_named_with_what_installs_it():
    with pytest.raises(SystemExit, match=r"no_such_part is not installed. Run `make gemma`"):
        part("no_such_part")


def test_template_writes_gemmas_turns():
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR, bos_token="<bos>", eos_token="<eos>")
    messages = [
        {"role": "system", "content": "Be a tutor."},
        {"role": "user", "content": "4 + 5 = 8\n"},
        {"role": "assistant", "content": "Why?"},
        {"role": "user", "content": "I counted."},
    ]
    template = (Path(gemma.__file__).parent / "gemma_turns.jinja").read_text()
    written = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    assert written == (
        "<bos><start_of_turn>user\nBe a tutor.\n\n4 + 5 = 8\n<eos>\n"
        "<start_of_turn>model\nWhy?<eos>\n"
        "<start_of_turn>user\nI counted.<eos>\n<start_of_turn>model\n"
    )


def test_first_stage_is_supervised_and_the_second_starts_from_it(tmp_path):
    warm = warm_config("model.gguf", tmp_path / "warm", 12)
    assert warm.recordings is not None and not warm.plays_dialogues
    assert isinstance(warm.recordings.objective, Supervised)
    tutor = tutor_config("model.gguf", tmp_path, "weights", parse_arguments([]))
    assert tutor.load_checkpoint_path == warm.log_path and tutor.teacher_checkpoint_path == "weights"
    assert warm.tutor_prompt_file is not None, "the Socratic prompt, which the tutor learns to do without"
    assert tutor.tutor_prompt_file is None
    assert {tutor.tutor_chat_template_file, tutor.student_chat_template_file, tutor.teacher_chat_template_file} == {
        str(Path(gemma.__file__).parent / "gemma_turns.jinja")
    }


def test_held_out_problems_are_of_all_kinds():
    seeds = heldout(parse_arguments([]))
    seeds = heldout(parse_arguments([]))
    assert seeds is not None and len({seed.question for seed in seeds}) == 30
    everything = load_seeds(gemma.DATA / "tutoring_heldout.jsonl")
    positions = [everything.index(seed) for seed in seeds]
    assert max(b - a for a, b in pairwise(positions)) <= 3 and max(positions) >= len(everything) - 3, (
        "the file is sorted by kind, so the problems come from all of it"
    )
    assert heldout(parse_arguments(["--heldout", "1000"])) == everything


def test_file_of_mathdial_replaces_the_problems_and_is_split(tmp_path):
    data = Path(__file__).parents[1] / "data_samples" / "mathdial_like.jsonl"
    arguments = parse_arguments(["--data", str(data), "--heldout", "2"])
    config = tutor_config("model.gguf", tmp_path, "weights", arguments)
    assert heldout(arguments) is None, "the config holds problems out"
    held = {seed.question for seed in evaluation_seeds(config)}
    assert config.seeds_file == str(data) and len(held) in (1, 2)
