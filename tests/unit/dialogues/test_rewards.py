import asyncio
import doctest
import math
import sys
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from socratic_distill import Seed, build_socratic_config
from socratic_distill.dialogues.dialogue import Dialogue, Turn
from socratic_distill.dialogues.rewards import load_rewards
from socratic_distill.distillation import reward_advantages as advantages
from socratic_distill.distillation.reward_advantages import group_advantages
from socratic_distill.errors import ConfigError, RolloutError

NOBODY = cast(Any, None)
SEED = Seed("apples", "What is 5 + 7?", "12", initial_error="5 + 7 = 11")


def config(*parts):
    return build_socratic_config("small", "pupil", "small", 0.1, 12, "run", rewards=parts, max_turns=4)


def play(*texts):
    dialogue = Dialogue(SEED, step=0, number=3)
    for text in texts:
        turn = Turn(dialogue.speaker, text, (1,), (5, 9), (5,), (-0.5, -0.5), 0, "stop")
        dialogue = dialogue.add(turn, max_turns=4)
    return dialogue


ASKED = play("It is 11.", "What is 5 + 5?", "Hm, 10.", "And 2 more?", "So it is 12.")
TOLD = play("It is 11.", "It is 12.", "So it is 12.")
UNSOLVED = play("It is 11.", "Why?", "Still 11.")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of rewards to import; its name is new each time, since Python remembers modules."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"rewards_of_{tmp_path.name}"

    def write(source):
        (tmp_path / f"{name}.py").write_text(source)
        return name

    yield write
    sys.modules.pop(name, None)


def reward_of(dialogue, *parts):
    rewards = load_rewards(config(*parts))
    assert rewards is not None
    return asyncio.run(rewards.of(dialogue, NOBODY)).total


def test_rewards_are_none_where_the_config_has_none():
    assert load_rewards(config()) is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("solved", (1.0, 1.0, 0.0)), ("not_telling", (1.0, 0.0, 1.0)), ("few_turns", (0.5, 0.75, 0.75))],
)
def test_reward_of_an_outcome(kind, expected):
    assert tuple(reward_of(dialogue, {"kind": kind}) for dialogue in (ASKED, TOLD, UNSOLVED)) == expected


def test_reward_of_few_turns_is_one_without_a_tutor_turn():
    assert reward_of(play("It is 12."), {"kind": "few_turns"}) == 1.0


def test_rewards_add_up_by_weight(module):
    name = module("def turns(dialogue):\n    return len(dialogue.turns)\n")
    mixed = [
        {"kind": "solved", "weight": 2.0},
        {"kind": "not_telling", "weight": -0.5},
        {"kind": "function", "function": f"{name}:turns", "weight": 0.1},
    ]
    assert reward_of(ASKED, *mixed) == pytest.approx(2.0 - 0.5 + 0.5)
    assert reward_of(TOLD, *mixed) == pytest.approx(2.0 + 0.3)


def test_reward_function_of_the_running_script_is_found(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "my_reward", lambda dialogue: dialogue.number, raising=False)
    assert reward_of(ASKED, {"kind": "function", "function": "__main__:my_reward"}) == 3.0


@pytest.mark.parametrize(
    ("given", "expected"),
    [("True", 1.0), ("-2", -2.0), ("1.5", 1.5), ("np.float32(0.5)", 0.5), ("np.int64(2)", 2.0), ("np.bool_(1)", 1.0)],
)
def test_reward_function_may_give_any_kind_of_number(module, given, expected):
    name = module(f"import numpy as np\ndef reward(dialogue):\n    return {given}\n")
    result = reward_of(ASKED, {"kind": "function", "function": f"{name}:reward"})
    assert result == expected and isinstance(result, float)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("float('nan')", "nan"), ("-float('inf')", "-inf"), ("None", "None"), ("'1.0'", "'1.0'"), ("[1.0]", r"\[1.0\]"),
        ("10 ** 5000", "inf"), ("1j", "1j"), ("np.float32('nan')", "nan"), ("np.ones(2)", "array"),
    ],
)  # fmt: skip
def test_reward_function_that_gives_no_finite_number_fails_the_dialogue(module, given, shown):
    name = module(f"import numpy as np\ndef reward(dialogue):\n    return {given}\n")
    expected = rf"'{name}:reward' returned {shown}.* on dialogue 3 on seed 'apples'; expected a finite number"
    with pytest.raises(RolloutError, match=expected):
        reward_of(ASKED, {"kind": "function", "function": f"{name}:reward"})


def test_reward_function_that_raises_fails_the_dialogue(module):
    name = module("def reward(dialogue):\n    return {}['grade']\n")
    with pytest.raises(RolloutError, match=rf"'{name}:reward' raised KeyError: 'grade', .* seed 'apples'") as caught:
        reward_of(ASKED, {"kind": "function", "function": f"{name}:reward"})
    assert isinstance(caught.value.__cause__, KeyError)


def test_reward_function_that_is_interrupted_is_no_failed_dialogue(module):
    name = module("def reward(dialogue):\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        reward_of(ASKED, {"kind": "function", "function": f"{name}:reward"})


def test_rewards_too_large_for_an_advantage_fail_the_dialogue(module):
    name = module("def reward(dialogue):\n    return 1e300\n")
    for weight in (1.0, 1e6):
        with pytest.raises(RolloutError, match=r"dialogue 3 on seed 'apples' add up to .*; expected at most 1e\+12"):
            reward_of(ASKED, {"kind": "function", "function": f"{name}:reward", "weight": weight})


@pytest.mark.parametrize(
    ("source", "function", "message"),
    [
        ("", "no_such_module_of_rewards:f", r"'no_such_module_of_rewards' cannot be imported \(ModuleNotFoundError.*"
                                            r"write 'module:name' .*'__main__:name'"),
        ("1 / 0\n", "{}:f", r"cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("def f(:\n", "{}:f", r"cannot be imported \(SyntaxError"),
        ("", "..relative:f", r"'..relative' cannot be imported"),
        ("def grade(dialogue):\n    return 1\n", "{}:grad", r"has no 'grad'; did you mean '.*:grade'\?"),
        ("", "{}:f", r"has no 'f'; define it at the module's top level$"),
        ("", "__main__:no_such_function", r"'__main__' has no 'no_such_function'; define it .* above the call"),
        ("f = 3\n", "{}:f", r"is of type int; expected a plain function .*`def f\(dialogue\): return"),
    ],
)  # fmt: skip
def test_reward_function_that_cannot_be_used_is_refused_when_loaded(module, source, function, message):
    written = function.format(module(source))
    with pytest.raises(ConfigError, match=message) as caught:
        load_rewards(config({"kind": "function", "function": written}))
    assert f"reward function {written!r}" in str(caught.value)


def test_group_advantages_are_what_each_has_over_the_mean():
    assert group_advantages([1.0, 0.0, 0.0, 1.0]) == [0.5, -0.5, -0.5, 0.5]
    assert group_advantages([4.0, None, 1.0, 1.0]) == [2.0, 0.0, -1.0, -1.0], "a failed dialogue has no part in it"


@pytest.mark.parametrize("values", [[], [3.0], [None, None], [None, 3.0, None]])
def test_group_advantages_are_zero_where_nothing_compares(values):
    assert group_advantages(values) == [0.0] * len(values)


# Of 32 bits, so that none is so small that its share of a mean rounds to nothing.
numbers = st.floats(min_value=-1e6, max_value=1e6, width=32)


@given(st.lists(st.none() | numbers, max_size=20))
def test_group_advantages_add_up_to_zero_and_keep_the_order(values):
    found = group_advantages(values)
    assert abs(math.fsum(found)) <= 1e-15 * len(values) * max((abs(number) for number in values if number), default=0.0)
    assert len(found) == len(values)
    there = [(number, advantage) for number, advantage in zip(values, found, strict=True) if number is not None]
    assert all(advantage == 0.0 for number, advantage in zip(values, found, strict=True) if number is None)
    assert [advantage for _, advantage in sorted(there)] == sorted(advantage for _, advantage in there)


@given(st.floats(min_value=-1e30, max_value=1e30), st.integers(2, 20))
@example(1.9127555772777218, 3)  # a third of its rounded threefold is another number
def test_group_advantages_of_equal_values_are_exactly_zero(number, count):
    assert group_advantages([number] * count) == [0.0] * count


@given(st.lists(numbers, min_size=2, max_size=8), st.integers(1, 1000))
def test_group_advantages_grow_with_the_rewards(values, factor):
    scaled = group_advantages([factor * number for number in values])
    tolerance = 1e-9 * factor * max(1.0, *map(abs, values))
    assert np.allclose(scaled, [factor * one for one in group_advantages(values)], rtol=0.0, atol=tolerance)


def test_worked_examples_in_docstrings_hold():
    results = doctest.testmod(advantages)
    assert results.attempted > 0 and results.failed == 0
