"""Loss functions of the user: their slopes, what they are given, and what is refused."""

import sys

import numpy as np
import pytest
from tests.support.torch_losses import forward, monte_carlo, rest, reverse  # noqa: F401

pytest.importorskip("torch")

import torch

from socratic_distill import ConfigError, LocalExtraMissing, UntrustedConfig, build_socratic_config, estimate_cost
from socratic_distill.config.objectives import CustomObjective
from socratic_distill.distillation import custom_losses, divergences
from socratic_distill.distillation.custom_losses import custom_slope, try_losses
from socratic_distill.run.directory import load_config

HERE = __name__


def jensen_shannon(logprobs, teacher, mask):
    q, p, q_rest, p_rest = logprobs.exp(), teacher.exp(), rest(logprobs), rest(teacher)
    mixed, mixed_rest = 0.3 * p + 0.7 * q, 0.3 * p_rest + 0.7 * q_rest
    # Empty slots have the probability 0, whose logarithm the mask keeps out.
    log_mixed = torch.where(mask, mixed, 1.0).log()
    of_named = 0.3 * p * (teacher - log_mixed) + 0.7 * q * (logprobs - log_mixed)
    of_rest = 0.3 * p_rest * (p_rest / mixed_rest).log() + 0.7 * q_rest * (q_rest / mixed_rest).log()
    return of_named[mask].sum() + of_rest.sum()


def distribution(seed, empty):
    """Log-probabilities of 4 tokens at 5 positions, with a rest of a tenth or more; some slots name no token."""
    chances = np.random.default_rng(seed).dirichlet(np.ones(5), size=5)[:, :4] * 0.9
    return np.where(empty, -np.inf, np.log(chances))


EMPTY = np.zeros((5, 4), bool)
EMPTY[[0, 0, 3], [1, 3, 3]] = True
TUTOR, TEACHER, DRAWN = (distribution(seed, EMPTY) for seed in range(3))
FULL = [distribution(seed, False) for seed in range(3)]


def custom(function, tokens="both", k=2):
    return CustomObjective(function=f"{HERE}:{function}", tokens=tokens, k=k)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("forward", divergences.forward_kl_slope(TUTOR, TEACHER)),
        ("reverse", divergences.reverse_kl_slope(TUTOR, TEACHER)),
        ("jensen_shannon", divergences.jensen_shannon_slope(TUTOR, TEACHER, 0.3)),
    ],
)
def test_a_divergence_in_torch_has_the_slope_of_the_built_in_one(function, expected):
    slope = custom_slope(custom(function))(TUTOR, TEACHER, TEACHER)
    np.testing.assert_allclose(slope, expected, rtol=1e-9, atol=1e-12)
    assert not slope[EMPTY].any() and slope[~EMPTY].all()


def test_drawn_tokens_come_with_their_log_probabilities_at_the_draw():
    slope = custom_slope(custom("monte_carlo", tokens="drawn", k=4))(*FULL)
    np.testing.assert_allclose(slope, divergences.monte_carlo_slope(*FULL), rtol=1e-9)


# What the function is given

_given = []


def keeps(*arguments):
    _given.append([argument.detach().clone() for argument in arguments])
    arguments[1].zero_()  # in place: the arrays of the training must not change
    return arguments[0].sum()


def test_the_function_gets_float64_and_the_mask_of_the_named_slots():
    _given.clear()
    before = TEACHER.copy()
    custom_slope(custom("keeps"))(TUTOR, TEACHER, TEACHER)
    ((logprobs, teacher, mask),) = _given
    assert (logprobs.dtype, teacher.dtype, mask.dtype) == (torch.float64, torch.float64, torch.bool)
    np.testing.assert_array_equal(mask.numpy(), ~EMPTY)
    np.testing.assert_array_equal(logprobs.numpy()[~EMPTY], TUTOR[~EMPTY])
    np.testing.assert_array_equal(teacher.numpy()[~EMPTY], TEACHER[~EMPTY])
    for values in (logprobs, teacher):
        assert torch.isfinite(values).all() and not values.exp()[~mask].any(), "empty slots are finite, of chance 0"
    np.testing.assert_array_equal(TEACHER, before)


_scale = torch.nn.Parameter(torch.ones((), dtype=torch.float64))


def scaled(logprobs, teacher, mask):
    return (_scale * logprobs).sum()


def test_parameters_of_the_users_own_gather_no_gradient():
    custom_slope(custom("scaled"))(TUTOR, TEACHER, TEACHER)
    assert _scale.grad is None


@pytest.mark.parametrize(("tokens", "columns"), [("both", 6), ("teacher", 3), ("drawn", 3)])
def test_the_trial_gives_what_training_gives(make_config, tokens, columns):
    _given.clear()
    try_losses(make_config(objective=custom("keeps", tokens, k=3)))
    ((logprobs, teacher, mask, *drawn),) = _given
    assert {values.shape for values in (logprobs, teacher, mask, *drawn)} == {(3, columns)}
    assert len(drawn) == (tokens == "drawn") and mask.all() == (tokens != "both")
    assert all((values.exp().sum(-1) < 1).all() for values in (logprobs, teacher, *drawn))


@pytest.mark.parametrize("tokens", ["both", "teacher", "drawn"])
@pytest.mark.parametrize("k", [1, 1024])
def test_the_trial_works_for_every_number_of_tokens(make_config, tokens, k):
    _given.clear()
    try_losses(make_config(objective=custom("keeps", tokens, k)))
    assert len(_given) == 1


# Refusals


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of losses to import; its name is new each time, since Python remembers modules."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"losses_of_{tmp_path.name}"

    def write(source):
        (tmp_path / f"{name}.py").write_text(source)
        return name

    yield write
    sys.modules.pop(name, None)


def loss(*lines):
    return "\n    ".join(["import torch\ndef loss(logprobs, teacher, mask):", *lines, ""])


SHAPE = r"on a made-up input with logprobs of shape \[3, 32\]; expected a function of \(logprobs, teacher, mask\)"
BROKEN_BACKWARD = "\n".join(
    [
        "import torch",
        "class F(torch.autograd.Function):",
        "    @staticmethod",
        "    def forward(ctx, x): return x.sum()",
        "    @staticmethod",
        "    def backward(ctx, grad): raise KeyError('slope')",
        "def loss(logprobs, teacher, mask): return F.apply(logprobs)",
        "",
    ]
)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0\n", r"cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("def los(a, b, c):\n    return 1\n", r"has no 'loss'; did you mean '.*:los'\?"),
        ("loss = 3\n", r"is of type int; expected a plain function that takes logprobs, teacher, mask and returns"),
        ("async def loss(a, b, c):\n    return 1\n", r"is an async function; .*`def loss\(logprobs, teacher, mask\): "),
        ("def loss(logprobs):\n    return logprobs.sum()\n", rf"raised TypeError: .*, {SHAPE}"),
        (loss("return {}['p']"), rf"raised KeyError: 'p', {SHAPE} that returns a finite scalar tensor"),
        (loss("logprobs += 1", "return logprobs.sum()"), rf"raised RuntimeError: .*in-place.*, {SHAPE}"),
        (loss("return 1.0"), rf"returned 1.0, no tensor, {SHAPE}"),
        (loss("return None"), rf"returned None, no tensor, {SHAPE}"),
        (loss("return logprobs.sum().item()"), r"returned -\d.*, no tensor"),
        (loss("return logprobs.sum(-1)"), rf"returned a tensor of shape \[3\], torch.float64, {SHAPE}"),
        (loss("return logprobs.sum().to(torch.complex128)"), r"returned a tensor of shape \[\], torch.complex128"),
        (loss("return logprobs.sum() * float('nan')"), rf"returned nan, {SHAPE}"),
        (loss("return logprobs.sum() * float('inf')"), rf"returned -inf, {SHAPE}"),
        (loss("return teacher.sum()"), rf"returned a tensor that does not depend on logprobs, {SHAPE}"),
        (loss("return logprobs.detach().sum()"), r"does not depend on logprobs"),
        (loss("with torch.no_grad():", "    return logprobs.sum()"), r"does not depend on logprobs"),
        (loss("return torch.ones((), requires_grad=True)"), r"does not depend on logprobs"),
        (loss("x = logprobs.sum()", "x.backward()", "return x"), None),
        (loss("x = logprobs.exp().sum()", "x.backward()", "return x"), r"has a gradient that raised RuntimeError"),
        (loss("return (logprobs - logprobs.detach()).sqrt().sum()"), rf"has the gradient (nan|inf); .*, {SHAPE}"),
        (loss("return 1e30 * logprobs.sum()"), r"has the gradient 1e\+30; expected numbers up to 1e\+12"),
        (BROKEN_BACKWARD, rf"has a gradient that raised KeyError: 'slope', {SHAPE}"),
    ],
)  # fmt: skip
def test_a_function_that_is_no_loss_is_refused_before_the_run(make_config, module, source, message):
    path = f"{module(source)}:loss"
    config = make_config(objective={"kind": "custom", "function": path})
    if message is None:
        return try_losses(config)
    with pytest.raises(ConfigError, match=message) as caught:
        try_losses(config)
    assert str(caught.value).startswith(f"loss function {path!r}")


def test_a_module_that_is_missing_is_named(make_config):
    with pytest.raises(ConfigError, match=r"loss function 'no_such_losses:f': module 'no_such_losses' cannot be"):
        try_losses(make_config(objective={"kind": "custom", "function": "no_such_losses:f"}))


def fails_on_long_ones(logprobs, teacher, mask):
    if len(logprobs) > 3:
        raise ValueError("too long")
    return logprobs.sum()


def test_an_error_in_training_says_how_to_go_on():
    with pytest.raises(ConfigError, match=r"raised ValueError: too long, in training with .*\[5, 4\].*start the same"):
        custom_slope(custom("fails_on_long_ones"))(TUTOR, TEACHER, TEACHER)


def test_an_interrupt_is_no_invalid_loss(make_config, module):
    name = module(loss("raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        try_losses(make_config(objective={"kind": "custom", "function": f"{name}:loss"}))


def test_without_torch_the_error_says_how_to_install_it(make_config, monkeypatch):
    monkeypatch.setattr(custom_losses, "find_spec", lambda name: None)
    with pytest.raises(LocalExtraMissing, match=r"loss function '.*:reverse' needs torch, .*pip install .*local"):
        try_losses(make_config(objective=custom("reverse")))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"objective.custom.function is missing"),
        ({"function": "loss"}, r"objective.custom.function='loss'"),
        ({"function": forward}, r"objective.custom.function=<function"),
        ({"function": "a:b", "tokens": "all"}, r"objective.custom.tokens='all'"),
        ({"function": "a:b", "k": 0}, r"objective.custom.k=0"),
        ({"function": "a:b", "beta": 0.5}, r"it has no field 'beta'"),
    ],
)
def test_fields_that_mean_nothing_are_refused(make_config, fields, message):
    with pytest.raises(ConfigError, match=message):
        make_config(objective={"kind": "custom"} | fields)


# Trust


@pytest.fixture
def planted(tmp_path, module):
    """A function in a module that leaves a mark when it is imported."""
    mark = tmp_path / "ran"
    leaves_mark = f"open({str(mark)!r}, 'a').close()\n"
    return f"{module(leaves_mark + loss('return logprobs.sum()'))}:loss", mark


def objectives_of(function):
    one = {"kind": "custom", "function": function}
    yield {"objective": one}
    yield {"objective": {"kind": "mixture", "parts": [{"objective": one}]}}
    yield {"recordings": {"files": ["recorded.jsonl"], "objective": one}}


@pytest.mark.parametrize("which", range(3))
def test_a_config_from_a_file_runs_no_loss_function_unless_allowed(make_config, tmp_path, monkeypatch, planted, which):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recorded.jsonl").touch()
    function, mark = planted
    config = make_config(**list(objectives_of(function))[which])
    run = tmp_path / "stored"
    run.mkdir()
    (run / "config.json").write_text(config.model_dump_json())
    stored = load_config(run)
    assert stored == config
    with pytest.raises(UntrustedConfig, match=rf"asks for the functions of losses '{function}'.*--allow-code"):
        try_losses(stored)
    with pytest.raises(UntrustedConfig, match="--allow-code"):
        custom_losses_of_training(stored)
    assert not mark.exists(), "code of the stored config ran"
    try_losses(load_config(run, allow_code=True))
    assert mark.exists()


def custom_losses_of_training(config):
    from socratic_distill.distillation.objective import make_examples

    make_examples([], config, step=0)


def test_building_a_config_imports_no_function(planted):
    function, mark = planted
    config = build_socratic_config("a", "b", "c", 1e-5, 8, "r", objective={"kind": "custom", "function": function})
    estimate = estimate_cost(config)
    assert config.objective.custom[0].function == function and estimate.lines and not mark.exists()
