import pytest

from socratic_distill import cli
from socratic_distill.config.known_servers import known_servers

FIELDS = """\
tutor_model_name: a
student_model_name: b
teacher_model_name: a
learning_rate: 1e-5
max_tokens: 40
log_path: run
max_steps: 3
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(FIELDS)
    return "c.yaml"


def test_overrides_and_options_come_in_any_order(file, capsys):
    assert cli.main(["cost", file, "max_steps=5", "--allow-files", "eval_seeds=2", "eval_every=1"]) == 0
    assert "5 steps and 6 evaluations are left" in capsys.readouterr().out
    assert cli.main(["cost", "--allow-files", file]) == 0
    assert "3 steps" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["train", "check", "cost"])
def test_problems_of_a_file_are_one_message(file, capsys, command):
    assert cli.main([command, file, "max_steps=x", "sede=1"]) == 1
    error = capsys.readouterr().err
    assert "override 'max_steps=x'" in error
    assert "did you mean 'seed'?" in error


def test_help_and_wrong_usage_after_the_config(file, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", file, "--help"])
    assert ended.value.code == 0
    assert "CONFIG [key=value" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", file, "--no-such\x1b"])
    assert ended.value.code == 2
    assert "\x1b" not in capsys.readouterr().err


def test_train_takes_no_script_and_cost_does(tmp_path, capsys):
    script = tmp_path / "s.py"
    script.write_text(
        "import sys\nfrom socratic_distill import build_socratic_config, train\n"
        "train(build_socratic_config('a', 'b', 'a', 1e-5, 40, 'run', max_steps=int(sys.argv[1])))\n"
    )
    assert cli.main(["train", str(script)]) == 1
    assert "is a Python script; run it with python" in capsys.readouterr().err
    assert cli.main(["cost", str(script), "7"]) == 0
    assert "7 steps" in capsys.readouterr().out


def test_config_that_is_not_there_is_an_error_of_ours(tmp_path, capsys):
    assert cli.main(["train", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml does not exist; expected a config file" in capsys.readouterr().err


def test_server_of_a_file_needs_a_word_and_of_an_override_is_kept(file, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(FIELDS + "base_url: http://127.0.0.1:9\n")
    assert cli.main(["check", file]) == 1
    assert "UntrustedConfig" in capsys.readouterr().err
    cli.main(["check", file, "base_url=http://127.0.0.1:9"])
    assert "UntrustedConfig" not in capsys.readouterr().err
    assert known_servers() == {"http://127.0.0.1:9"}
