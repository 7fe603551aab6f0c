"""What each kind of objective says of itself, and that nobody else asks which kind it has."""

import ast
from pathlib import Path
from typing import get_args

import pytest

import socratic_distill
from socratic_distill.config import objectives
from socratic_distill.config.objectives import (
    EVERY_KIND,
    CustomObjective,
    ForwardKL,
    Mixture,
    SampledReverseKL,
    Weighted,
)
from socratic_distill.distillation.soft_targets import SLOPES

SRC = Path(socratic_distill.__file__).parent
CUSTOM = CustomObjective(function="losses:loss")
# A custom objective needs a function, so that no message can recommend one.
KINDS_IN_USE = (*EVERY_KIND, CUSTOM)
KINDS = {type(objective).__name__ for objective in KINDS_IN_USE} | {"Mixture"}


def asks(source):
    """Lines that ask for the kind of an objective: isinstance on a class of it, or a kind's name that is compared."""
    names = {objective.kind for objective in KINDS_IN_USE}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            if KINDS & {child.id for child in ast.walk(node.args[1]) if isinstance(child, ast.Name)}:
                yield node.lineno
        elif isinstance(node, ast.Compare):
            constants = [child for child in ast.walk(node) if isinstance(child, ast.Constant)]
            if any(isinstance(child.value, str) and child.value in names for child in constants):
                yield node.lineno


def test_only_the_table_asks_which_kind_an_objective_is():
    own = Path(objectives.__file__)
    found = {
        f"{path.relative_to(SRC)}:{line}"
        for path in SRC.rglob("*.py")
        if path != own
        for line in asks(path.read_text())
    }
    assert not found, "let the kind say what it needs, in config/objectives.py"


@pytest.mark.parametrize("source", ["isinstance(x, ForwardKL | ReverseKL)", "y = x.kind == 'forward_kl'"])
def test_a_planted_question_for_the_kind_is_noticed(source):
    assert list(asks(source)) == [1]


def test_every_kind_is_in_the_tables():
    recorded = get_args(get_args(objectives.RecordedObjective)[0])
    assert {type(objective) for objective in KINDS_IN_USE} | {Mixture} == set(recorded)
    soft = {
        objective.kind for objective in KINDS_IN_USE if objective.asks_teacher and not objective.trains_sampled_tokens
    }
    assert set(SLOPES) == soft


def test_a_mixture_needs_what_its_parts_need():
    parts = (Weighted(objective=ForwardKL(k=3)), Weighted(objective=SampledReverseKL(), weight=0.5))
    mixture = Mixture(parts=parts)
    assert (mixture.teacher_top, mixture.tutor_top, mixture.draws) == (3, 0, 0)
    assert mixture.sampled(0) == (SampledReverseKL(), 0.5)
    assert mixture.features(played=True) == {"topk_prompt_logprobs"}


def custom(tokens):
    return CustomObjective(function="losses:loss", tokens=tokens, k=3)


@pytest.mark.parametrize(
    ("tokens", "numbers", "as_kind"),
    [("both", (3, 3, 0), "reverse_kl"), ("teacher", (0, 3, 0), "forward_kl"), ("drawn", (0, 0, 3), "monte_carlo_kl")],
)
def test_a_custom_objective_needs_what_its_tokens_need(tokens, numbers, as_kind):
    objective = custom(tokens)
    assert (objective.tutor_top, objective.teacher_top, objective.draws) == numbers
    other = next(other for other in EVERY_KIND if other.kind == as_kind)
    assert all(objective.features(played) == other.features(played) for played in (True, False))
    assert objective.needs_forward and objective.custom == (objective,)


def test_a_mixture_names_its_custom_part():
    mixture = Mixture(parts=(Weighted(objective=custom("both"), weight=0.0), Weighted(objective=SampledReverseKL())))
    assert mixture.custom == (custom("both"),) and SampledReverseKL().custom == ()


def test_the_tutors_top_comes_with_played_turns_alone():
    reverse = next(objective for objective in EVERY_KIND if objective.kind == "reverse_kl")
    assert reverse.features(played=True) - reverse.features(played=False) == {"topk_sample_logprobs"}
