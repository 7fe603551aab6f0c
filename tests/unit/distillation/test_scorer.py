import numpy as np
import pytest

from socratic_distill import TeacherError
from socratic_distill.distillation.datums import merge_turns
from socratic_distill.distillation.scorer import span_scores

(SEQUENCE,) = merge_turns([([1, 2], [3, 4]), ([1, 2, 3, 4, 5], [6])])
VALUES = [None, -0.1, -0.2, -0.3, -0.4, -0.5]


def test_scores_are_those_of_the_spans_tokens():
    first, second = span_scores(SEQUENCE, VALUES, "teacher")
    np.testing.assert_array_equal(first, [-0.2, -0.3])
    np.testing.assert_array_equal(second, [-0.5])


def test_scores_without_the_leading_none_are_understood():
    for one, other in zip(span_scores(SEQUENCE, VALUES[1:], "t"), span_scores(SEQUENCE, VALUES, "t"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("value", [None, float("nan"), float("-inf")])
def test_missing_score_inside_a_span_names_dialogue_turn_and_position(value):
    with pytest.raises(TeacherError, match=r"seed 's'.*token 1 of tutor turn 0 is"):
        span_scores(SEQUENCE, [*VALUES[:3], value, *VALUES[4:]], "teacher, seed 's'")


def test_missing_score_between_turns_is_nothing():
    assert len(span_scores(SEQUENCE, [*VALUES[:4], None, VALUES[5]], "teacher")) == 2


@pytest.mark.parametrize("count", [4, 7])
def test_scores_of_another_length_are_refused(count):
    with pytest.raises(TeacherError, match=f"{count} log-probabilities for 6 tokens"):
        span_scores(SEQUENCE, [-0.1] * count, "teacher")
