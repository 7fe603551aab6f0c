import pytest
from hypothesis import given, settings, strategies as st
from tests.support.markup import MARKUP, check_inert

from socratic_distill import SocraticConfig, Teacher, build_socratic_config


def config(**changes) -> SocraticConfig:
    fields = {"learning_rate": 1e-3, "max_tokens": 40, "log_path": "runs/x"} | changes
    return build_socratic_config("tiny", "pupil", "teacher", **fields)


def test_a_repr_shows_changed_fields_only():
    assert repr(config()) == (
        "SocraticConfig(tutor_model_name='tiny', student_model_name='pupil', teacher_model_name='teacher', "
        "max_tokens=40, learning_rate=0.001, log_path='runs/x')"
    )
    assert "max_turns=4" in repr(config(max_turns=4)) and "max_turns" not in repr(config(max_turns=20))
    assert repr(Teacher(name="a", weight=2.0)) == "Teacher(name='a', weight=2.0)"


def test_a_notebook_shows_changed_fields_first_and_defaults_folded():
    html = config(max_turns=4)._repr_html_()
    own, folded = html.split("<details>")
    assert ">max_turns<" in own and ">max_turns_schedule<" not in own
    assert ">max_turns_schedule<" in folded and ">tutor_model_name<" not in folded
    assert len(folded.split("<tr")) - 1 + len(own.split("<tr")) - 1 == len(SocraticConfig.model_fields)
    assert "color" not in html.replace("color:inherit", ""), "the notebook's theme decides"


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.just(MARKUP))
def test_hostile_texts_in_a_config_stay_texts(text):
    check_inert(config(student_profile=text)._repr_html_())


@pytest.mark.parametrize("show", [repr, str, SocraticConfig._repr_html_])
def test_no_form_of_a_config_shows_a_secret(monkeypatch, show):
    monkeypatch.setenv("SOME_TOKEN", "very-secret-value")
    assert "secret" not in show(config(student_profile="very-secret-value"))
