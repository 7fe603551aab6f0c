import pytest

from socratic_distill.config.reasoning import TemplateChoice
from socratic_distill.config.teachers import ResolvedTeacher
from socratic_distill.dialogues.teacher_keys import joint_key, teacher_key

PLAN = ResolvedTeacher("teacher", "small")


def test_a_teachers_name_and_routes_are_no_part_of_it(make_config):
    other = ResolvedTeacher("other", "small", tags=("algebra",), weight=2.0)
    assert teacher_key(other, "Teach.", make_config()) == teacher_key(PLAN, "Teach.", make_config())


@pytest.mark.parametrize(
    ("plan", "prompt", "fields"),
    [
        (ResolvedTeacher("teacher", "big"), "Teach.", {}),
        (ResolvedTeacher("teacher", "small", "tinker://a/sampler_weights/b"), "Teach.", {}),
        (ResolvedTeacher("teacher", "small", template=TemplateChoice(True)), "Teach.", {}),
        (ResolvedTeacher("teacher", "small", template=TemplateChoice(options={"a": 1})), "Teach.", {}),
        (PLAN, "Teach well.", {}),
        (PLAN, "Teach.", {"base_url": "http://localhost:8000"}),
        (PLAN, "Teach.", {"system_role": "merge"}),
    ],
)
def test_whatever_changes_its_scores_changes_its_key(make_config, plan, prompt, fields):
    assert teacher_key(plan, prompt, make_config(**fields)) != teacher_key(PLAN, "Teach.", make_config())


def test_a_lagged_teacher_has_no_key(make_config):
    assert teacher_key(ResolvedTeacher("teacher", "small", lag_steps=2), "Teach.", make_config()) is None


def test_a_local_model_is_what_its_files_hold(make_config, tmp_path):
    config = make_config(base_url="local")
    for name, text in (("one", "{}"), ("two", "{}"), ("three", '{"hidden_size": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    one, two, three = (
        teacher_key(ResolvedTeacher("t", str(tmp_path / name)), "", config) for name in ("one", "two", "three")
    )
    assert one == two != three


def test_joined_teachers_are_those_with_their_weights():
    pair = joint_key(["a", "b"], [1.0, 1.0], "log_mean", None)
    others = [
        joint_key(["a"], [1.0], None, None),
        joint_key(["b", "a"], [1.0, 1.0], "log_mean", None),
        joint_key(["a", "b"], [1.0, 2.0], "log_mean", None),
        joint_key(["a", "b"], [1.0, 1.0], "mixture", None),
        joint_key(["a", "b"], [1.0, 1.0], "log_mean", 5.0),
    ]
    assert pair is not None and pair not in others and len(set(others)) == len(others)
    assert joint_key(["a"], [2.0], None, None) == others[0], "a single teacher has no weight"
    assert joint_key(["a", None], [1.0, 1.0], "log_mean", None) is None and joint_key([], [], None, None) is None
