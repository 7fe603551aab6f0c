"""A script that is only looked at hands its config over instead of using a service.

`socratic-distill check` looks at a script: it sets the switch `SOCRATIC_DISTILL_LOOK` and runs the script. `train`,
`evaluate`, `compare` and their async twins call `hand_over` before anything else.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from socratic_distill.config.config import SocraticConfig
from socratic_distill.errors import ConfigError
from socratic_distill.service.interface import RestClient, ServiceClient

LOOK = "SOCRATIC_DISTILL_LOOK"
"""Environment variable that `check` sets for its script and the processes that the script starts."""


@dataclass(frozen=True)
class Handover:
    """What a script would use a service for.

    Attributes:
        config: the config.
        service_client: as given to `train`; None: the config names the service.
        rest_client: likewise.
    """

    config: SocraticConfig
    service_client: ServiceClient | None = None
    rest_client: RestClient | None = None


class HandedOver(BaseException):
    """Ends a script that is only looked at. Not an `Exception`, so that the script's handlers let it pass."""


# Where `looking` collects. The variable alone stops nothing silently: whoever can set it does not know this list.
_handovers: list[Handover] | None = None


@contextmanager
def looking() -> Iterator[list[Handover]]:
    """Turns the switch on in this process.

    Yields:
        What was handed over so far. It tells of a handover whatever the script made of the exception, as in a
        thread, in a task group or under a bare `except`.
    """
    global _handovers
    before = os.environ.get(LOOK)
    os.environ[LOOK], _handovers = "1", []
    try:
        yield _handovers
    finally:
        _handovers = None
        if before is None:
            os.environ.pop(LOOK, None)
        else:
            os.environ[LOOK] = before


def hand_over(config: SocraticConfig, service_client: ServiceClient | None, rest_client: RestClient | None) -> None:
    """Returns unless the switch is on.

    Args:
        config: as given to `train`.
        service_client: likewise.
        rest_client: likewise.

    Raises:
        HandedOver: this process looks at the script.
        ConfigError: the variable is set, but not by this process, as in a child of a script that is looked at.
    """
    if _handovers is not None:
        _handovers.append(Handover(config, service_client, rest_client))
        raise HandedOver
    if LOOK in os.environ:
        raise ConfigError(
            f"{LOOK} is set in the environment, so nothing is trained or evaluated. `socratic-distill check` sets it "
            "for its script and for processes that the script starts; elsewhere, unset it"
        )
