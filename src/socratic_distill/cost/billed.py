"""What the hosted service says that a run used and cost, next to what the run itself counted.

The service attributes use to sessions, in buckets of an hour. Each start of a run opens one session, whose id begins
the ids of its server runs. Storage belongs to no session, and so to no run.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.cost.costs import evaluation_uses, step_uses
from socratic_distill.errors import ConfigError, ServiceError, StartError
from socratic_distill.evaluation.stored import load_evaluations
from socratic_distill.files.rows import read_rows
from socratic_distill.run.checkpoints import load_checkpoints
from socratic_distill.run.layout import METRICS
from socratic_distill.run.orphans import server_runs_of
from socratic_distill.service.connect import open_admin
from socratic_distill.service.failures import failure, status_of
from socratic_distill.service.waiting import run_blocking

if TYPE_CHECKING:
    from tinker.types import BillingUsageEvent, BillingUsageResponse

_HOUR, _LONGEST = timedelta(hours=1), timedelta(days=14)  # the service's buckets, and its longest window
# The SDK itself would repeat a failed request for five minutes.
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Span:
    """A time, in whole hours of UTC, and the sessions of a run in it."""

    start: datetime
    end: datetime
    sessions: frozenset[str]


@dataclass
class Amount:
    """Tokens, and their known cost in USD.

    Attributes:
        tokens: number of tokens.
        usd: sum of the known costs.
        unpriced: number of tokens without a known cost.
    """

    tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0


@dataclass
class Billed:
    """The service's figures for a span; its costs are gross estimates before credits, not invoice amounts.

    Attributes:
        of_run: the run's use, by phase and base model.
        others_usd: cost of other sessions of the organization.
        others: number of other sessions.
        storage_usd: cost of the organization's storage.
    """

    of_run: dict[tuple[str, str], Amount] = field(default_factory=dict)
    others_usd: float = 0.0
    others: int = 0
    storage_usd: float = 0.0


def span_of(log_path: Path) -> Span:
    """When a run used the service, by its saves, and in which sessions.

    Args:
        log_path: directory of the run, on this machine.

    Raises:
        StartError: the directory does not say.
        JournalError: `checkpoints.jsonl` cannot be read.
        StorageError: `server_runs.jsonl` cannot be read.
    """
    times = [record.created_at for record in load_checkpoints(log_path) if record.created_at is not None]
    sessions = frozenset(run.id.partition(":")[0] for run in server_runs_of(log_path))
    if not times or not sessions:
        raise StartError(
            f"{log_path} does not say when the run used the service; expected a run directory with saves and server "
            "runs. Start the run first"
        )
    start = min(times).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    end = max(times).astimezone(UTC).replace(minute=0, second=0, microsecond=0) + _HOUR
    return Span(start, end, sessions)


def ask_billed(config: SocraticConfig, span: Span) -> Billed:
    """Asks a run's service what was billed; never billed itself.

    Args:
        config: names the server.
        span: of the run.

    Raises:
        ConfigError: the run is on this machine, and not billed, or there is no key.
        UntrustedConfig: the config was read from a run directory, and names a server that the user did not.
        ServiceError: the service has no such figures, or the key may not see them; and as `open_service`.
    """
    if config.base_url == "local":
        raise ConfigError("base_url='local': a run on this machine is not billed; leave --actual out")
    admin = open_admin(config)

    async def ask() -> "list[BillingUsageResponse]":
        return [
            await asyncio.wait_for(admin.get_billing_usage(start, end), _ANSWER_SECONDS)
            for start, end in _windows(span)
        ]

    try:
        responses = run_blocking(ask, "ask_billed")
    except Exception as error:
        raise _refusal(config, error) from error
    return add_up((event for response in responses for event in response.data), span.sessions)


def add_up(events: "Iterable[BillingUsageEvent]", sessions: frozenset[str]) -> Billed:
    """Sums of billing events: of a run's sessions, of others, and of storage."""
    billed, others = Billed(), set[str | None]()
    for event in events:
        info, usd = event.event_info, event.estimated_cost_usd
        if info.type == "storage":
            billed.storage_usd += usd or 0.0
        elif info.type == "checkpoint":
            continue  # counted, and without a price
        elif event.session_id in sessions:
            is_cached = info.type == "sampling_prefill" and info.cached
            phase = "cached_prefill" if is_cached else _PHASES.get(info.type, info.type)
            amount = billed.of_run.setdefault((phase, event.base_model or "not known"), Amount())
            amount.tokens += info.token_count
            amount.usd += usd or 0.0
            amount.unpriced += info.token_count if usd is None else 0
        else:
            others.add(event.session_id)
            billed.others_usd += usd or 0.0
    billed.others = len(others)
    return billed


_PHASES = {"training": "train", "sampling_prefill": "prefill", "sampling_sample": "sample"}


def counted(log_path: Path) -> dict[str, int]:
    """The tokens that a run itself counted, by phase as the service bills them; steps that ran twice count twice."""
    rows: Sequence[Mapping[str, Any]] = [
        row for path in (log_path / METRICS, (log_path / METRICS).with_suffix(".superseded.jsonl"))
        for row in read_rows(path)
    ]  # fmt: skip
    uses = [use for row in rows for use in step_uses(row)]
    uses += [use for evaluation in load_evaluations(log_path) for use in evaluation_uses(evaluation.tokens)]
    totals: dict[str, int] = {}
    for use in uses:
        phase = "train" if use.phase == "forward" else use.phase
        totals[phase] = totals.get(phase, 0) + int(use.tokens)
    return totals


def _windows(span: Span) -> list[tuple[datetime, datetime]]:
    windows, start = [], span.start
    while start < span.end:
        windows.append((start, min(start + _LONGEST, span.end)))
        start += _LONGEST
    return windows


def _refusal(config: SocraticConfig, error: Exception) -> Exception:
    where = "the service" if config.base_url is None else f"the server at base_url={config.base_url!r}"
    status = status_of(error)
    if status == 403:
        return ServiceError(
            f"{where} does not show this key what was billed (403). It needs the role of an admin or billing admin of "
            "the organization; leave --actual out for our own estimate"
        )
    if status in (404, 405, 501):
        return ServiceError(f"{where} does not say what was billed ({status}); leave --actual out")
    if isinstance(error, TimeoutError):
        return ServiceError(
            f"{where} did not say within {_ANSWER_SECONDS:.0f} s what was billed; it may lack this call. Try again, "
            "or leave --actual out"
        )
    return failure("asking what was billed", error)
