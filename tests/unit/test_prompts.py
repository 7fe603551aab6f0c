import pytest

from socratic_distill import ConfigError, Seed
from socratic_distill.prompts import load_prompts

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
        ("teacher_prompt_file", "{qestion}", "no such field"),
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
