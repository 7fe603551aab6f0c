import json
import logging
from typing import Any

import pytest

from socratic_distill import ModelNotOffered, SocraticConfig, build_socratic_config
from socratic_distill.config.model_names import full_model_name, resolve_name
from socratic_distill.config.named_models import named_models, with_known_names
from socratic_distill.run.drift import model_names

OFFERED = (
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-8B-Base",
    "Qwen/Qwen3-235B-A22B-Instruct-2507",
    "moonshotai/Kimi-K2-Thinking",
    "meta/Twice",
    "other/twice",
    "thinkingmachines/Model/peft",
)
SLIP = "Qwen3-35B-A22B-Instruct"


def config(**names: Any) -> SocraticConfig:
    usual: dict[str, Any] = {
        "tutor_model_name": "Qwen3-8B",
        "student_model_name": "pupil",
        "teacher_model_name": "Qwen3-8B",
    }
    return build_socratic_config(**(usual | names), learning_rate=0.1, max_tokens=8, log_path="runs/names")


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("Qwen3-8B", "Qwen/Qwen3-8B"),
        ("qwen3-8b", "Qwen/Qwen3-8B"),
        ("QWEN/qwen3-8b-base", "Qwen/Qwen3-8B-Base"),
        ("Kimi-K2-Thinking", "moonshotai/Kimi-K2-Thinking"),
        ("meta/Twice", "meta/Twice"),
        ("Meta/twice", "meta/Twice"),
        ("thinkingmachines/model/PEFT", "thinkingmachines/Model/peft"),
        (SLIP, "Qwen/Qwen3-235B-A22B-Instruct-2507"),
        (SLIP.lower(), "Qwen/Qwen3-235B-A22B-Instruct-2507"),
    ],
)
def test_name_matches_an_offered_model_but_for_case_and_organisation(name, full):
    assert resolve_name(name, OFFERED, "tutor_model_name") == full


def test_a_name_that_is_offered_as_written_wins_over_its_likes():
    assert resolve_name("Qwen3-8B", ["Qwen3-8B", "Qwen/Qwen3-8B"], "field") == "Qwen3-8B"
    assert resolve_name(SLIP, [SLIP, "Qwen/Qwen3-235B-A22B-Instruct-2507"], "field") == SLIP
    assert resolve_name("Qwen3-8B", ["mirror/Qwen3-8B", "Qwen/Qwen3-8B"], "field") == "Qwen/Qwen3-8B"


def test_a_name_of_no_model_is_refused_with_the_nearest():
    with pytest.raises(ModelNotOffered, match=r"student_model_name='Qwen3-8Bb' is none of the 7 models") as told:
        resolve_name("Qwen3-8Bb", OFFERED, "student_model_name")
    assert "the nearest are 'Qwen/Qwen3-8B', 'Qwen/Qwen3-8B-Base'" in str(told.value)
    assert "Kimi" not in str(told.value) and told.value.name == "Qwen3-8Bb"


def test_a_model_of_another_organisation_is_not_taken_in_its_place():
    with pytest.raises(ModelNotOffered, match="the nearest are 'Qwen/Qwen3-8B'"):
        resolve_name("mirror/Qwen3-8B", OFFERED, "field")


def test_a_name_like_no_other_is_refused_with_some_that_are_offered():
    with pytest.raises(ModelNotOffered, match="the nearest are 'Qwen/Qwen3-235B"):
        resolve_name("zzzz", OFFERED, "field")


def test_a_name_of_several_models_is_refused_with_all_of_them():
    with pytest.raises(ModelNotOffered, match=r"'twice' may be any of 'meta/Twice', 'other/twice'.*in full"):
        resolve_name("twice", OFFERED, "field")


@pytest.mark.parametrize(("name", "count"), [("Qwen3-8B", 0), ("qwen/qwen3-8b", 0), (SLIP, 1)])
def test_notice_is_given_where_another_model_is_taken(caplog, name, count):
    resolve_name(name, OFFERED, "field")
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * count
    assert all(record.getMessage().startswith(f"there is no model {name}; taking Qwen/") for record in caplog.records)


def test_without_a_service_known_short_names_are_written_out():
    found = with_known_names(config(judge={"model_name": "Kimi-K2-Thinking"}))
    assert list(named_models(found).values()) == [
        "Qwen/Qwen3-8B",
        "pupil",
        "Qwen/Qwen3-8B",
        "moonshotai/Kimi-K2-Thinking",
    ]
    assert full_model_name("Qwen3-9B") == "Qwen3-9B"


def test_names_of_several_teachers_are_written_out_but_no_unused_field():
    teachers = [{"name": "a", "model_name": "Qwen3-32B"}, {"name": "b", "model_name": "Qwen3-8B", "tags": ["b"]}]
    found = with_known_names(config(teachers=teachers))
    assert [one.model_name for one in found.teachers] == ["Qwen/Qwen3-32B", "Qwen/Qwen3-8B"]
    assert "teacher_model_name" not in named_models(found), "both teachers name a model of their own"
    found = with_known_names(config(teachers=[{"name": "a"}, {"name": "b", "model_name": "Qwen3-8B", "tags": ["b"]}]))
    assert [one.model_name for one in found.teachers] == [None, "Qwen/Qwen3-8B"]
    assert found.teacher_model_name == "Qwen/Qwen3-8B"


def test_config_whose_names_are_full_is_the_same_object():
    full = with_known_names(config())
    assert with_known_names(full) is full


def test_a_short_name_means_what_the_run_has_had_so_far():
    recorded = ["lab/pupil", "lab/pupil", "Qwen/Qwen3-8B", "/models/small"]
    found = with_known_names(config(teacher_model_name="small"), recorded)
    assert (found.student_model_name, found.teacher_model_name) == ("lab/pupil", "small")
    assert with_known_names(config(student_model_name="other/pupil"), recorded).student_model_name == "other/pupil"


def test_a_recorded_name_without_organisation_stays_its_own():
    found = with_known_names(config(tutor_model_name="small", student_model_name="Small"), ["small", "lab/small"])
    assert (found.tutor_model_name, found.student_model_name) == ("small", "small")


def test_recorded_names_are_read_of_what_a_run_has_meant():
    teachers = json.dumps([{"name": "a"}, {"name": "b", "model_name": "d"}])
    names = {"tutor_model_name": "a", "student_model_name": "b", "teacher_model_name": "c", "teachers": teachers}
    assert model_names(names) == ["a", "b", "c", "d"]
    assert model_names(None) == [] == model_names({})
