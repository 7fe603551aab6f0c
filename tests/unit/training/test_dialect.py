import numpy as np
import pytest
from tinker import TensorData

from socratic_distill.distillation.datums import make_datum
from socratic_distill.training.dialect import Dialect, multiplied, positions


def policy(size):
    floats = {"logprobs": np.full(size, -1, np.float32), "advantages": np.arange(size, dtype=np.float32)}
    return make_datum(range(1, size + 1), np.arange(size, dtype=np.int64), **floats)


def soft(size, columns):
    targets = np.arange(size * columns, dtype=np.int64).reshape(size, columns)
    return make_datum(range(1, size + 1), targets, weights=(targets / 8).astype(np.float32))


def arrays(datum):
    return {name: value.to_numpy().tolist() for name, value in datum.loss_fn_inputs.items()}


def test_the_hosted_service_gets_data_as_they_are():
    data = [policy(2), soft(3, 4)]
    dialect = Dialect()
    assert all(one is other for one, other in zip(dialect.split(data), data, strict=True))
    assert (dialect.count(data), dialect.factor("ppo", data), dialect.waits_for_step("ppo")) == (2, 1.0, False)
    assert multiplied(data[0], 1.0) is data[0]


def test_columns_are_sent_one_by_one_and_joined_again():
    dialect, data = Dialect(takes_columns=False), [policy(2), soft(3, 3), policy(1)]
    sent = dialect.split(data)
    assert len(sent) == dialect.count(data) == 4
    assert arrays(sent[1]) == {"target_tokens": [1, 4, 7], "weights": [0.125, 0.5, 0.875]}
    assert arrays(sent[2]) == {"target_tokens": [2, 5, 8], "weights": [0.25, 0.625, 1.0]}
    outputs = [
        {"logprobs": TensorData.from_numpy(np.full(one.model_input.length, -float(i)))} for i, one in enumerate(sent)
    ]
    whole = [one["logprobs"].to_numpy().tolist() for one in dialect.joined(outputs, data)]
    assert whole == [[0.0, 0.0], [[0, -1, -2]] * 3, [-3.0]]


@pytest.mark.parametrize(("datum", "name"), [(policy(3), "advantages"), (soft(2, 2), "weights")])
def test_weights_or_advantages_alone_are_multiplied(datum, name):
    before, after = arrays(datum), arrays(multiplied(datum, 4.0))
    assert after.pop(name) == (4 * np.asarray(before.pop(name))).tolist()
    assert after == before


def test_a_division_by_the_requests_positions_is_undone_by_them():
    dialect, data = Dialect({"ppo": "request", "cispo": "step"}), [policy(2), policy(3)]
    assert positions(data) == dialect.factor("ppo", data) == 5
    assert dialect.factor("cispo", data) == dialect.factor("cross_entropy", data) == 1
    assert [dialect.waits_for_step(loss) for loss in ("ppo", "cispo", "cross_entropy")] == [False, True, False]


def test_the_factor_of_a_quadratic_term_is_multiplied_too():
    assert Dialect().options({"beta": 0.5, "clip_low_threshold": 0.8}, 4) == {"beta": 2.0, "clip_low_threshold": 0.8}
