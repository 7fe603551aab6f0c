from socratic_distill.config.reasoning import TemplateChoice
from socratic_distill.config.teachers import ResolvedTeacher, plan_teachers


def test_config_without_teachers_has_one_of_its_teacher_fields(make_config):
    (plan,) = plan_teachers(make_config(teacher_model_name="Qwen3-8B", teacher_enable_thinking=True))
    assert plan == ResolvedTeacher("teacher", "Qwen3-8B", template=TemplateChoice(True))
    (plan,) = plan_teachers(make_config(teacher_checkpoint_path="tinker://a/sampler_weights/b"))
    assert plan.checkpoint_path == "tinker://a/sampler_weights/b" and plan.lag_steps is None
    (plan,) = plan_teachers(make_config(teacher_lag_steps=4))
    assert plan == ResolvedTeacher("teacher", "small", lag_steps=4)


def test_teachers_take_what_they_leave_open_from_the_config(make_config):
    teachers = [
        {"name": "open"},
        {"name": "full", "model_name": "Qwen3-32B", "enable_thinking": False, "weight": 2.0, "tags": ["a"],
         "seeds_files": ["x.jsonl"], "checkpoint_path": "tinker://a/sampler_weights/b"},
        {"name": "lagged", "lag_steps": 3},
    ]  # fmt: skip
    config = make_config(teacher_enable_thinking=True, teachers=teachers, teacher_average="mixture")
    assert plan_teachers(config) == (
        ResolvedTeacher("open", "small", template=TemplateChoice(True)),
        ResolvedTeacher(
            "full", "Qwen3-32B", "tinker://a/sampler_weights/b", None, TemplateChoice(), 2.0, ("x.jsonl",), ("a",)
        ),
        ResolvedTeacher("lagged", "small", lag_steps=3, template=TemplateChoice(True)),
    )
