"""A base model without a chat template, and templates from files: the same contexts, kept and compared as content."""

import json
import shutil

import pytest
from tests.support.tiny_runs import tiny_config

pytest.importorskip("torch")
pytest.importorskip("peft")

from socratic_distill import ConfigDrift, ConfigError, RenderingError, UntrustedConfig, train
from socratic_distill.cli import main
from socratic_distill.local.sampling_client import LocalSamplingClient
from socratic_distill.local.tiny import MODEL_DIR
from socratic_distill.run.directory import load_config

ROLES = ("tutor", "student", "teacher")
TEXT = (MODEL_DIR / "chat_template.jinja").read_text()
SMALL = {"max_steps": 1, "groups_per_batch": 2}


@pytest.fixture
def base(tmp_path):
    """The packaged model without its template."""
    directory = tmp_path / "base"
    shutil.copytree(MODEL_DIR, directory, ignore=shutil.ignore_patterns("*.jinja", "*.py", "__pycache__"))
    return directory


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "template.jinja"
    path.write_text(TEXT)
    return path


def talks(path):
    rows = [json.loads(line) for line in (path / "dialogues.jsonl").read_text().splitlines()]
    return [[(turn["role"], turn["text"]) for turn in row["turns"]] for row in rows]


def test_a_base_model_plays_as_the_model_with_its_own_template(tmp_path, base, template):
    names = {f"{role}_model_name": str(base) for role in ROLES}
    files = {f"{role}_chat_template_file": template for role in ROLES}
    train(tiny_config(tmp_path / "own", **SMALL))
    train(tiny_config(tmp_path / "files", **SMALL, **names, **files))
    assert talks(tmp_path / "own") == talks(tmp_path / "files")
    with pytest.raises(RenderingError, match=r"no chat template.*give a template \(tutor_chat_template_file"):
        train(tiny_config(tmp_path / "none", **SMALL, **names))


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_its_own(tmp_path, template, monkeypatch, role):
    marked = tmp_path / "marked.jinja"
    marked.write_text("buttons buttons " + TEXT)
    sent: dict[str, set[bool]] = {other: set() for other in ROLES}
    right = LocalSamplingClient.sample

    def sample(self, prompt, *args, **options):
        text = self.get_tokenizer().decode(prompt.to_ints())
        whose = (
            "teacher" if options.get("include_prompt_logprobs") else "student" if "a student who" in text else "tutor"
        )
        sent[whose].add(text.startswith("buttons"))
        return right(self, prompt, *args, **options)

    monkeypatch.setattr(LocalSamplingClient, "sample", sample)
    files = {f"{other}_chat_template_file": marked if other == role else template for other in ROLES}
    train(tiny_config(tmp_path / "run", **SMALL, **files))
    assert sent == {other: {other == role} for other in ROLES}


def test_a_changed_template_is_another_run(tmp_path, template):
    config = tiny_config(tmp_path / "run", tutor_chat_template_file=template, **SMALL)
    train(config)
    moved = tmp_path / "moved.jinja"
    template.rename(moved)
    again = tiny_config(tmp_path / "run", tutor_chat_template_file=moved, **SMALL | {"max_steps": 2})
    assert train(again).steps == 2
    moved.write_text(TEXT + " ")
    with pytest.raises(ConfigDrift, match="tutor_chat_template_file"):
        train(again)


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        (None, ConfigError, "cannot be read"),
        (b"\xff", ConfigError, "cannot be read"),
        (b"{% for", ConfigError, "is no template in jinja"),
        (b"nothing of the messages", RenderingError, "does not keep every reply"),
        (b"{{ cycler.__init__.__globals__.os.system('touch owned') }}", RenderingError, "cannot render"),
    ],
)
def test_what_is_no_template_is_refused_before_anything_is_played(tmp_path, template, text, error, told, monkeypatch):
    monkeypatch.chdir(tmp_path)
    template.unlink() if text is None else template.write_bytes(text)
    with pytest.raises(error, match=told):
        train(tiny_config(tmp_path / "run", tutor_chat_template_file=template, **SMALL))
    assert not (tmp_path / "run" / "dialogues.jsonl").exists() and not (tmp_path / "owned").exists()


def test_a_strangers_run_reads_no_template_elsewhere(tmp_path, template, capsys):
    train(tiny_config(tmp_path / "run", tutor_chat_template_file=template, **SMALL))
    with pytest.raises(UntrustedConfig, match="tutor_chat_template_file"):
        train(load_config(tmp_path / "run"))
    assert main(["chat", str(tmp_path / "run"), "--question", "1 + 1?"]) == 1
    assert "tutor_chat_template_file" in capsys.readouterr().err
