"""The card of an export: what it says of a run, and that nothing in a run's files gets out of its place."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from socratic_distill.outputs.exports.card import CARD, code, fenced, write_card

HOSTILE = "x`|<script>alert(1)</script>\n---\nlicense: mit\n```\n# Owned\x1b[2J\u202e"


def split(directory: Path) -> tuple[dict, str]:
    """The fields for the hub, and the text."""
    match = re.fullmatch(r"---\n(.*?)\n---\n(.*)", (directory / CARD).read_text(encoding="utf-8"), re.S)
    assert match is not None
    fields = dict(line.split(": ", 1) for line in match[1].splitlines())
    return {name: json.loads(value) for name, value in fields.items()}, match[2]


def test_weights_alone_have_a_card_of_what_is_known(tmp_path):
    write_card(tmp_path, "merged", "HuggingFaceTB/SmolLM2-135M-Instruct")
    fields, text = split(tmp_path)
    assert fields == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "base_model_relation": "finetune",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["socratic-distill", "tutoring", "distillation"],
    }
    assert "AutoModelForCausalLM.from_pretrained" in text and "## Measures" not in text
    write_card(tmp_path, "adapter", "/home/ada/secret-place/model")
    fields, text = split(tmp_path)
    assert "base_model" not in fields and fields["library_name"] == "peft"
    assert "`model`" in text and "secret-place" not in text


def test_the_card_of_a_run(whole_run, tmp_path):
    run = whole_run(eval_every=2, eval_seeds=2)
    write_card(tmp_path, "merged", "small", run, batch=4)
    _, text = split(tmp_path)
    assert "| Teacher | `small`, with the packaged Socratic prompt |" in text
    assert "| Student | `pupil` |" in text and "| Problems | `seeds.jsonl` |" in text and "| Steps | 4 |" in text
    assert "on-policy distillation" in text and "{question}" in text
    assert str(run) not in text and str(Path.home()) not in text
    assert "| measure | before training | after 4 steps |" in text
    assert re.search(r"^\| `leaks` \| [\d.]+ \[[\d.]+, [\d.]+\] \|", text, re.M)


def write_run(directory: Path, **config: object) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def test_a_strangers_texts_stay_code_and_secrets_stay_out(tmp_path):
    run = write_run(
        tmp_path / "run",
        teacher_model_name=HOSTILE,
        student_model_name="https://user:pass@host.example/v1/pupil?key=tml-secret",
        seeds_file="C:\\Users\\ada\\seeds.jsonl",
        base_url="https://user:pass@host.example",
        lora_rank=HOSTILE,
        objective={"kind": HOSTILE},
        teachers=[{"model_name": HOSTILE, "prompt_file": "/home/ada/p.txt"}, 3, None],
        seeds_files=[{"path": ["a"]}, {"path": "/home/ada/more.jsonl"}],
        students=[{"model_name": HOSTILE, "endpoint": {"base_url": "https://user:pass@host.example"}}],
    )
    write_card(tmp_path, "merged", HOSTILE, run)
    fields, text = split(tmp_path)
    assert set(fields) == {"library_name", "pipeline_tag", "tags"}
    for secret in ("pass@", "tml-secret", "Users", "/home/ada", "host.example", "\x1b", "\u202e"):
        assert secret not in text
    outside = re.sub(r"`[^`\n]*`", "", text)
    assert "<script>" not in outside and "\n# Owned" not in text and "license" not in outside


@pytest.mark.parametrize("config", ["", "[]", "{", '{"objective": 3, "teachers": {"a": 1}, "seeds_files": 7}'])
def test_a_damaged_config_leaves_a_card(tmp_path, config):
    run = write_run(tmp_path / "run")
    (run / "config.json").write_text(config)
    write_card(tmp_path, "adapter", "tiny", run)
    assert "| Base model | `tiny` |" in split(tmp_path)[1]


@given(st.text())
def test_no_text_leaves_its_code(text):
    line = code(text)
    assert "\n" not in line and (line == "" or re.fullmatch(r"`[^`]*`", line))
    assert not re.search(r"(?<!\\)\|", line)
    first, *inside, last = fenced(text).split("\n")
    assert first == last and set(first) == {"`"}
    assert not any(part.strip().startswith(first) for part in inside)


@given(st.text(), st.text())
def test_any_names_give_a_card_that_the_hub_can_read(tmp_path_factory, base, teacher):
    directory = tmp_path_factory.mktemp("card")
    run = write_run(directory / "run", teacher_model_name=teacher)
    write_card(directory, "merged", base, run)
    fields, _ = split(directory)
    assert fields["library_name"] == "transformers"
