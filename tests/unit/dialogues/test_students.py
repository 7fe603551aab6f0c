from collections import Counter
from typing import Any

import pytest

from socratic_distill import ConfigError, Seed, Student
from socratic_distill.dialogues.prompts import load_prompts
from socratic_distill.dialogues.students import SimulatedStudent, Students, own_profile, own_prompts

SEED = Seed("s", "What is 5 + 7?", "12", student_profile="You are in third grade.")


def students(make_config, *shares: float, seed: int = 0) -> Students:
    prompts: Any = load_prompts(make_config())
    speaker: Any = None
    return Students(
        {str(i): SimulatedStudent(speaker, prompts, "", str(i), share) for i, share in enumerate(shares)}, seed
    )


def draws(group: Students, count: int) -> list[str]:
    seeds = [Seed(f"s{i}", "?", "1") for i in range(count // 40)]
    return [group.draw(step, seed, number).name for step in range(10) for seed in seeds for number in range(4)]


def test_students_are_drawn_by_their_shares_and_alike_each_time(make_config):
    drawn = draws(students(make_config, 0.3, 0.7), 20_000)
    assert drawn == draws(students(make_config, 3, 7), 20_000), "shares are relative"
    # Five standard deviations of the share of 20,000 draws are 0.016.
    assert Counter(drawn)["0"] / len(drawn) == pytest.approx(0.3, abs=0.016)
    assert drawn != draws(students(make_config, 0.3, 0.7, seed=1), 20_000)


def test_the_only_student_has_every_dialogue(make_config):
    assert set(draws(students(make_config, 0.1), 400)) == {"0"}


def test_an_own_profile_comes_before_the_seeds(make_config):
    prompts, speaker = load_prompts(make_config()), None
    plain: Any = SimulatedStudent(speaker, prompts, "curious")  # pyright: ignore[reportArgumentType]
    assert plain.seed(SEED) is SEED
    assert Students({}).members == {}
    named: Any = SimulatedStudent(speaker, prompts, "curious", "x", 1.0, "You guess.")  # pyright: ignore[reportArgumentType]
    assert named.seed(SEED).student_profile == "You guess."


@pytest.mark.parametrize("name", ["careless", "guesser", "confident_misconception", "gives_up", "asks_for_the_answer"])
def test_packaged_personas_are_profiles(name):
    text = own_profile(Student(name="x", persona=name)) or ""
    assert text.startswith("You ") and "{" not in text and len(text.split()) > 30


def test_a_profile_may_be_a_file(tmp_path):
    path = tmp_path / "who.txt"
    path.write_text(" You are Ada.\n")
    assert own_profile(Student(name="x", profile_file=path)) == "You are Ada."
    path.write_text(" \n")
    with pytest.raises(ConfigError, match="is empty"):
        own_profile(Student(name="x", profile_file=path))
    with pytest.raises(ConfigError, match="cannot be read"):
        own_profile(Student(name="x", profile_file=tmp_path / "nobody.txt"))


def test_a_student_may_have_a_prompt_of_its_own(make_config, tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text("You learn {subject}: {question}")
    config = make_config(subject="chemistry")
    prompts = own_prompts(Student(name="x", prompt_file=path), load_prompts(config), config)
    assert prompts.for_student(SEED, "") == "You learn chemistry: What is 5 + 7?"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"persona": "guesser", "profile": "You guess."}, "has persona and profile; keep one"),
        ({"endpoint": {"base_url": "http://a/v1"}}, "give its model_name there"),
        ({"endpoint": {"base_url": "http://a/v1"}, "model_name": "m", "reasoning": "off"}, "renders the chat template"),
        ({"endpoint": {"base_url": "ftp://a"}, "model_name": "m"}, "base_url"),
        ({"endpoint": {"base_url": "http://a", "api_key_variable": "TINKER_API_KEY"}, "model_name": "m"}, "api_key"),
        ({"endpoint": {"base_url": "http://a", "api_key_variable": "SOCRATIC_x"}, "model_name": "m"}, "api_key"),
        ({"share": 0.0}, "share"),
    ],
)
def test_a_student_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        Student(name="x", **fields)


def test_two_students_of_one_name_are_refused(make_config):
    with pytest.raises(ConfigError, match="students holds the name 'x' more than once"):
        make_config(students=[{"name": "x"}, {"name": "x"}])
