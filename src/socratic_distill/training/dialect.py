"""How a server takes training data where it differs from the hosted service: targets in one dimension, losses as means.

Each difference is undone in what is sent, so that a step is the same as on the hosted service. Nothing else of the
library knows of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from socratic_distill.distillation.datums import make_datum

if TYPE_CHECKING:
    from tinker import Datum

# By what a server divides the sum of a loss over tokens: by nothing; by the positions of its request, or of its step;
# each datum by its own positions, and the step by its data.
Division = Literal["nothing", "request", "step", "datum"]
# A sequence with K target columns is sent K times to a server that takes one column. More would cost more than the
# dialogues themselves.
MOST_COLUMNS = 8


@dataclass(frozen=True)
class Dialect:
    """How training data are sent to a server. The default is the hosted service's way.

    Attributes:
        divisions: by loss, where it is not "nothing".
        takes_columns: whether the targets of a datum may be `[N, K]`.
    """

    divisions: Mapping[str, Division] = field(default_factory=dict)
    takes_columns: bool = True

    def waits_for_step(self, loss_fn: str) -> bool:
        """Whether data can be sent only when all data of their step are known."""
        return self.divisions.get(loss_fn) in ("step", "datum")

    def step_size(self, loss_fn: str, data: Sequence["Datum"]) -> float:
        """What the server divides a step on these data by."""
        return float(len(data) if self.divisions.get(loss_fn) == "datum" else positions(data))

    def of_datum(self, loss_fn: str, datum: "Datum", factor: float) -> float:
        """What a datum's weights or advantages are multiplied by, where its request's are by a factor."""
        return factor * datum.model_input.length if self.divisions.get(loss_fn) == "datum" else factor

    def factor(self, loss_fn: str, data: Sequence["Datum"]) -> float:
        """What the weights or advantages of a request's data are multiplied by, if it holds these alone."""
        return float(positions(data)) if self.divisions.get(loss_fn) == "request" else 1.0

    def options(self, options: Mapping[str, float], factor: float) -> dict[str, float]:
        """A loss's options where its advantages are multiplied: dro's quadratic term has a factor of its own, beta."""
        return {name: value * factor if name == "beta" else value for name, value in options.items()}

    def split(self, data: Sequence["Datum"]) -> list["Datum"]:
        """The data as the server takes them: one for each target column but the first, or as they are.

        The first of several columns is a sequence's own token, with weight 0.
        """
        if self.takes_columns:
            return list(data)
        return [part for datum in data for part in _columns(datum)]

    def count(self, data: Sequence["Datum"]) -> int:
        """The number of data that these are sent as."""
        return len(data) if self.takes_columns else sum((_width(datum) or 2) - 1 for datum in data)

    def joined(self, outputs: Sequence[Mapping[str, Any]], data: Sequence["Datum"]) -> list[Mapping[str, Any]]:
        """The outputs of split data, one for each datum again, with 0 for the first of several columns.

        Args:
            outputs: of `split(data)`, in its order.
            data: the data as they were.
        """
        if self.takes_columns:
            return list(outputs)
        whole, first = [], 0
        for datum in data:
            width = _width(datum)
            if width is None:
                whole.append(outputs[first])
                first += 1
                continue
            whole.append(_stacked(outputs[first : first + width - 1]))
            first += width - 1
        return whole


def positions(data: Sequence["Datum"]) -> int:
    """The number of positions of data."""
    return sum(datum.model_input.length for datum in data)


def multiplied(datum: "Datum", factor: float) -> "Datum":
    """A copy of a datum with its weights or advantages times a factor."""
    if factor == 1:
        return datum
    arrays = {name: value.to_numpy() for name, value in datum.loss_fn_inputs.items()}
    scaled = "weights" if "weights" in arrays else "advantages"
    arrays[scaled] = (arrays[scaled] * np.float32(factor)).astype(np.float32)
    targets = arrays.pop("target_tokens")
    return make_datum(datum.model_input.to_ints(), targets, **arrays)


def _width(datum: "Datum") -> int | None:
    """The number of target columns; None where targets have one dimension."""
    shape = datum.loss_fn_inputs["target_tokens"].to_numpy().shape
    return shape[1] if len(shape) == 2 else None


def _columns(datum: "Datum") -> list["Datum"]:
    if _width(datum) is None:
        return [datum]
    tokens = datum.model_input.to_ints()
    targets, weights = (datum.loss_fn_inputs[name].to_numpy() for name in ("target_tokens", "weights"))
    return [
        make_datum(tokens, targets[:, column], weights=np.ascontiguousarray(weights[:, column]))
        for column in range(1, targets.shape[1])
    ]


def _stacked(outputs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The output of one datum from those of its columns, `[N]` each."""
    from tinker import TensorData

    columns = [np.asarray(output["logprobs"].to_numpy(), np.float32).reshape(-1) for output in outputs]
    return {"logprobs": TensorData.from_numpy(np.stack([np.zeros_like(columns[0]), *columns], axis=1))}
