"""Teachers with negative weights: presets, and what is refused."""

import numpy as np
import pytest

from socratic_distill import ConfigError, Teacher, anchored_residual, contrast, extrapolated
from socratic_distill.distillation.averaging import average

AWAY, SCORES = {"name": "away", "weight": -0.5}, [np.log([0.2, 0.5]), np.log([0.4, 0.1])]
SIGNED = {"teachers": [{"name": "first"}, AWAY], "teacher_average": "log_mean", "teacher_residual_clip": 5.0}


def combined(config):
    weights = [teacher.weight for teacher in config.teachers]
    return average(SCORES, weights, config.teacher_average, config.teacher_residual_clip)


@pytest.fixture
def telling(tmp_path):
    (tmp_path / "telling.txt").write_text("Tell the answer of {question}.")
    return tmp_path / "telling.txt"


@pytest.mark.parametrize("alpha", [0.6, 1.2])
def test_the_anchored_residual_is_its_formula(make_config, alpha):
    config = make_config(**anchored_residual(alpha))
    assert [teacher.sees_answer for teacher in config.teachers] == [False, True]
    without, with_answer = np.exp(SCORES)
    np.testing.assert_allclose(np.exp(combined(config)), without * (with_answer / without) ** alpha)


def test_the_contrast_is_its_formula(make_config, telling):
    config = make_config(**contrast(telling, 0.5))
    assert [teacher.prompt_file for teacher in config.teachers] == [None, str(telling)]
    socratic, tells = np.exp(SCORES)
    np.testing.assert_allclose(np.exp(combined(config)), socratic * (socratic / tells) ** 0.5)


def test_the_extrapolation_has_the_advantage_of_its_paper(make_config):
    config = make_config(**extrapolated(Teacher(name="before", model_name="base"), scale=1.5))
    assert [teacher.model_name for teacher in config.teachers] == ["base", None]
    reference, teacher, tutor = *SCORES, np.log([0.3, 0.3])
    advantage = 1.5 * (teacher - reference) - (tutor - reference)
    np.testing.assert_allclose(combined(config) - tutor, advantage)


def test_a_residual_is_bounded(make_config, telling):
    first, last = SCORES
    for fields, factor in ((anchored_residual(0.8, clip=0.1), 0.8), (contrast(telling, 0.5, clip=0.1), -0.5)):
        expected = first + factor * np.clip(last - first, -0.1, 0.1)
        np.testing.assert_allclose(combined(make_config(**fields)), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            SIGNED | {"teacher_average": "mixture", "teacher_residual_clip": None},
            "no negative parts; set teacher_average",
        ),
        (SIGNED | {"teacher_residual_clip": None}, "'away' has the weight -0.5, which needs teacher_residual_clip"),
        (SIGNED | {"teachers": [{"name": "first", "weight": 0.5}, AWAY]}, "add up to 0; expected more than 0"),
        (SIGNED | {"teachers": [{"name": "first", "tags": ["x"]}, AWAY]}, "'first' has seeds_files or tags"),
        (SIGNED | {"teacher_average": "mixture", "teachers": [{"name": "a"}, {"name": "b"}]}, "clip=5 has no effect"),
        ({"teacher_residual_clip": 5.0}, "clip=5 has no effect with teacher_average=None"),
        ({"teachers": [{"name": "a", "weight": 0.0}]}, "weight=0.0: .*expected another number than 0"),
        (SIGNED | {"objective": "forward_kl"}, "likeliest tokens, which differ between averaged teachers"),
    ],
)
def test_signs_that_make_no_sense_are_refused(make_config, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_config(**changes)


@pytest.mark.parametrize(
    ("preset", "arguments"),
    [(anchored_residual, (1.0,)), (anchored_residual, (-1.0,)), (contrast, ("p.txt", 0.0)),
     (extrapolated, (Teacher(name="r"), 1.0)), (extrapolated, (Teacher(name="r"), float("nan")))],
)  # fmt: skip
def test_factors_without_a_meaning_are_refused(preset, arguments):
    with pytest.raises(ConfigError, match="expected a number above 0"):
        preset(*arguments)
