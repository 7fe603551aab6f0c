from dataclasses import replace

import pytest

from socratic_distill import ConfigError, Seed
from socratic_distill.dialogues.prompts import Prompts, check_prompts, load_prompts

SEED = Seed("s", r"What is \frac{1}{2} of 24?", "12", initial_error="24 + 2 = 26")


def test_packaged_prompts_show_each_role_what_it_may_know(make_config):
    prompts = load_prompts(make_config())
    tutor, teacher = prompts.for_tutor(SEED), prompts.for_teacher(SEED, "shy")
    student = prompts.for_student(SEED, "You are shy.")
    assert all(r"\frac{1}{2} of 24" in text for text in (tutor, teacher, student))
    assert "12" not in tutor + teacher + student, "the answer is private"
    assert "26" in student and "26" not in tutor + teacher
    assert "You are shy." in student and "Socratic" in teacher and "Socratic" not in tutor


def test_teacher_sees_answer_and_mistake_only_when_told_to(make_config):
    text = load_prompts(make_config(teacher_sees_answer=True)).for_teacher(SEED, "shy")
    assert "12" in text and "26" in text


def test_seeds_own_profile_comes_before_the_configs(make_config):
    seed = Seed("s", "q", "1", "e", student_profile="You are bold.")
    text = load_prompts(make_config()).for_student(seed, "You are shy.")
    assert "You are bold." in text and "shy" not in text


def test_own_prompt_file_is_used(make_config, tmp_path):
    path = tmp_path / "teacher.txt"
    path.write_text("Ask about {question} for {initial_error}.\n")
    text = load_prompts(make_config(teacher_prompt_file=path)).for_teacher(SEED, "p")
    assert text == r"Ask about What is \frac{1}{2} of 24? for 24 + 2 = 26."


@pytest.mark.parametrize(
    ("field", "content", "said"),
    [
        ("tutor_prompt_file", "{expected_answer}", "must not see"),
        ("student_prompt_file", "{expected_answer}", "must not see"),
        ("tutor_prompt_file", "{hint}", "the tutor's prompt uses {hint}, which .* must not see; use one of question"),
        ("student_prompt_file", "{hint}", "the student's prompt uses {hint}, which .* must not see"),
        ("tutor_prompt_file", "{initial_error}", "must not see"),
    ],
)
def test_prompt_with_a_wrong_field_is_refused_before_any_request(make_config, tmp_path, field, content, said):
    path = tmp_path / "prompt.txt"
    path.write_text(content)
    with pytest.raises(ConfigError, match=said):
        load_prompts(make_config(**{field: path}))


def test_missing_prompt_file_is_named(make_config):
    with pytest.raises(ConfigError, match=r"no/such\.txt"):
        load_prompts(make_config(tutor_prompt_file="no/such.txt"))


HINTED = replace(SEED, fields=(("hint", "Halve {it}."), ("steps", "1")))


@pytest.fixture
def write_prompt(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def prompts_of(**teachers: str) -> Prompts:
    return Prompts("T {question}", teachers, "S {initial_error}", "A {student_profile}", "Go.")


def test_teacher_sees_the_seeds_own_fields(make_config, write_prompt):
    path = write_prompt("teacher.txt", "Hint for {expected_answer}: {hint} In {steps} step.")
    prompts = load_prompts(make_config(teacher_prompt_file=path))
    check_prompts(prompts, [HINTED], "shy", {"s": ("teacher",)})
    assert prompts.for_teacher(HINTED, "shy") == "Hint for 12: Halve {it}. In 1 step.", "what is filled in stays as is"


def test_each_teacher_has_a_prompt_of_its_own(make_config, write_prompt):
    shared, own = write_prompt("shared.txt", "Ask."), write_prompt("own.txt", "Hint: {hint}")
    teachers = [
        {"name": "plain"},
        {"name": "seeing", "sees_answer": True},
        {"name": "hinting", "prompt_file": own, "sees_answer": False},
    ]
    prompts = load_prompts(make_config(teacher_prompt_file=shared, teachers=teachers))
    assert list(prompts.teachers) == ["plain", "seeing", "hinting"]
    assert prompts.for_teacher(HINTED, "shy", "plain") == "Ask."
    seeing = prompts.for_teacher(HINTED, "shy", "seeing")
    assert seeing.startswith("Ask.\n\nKnown only to you.") and "12" in seeing and "26" in seeing
    assert prompts.for_teacher(HINTED, "shy", "hinting") == "Hint: Halve {it}."


def test_teacher_may_be_kept_from_the_answer_against_the_config(make_config):
    teachers = [{"name": "blind", "sees_answer": False}, {"name": "as_config"}]
    prompts = load_prompts(make_config(teacher_sees_answer=True, teachers=teachers))
    assert "{expected_answer}" not in prompts.teachers["blind"] and "{expected_answer}" in prompts.teachers["as_config"]


def test_field_that_a_seed_lacks_is_named_with_prompt_seed_and_its_fields():
    seeds = [HINTED, replace(HINTED, id="other", fields=(("steps", "2"),))]
    prompts = prompts_of(one="{question} {hint}")
    with pytest.raises(ConfigError) as caught:
        check_prompts(prompts, seeds, "shy", {"s": ("one",), "other": ("one",)})
    said = str(caught.value)
    assert said.startswith(
        "teacher 'one' on seed 'other': the prompt uses {hint}, but its reader may see no such field"
    )
    assert "the fields are question, expected_answer, initial_error, student_profile, steps." in said
    assert "Correct the prompt, or add the field" in said


def test_teacher_needs_the_fields_of_its_own_seeds_alone():
    seeds = [HINTED, replace(SEED, id="plain")]
    prompts = prompts_of(hinting="{hint}", plain="{question}")
    check_prompts(prompts, seeds, "shy", {"s": ("hinting", "plain"), "plain": ("plain",)})
    with pytest.raises(ConfigError, match="'hinting' on seed 'plain'"):
        check_prompts(prompts, seeds, "shy", {"s": ("plain",), "plain": ("plain", "hinting")})


@pytest.mark.parametrize("prompt", ["tutor", "student", "student_attempt"])
def test_check_prompts_refuses_private_fields_of_tutor_and_student(prompt):
    prompts = replace(prompts_of(teacher="{hint}"), **{prompt: "{hint}"})
    with pytest.raises(ConfigError, match=r"must not see; use one of"):
        check_prompts(prompts, [HINTED], "shy", {"s": ("teacher",)})


def test_check_prompts_finds_one_seed_of_thousands_without_a_field():
    seeds = [replace(HINTED, id=str(index)) for index in range(10_000)]
    seeds[9_999] = replace(SEED, id="9999")
    with pytest.raises(ConfigError, match="seed '9999'"):
        check_prompts(prompts_of(teacher="{hint}"), seeds, "shy", {seed.id: ("teacher",) for seed in seeds})


def test_misspelt_field_of_a_teacher_is_found_before_any_request(make_config, write_prompt):
    prompts = load_prompts(make_config(teacher_prompt_file=write_prompt("teacher.txt", "{qestion}")))
    with pytest.raises(ConfigError, match=r"uses {qestion}, but its reader may see no such field"):
        check_prompts(prompts, [SEED], "shy", {"s": ("teacher",)})
