"""Planned faults: which call of the fake service fails, and how."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import tinker
from tinker.types import RequestErrorCategory

from socratic_distill.errors import ConfigError
from socratic_distill.in_process import REQUEST, status_error

CALLS = frozenset(
    {
        "create_lora_training_client",
        "create_training_client_from_state",
        "create_training_client_from_state_with_optimizer",
        "create_sampling_client",
        "forward",
        "forward_backward",
        "optim_step",
        "save_state",
        "save_weights_for_sampler",
        "save_weights_and_get_sampling_client",
        "sample",
        "compute_logprobs",
        "get_server_capabilities",
        "get_weights_info_by_tinker_path",
        "get_training_run",
        "get_training_run_by_tinker_path",
        "list_checkpoints",
        "list_user_checkpoints",
        "delete_checkpoint_from_tinker_path",
        "set_checkpoint_ttl_from_tinker_path",
    }
)
_KINDS = ("connection", "timeout", "request_failed", "lost_answer", "slow", "submission", "poisoned", "never")


@dataclass(frozen=True)
class Fault:
    """One planned fault.

    Calls are counted over the whole service, per method name, from 1.

    Attributes:
        call: name of the client method, such as "save_state" or "sample".
        nth: the first call of that name to fail.
        error: an HTTP status from 400 on (500), an exception to fail with, or one of

            - "connection": `tinker.APIConnectionError`;
            - "timeout": `tinker.APITimeoutError`;
            - "request_failed": `tinker.RequestFailedError`, the answer of a service that took the request;
            - "lost_answer": the call is carried out, then its future fails with `tinker.APIConnectionError`;
            - "slow": the call is carried out at once and answered `seconds` later;
            - "submission": the request of a training client never arrives. It fails with
              `tinker.APIConnectionError`, `seconds` later, since the SDK tries again for a while; calls after it
              are not carried out and never answered, as after a gap in the client's request sequence;
            - "poisoned": `RuntimeError`, and so does every later call of the same training client;
            - "never": no answer ever comes; on a training client, neither to the calls after it.

            Except for "lost_answer" and "slow" the call is not carried out.
        times: how many calls in a row fail.
        seconds: how late a "slow" answer, or the failure of a "submission", comes.

    Raises:
        ConfigError: an unknown call or error, a count below 1, or negative seconds.
    """

    call: str
    nth: int = 1
    error: int | str | Exception = 500
    times: int = 1
    seconds: float = 0.05

    def __post_init__(self) -> None:
        """Refuses what no fault can be."""
        if self.call not in CALLS:
            raise ConfigError(f"no call is named {self.call!r}; faults can be planned for {sorted(CALLS)}")
        if self.nth < 1 or self.times < 1:
            raise ConfigError(f"nth={self.nth} and times={self.times} count from 1")
        if self.seconds < 0:
            raise ConfigError(f"seconds={self.seconds} must not be negative")
        status = isinstance(self.error, int) and 400 <= self.error <= 599
        if not (status or isinstance(self.error, Exception) or self.error in _KINDS):
            raise ConfigError(
                f"error={self.error!r} is none of an HTTP status from 400 to 599, {', '.join(_KINDS)} or an exception"
            )

    @property
    def is_carried_out(self) -> bool:
        """Whether the call takes effect."""
        return self.error in ("lost_answer", "slow")

    def exception(self) -> Exception:
        """What the call's future fails with."""
        planned = f"planned fault: {self.call}"
        if isinstance(self.error, Exception):
            return self.error
        if isinstance(self.error, int):
            return status_error(self.error, f"{planned} fails with {self.error}")
        if self.error == "timeout":
            return tinker.APITimeoutError(request=REQUEST)
        if self.error == "poisoned":
            return RuntimeError(f"{planned} failed, and the training client refuses further calls")
        if self.error == "request_failed":
            category = RequestErrorCategory.Server
            return tinker.RequestFailedError(f"{planned} failed on the service", request_id="fake", category=category)
        what = {"lost_answer": "the answer was lost", "submission": "the request never arrived"}
        reason = what.get(str(self.error), "no connection")
        return tinker.APIConnectionError(request=REQUEST, message=f"{planned}, {reason}")


class FaultPlan:
    """The planned faults and how many calls of each name there were."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        """Begins with no call counted."""
        self._faults = tuple(faults)
        self._counts: Counter[str] = Counter()

    def next(self, call: str) -> Fault | None:
        """Counts one call; its fault, if one is planned (the first given wins)."""
        self._counts[call] += 1
        number = self._counts[call]
        for fault in self._faults:
            if fault.call == call and fault.nth <= number < fault.nth + fault.times:
                return fault
        return None
