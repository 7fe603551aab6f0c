"""How fast a run on the virtual service could have been, told from the service's own ledger.

Two bounds, each over the very requests that the service answered. `on_policy` is the longest chain that strict
on-policy order allows: weights, dialogues, scores, training, new weights. `training_cycle` is what the training
calls and the saves behind them take, however the dialogues are played. Nothing here knows the trainer: what depends
on what is found in the tokens of prompts and replies. Neither bound lies above what was observed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socratic_distill.testing.latency import Latency, TrainingQueue
from socratic_distill.testing.virtual import Served

_PASSES = ("forward", "forward_backward", "optim_step")
_SAVES = ("save_weights_for_sampler", "save_state")
_WIDTH = 8  # tokens at the head of a reply that are looked up
_SHORTEST = 4  # tokens of a reply that can be told from a few words by chance
_SLACK = 1e-6  # seconds: floats summed in another order must not miss a training cycle


@dataclass(frozen=True, eq=False)  # arrays do not compare as one truth
class Schedule:
    """When the optimizer steps of a run ended, in seconds since its first request.

    Attributes:
        steps: end of each optimizer step, `[S]`.
        total: the last answer to any request, final saves included.
    """

    steps: NDArray[np.float64]
    total: float

    @property
    def seconds_a_step(self) -> float:
        """Seconds of a step in the steady state: between the first optimizer step's end and the last one's.

        Raises:
            ValueError: fewer than two steps.
        """
        if len(self.steps) < 2:
            raise ValueError(f"{len(self.steps)} optimizer steps have no time between them; run at least 2")
        return float(self.steps[-1] - self.steps[0]) / (len(self.steps) - 1)


def observed(ledger: Sequence[Served]) -> Schedule:
    """The schedule as it was."""
    began = ledger[0].submitted
    steps = np.asarray([served.ended for served in ledger if served.call == "optim_step"])
    return Schedule(steps - began, max(served.answered for served in ledger) - began)


def training_cycle(ledger: Sequence[Served], latency: Latency) -> Schedule:
    """The schedule if no training call had waited for dialogues but the first.

    The first pass arrives as it did, and so do saves ahead of it. All calls behind it are in the queue before they
    can be carried out, in the order of the ledger, but for saves: they stand directly behind the optimizer step
    that they follow, sampler weights first, since a save between two passes costs them their shared cycle.

    Raises:
        ValueError: the ledger holds no optimizer step, or several training clients.
    """
    first = min((served.submitted for served in ledger if served.call in _PASSES), default=0.0)
    return _replay(ledger, latency, lambda version, saved: first)


def on_policy(ledger: Sequence[Served], latency: Latency) -> Schedule:
    """The schedule if every request had been sent as soon as all that it depends on was there.

    - A sampling or scoring request depends on the last reply in its prompt, and on the weights that it names; it
      takes the time that it took, without waiting for a place. One that depends on neither, as the students'
      openings, is sent as soon as its model is open.
    - The passes and the optimizer step depend on all scores of the dialogues on the step's weights.
    - Saves stand directly behind the optimizer step that they follow, as in `training_cycle`. New weights are there
      when their sampler save is answered and their sampling client is open.
    - The calls ahead of the first pass, such as opening clients, are taken as they were.

    A reply must stand in later prompts as it was sampled, but for its first token (which may have lost a blank) and
    its last one (which may end the turn). Where it does not, or has less than 4 tokens, what follows it counts as
    depending on the reply before: the bound is then lower than it could be.

    Args:
        ledger: of a strictly on-policy run, with tokens (`VirtualServiceClient(keep_tokens=True).ledger`).
        latency: that it was run with.

    Raises:
        ValueError: no optimizer step, several training clients, a step without scores, or a run that was not
            on-policy.
    """
    dialogues = _Dialogues(ledger, latency)
    schedule = _replay(ledger, latency, dialogues.play)
    return Schedule(schedule.steps, max(schedule.total, dialogues.last - ledger[0].submitted))


def _replay(
    ledger: Sequence[Served], latency: Latency, play: Callable[[int, Mapping[str | None, float]], float]
) -> Schedule:
    """The training calls through a fresh queue.

    Args:
        ledger: with the calls.
        latency: of the queue.
        play: from a step's number, and the times at which saves of sampler weights ended, by path: when the step's
            passes are sent.
    """
    queue, way, began = TrainingQueue(latency), latency.round_trip / 2, ledger[0].submitted
    steps, saved, sent, end = list[float](), dict[str | None, float](), None, began
    for version, (saves, passes) in enumerate(_segments(ledger)):
        for one in saves:
            _, end = queue.place(one.call, (one.submitted if sent is None else sent) + way - _SLACK)
            if one.call == "save_weights_for_sampler":
                saved[one.path] = end
        sent = play(version, saved)
        for one in passes:
            _, end = queue.place(one.call, sent + way - _SLACK)
            steps += [end] * (one.call == "optim_step")
    return Schedule(np.asarray(steps) - began, end + way - began)


def _segments(ledger: Sequence[Served]) -> list[tuple[list[Served], list[Served]]]:
    """Saves and passes of each optimizer step, which is the last of the passes; and those behind the last step."""
    segments, runs = [(list[Served](), list[Served]())], set[str | None]()
    for served in ledger:
        if served.call in _SAVES + _PASSES:
            runs.add(served.server_run)
            segments[-1][served.call in _PASSES].append(served)
        if served.call == "optim_step":
            segments.append(([], []))
    if len(segments) == 1 or len(runs) > 1:
        raise ValueError(
            f"a schedule is told from a run of one training client and at least one optimizer step; the ledger holds "
            f"{len(runs)} clients and {len(segments) - 1} steps"
        )
    for saves, _ in segments[1:]:  # those ahead of the first step arrive as they did, and so in their order
        saves.sort(key=lambda one: _SAVES.index(one.call))
    return segments


class _Dialogues:
    """When each sampling and scoring request could be answered; `last` of them all.

    A request's version is the number of optimizer steps behind the weights that its dialogue is played with, and so
    the number of the step that its dialogue is for; -1 for one that depends on no weights.
    """

    def __init__(self, ledger: Sequence[Served], latency: Latency) -> None:
        self._ledger, self._latency = ledger, latency
        self._openings = {one.path or one.model: one for one in ledger[::-1] if one.call == "create_sampling_client"}
        self._sources = _sources(ledger)
        self._done = np.zeros(len(ledger))
        self._steps = [number for number, served in enumerate(ledger) if served.call == "optim_step"]
        self._requests: list[list[int]] = [[] for _ in range(len(self._steps) + 2)]  # by version, -1 at the end
        self._sort_by_version()
        self.last = ledger[0].submitted
        self._play(-1, {})

    def play(self, version: int, saved: Mapping[str | None, float]) -> float:
        """Answers the requests of a version; when all its scores are there."""
        scores = self._play(version, saved)
        if not scores and version < len(self._steps):
            raise ValueError(
                f"no scores are found that optimizer step {version} was taken on; the ledger must be of an on-policy "
                "run, each dialogue's weights named by their path, and hold tokens (keep_tokens=True)"
            )
        return max(scores, default=self.last)

    def _play(self, version: int, saved: Mapping[str | None, float]) -> list[float]:
        for number in self._requests[version]:
            served, source = self._ledger[number], self._sources[number]
            begun = max(self._opened(served, saved), self._done[source] if source >= 0 else 0.0)
            self._done[number] = begun + self._latency.round_trip + served.ended - served.started
            self.last = max(self.last, float(self._done[number]))
        return [float(self._done[number]) for number in self._requests[version] if _is_score(self._ledger[number])]

    def _opened(self, served: Served, saved: Mapping[str | None, float]) -> float:
        """When the sampling client that a request was sent by could be open."""
        opening = self._openings.get(served.path or served.model)
        if served.path in saved:
            asked = saved[served.path] + self._latency.round_trip / 2
            return asked if opening is None else asked + opening.answered - opening.submitted
        return self._ledger[0].submitted if opening is None else opening.answered

    def _sort_by_version(self) -> None:
        segments = enumerate(_segments(self._ledger))
        saved = {one.path: version for version, (saves, _) in segments for one in saves if one.call == _SAVES[0]}
        versions = np.full(len(self._ledger), -1)
        for number, served in enumerate(self._ledger):
            if served.prompt is None:
                continue
            source = self._sources[number]
            version = inherited = int(versions[source]) if source >= 0 else -1
            if served.path is not None:
                version = saved.get(served.path, 0)
            is_late = _is_score(served) and 0 <= version < len(self._steps) and number > self._steps[version]
            if is_late or inherited not in (-1, version):
                raise ValueError(
                    f"the run was not on-policy: request {number} of the ledger, on the weights of step {version}, "
                    f"belongs to a dialogue on those of step {inherited}, or came behind the optimizer step"
                )
            versions[number] = version
            self._requests[version].append(number)


def _is_score(served: Served) -> bool:
    """Whether a request asks for the scores of its prompt: it samples nothing, or one token as it must."""
    return served.call == "compute_logprobs" or (served.call == "sample" and served.longest == 1)


def _sources(ledger: Sequence[Served]) -> NDArray[np.intp]:
    """The request whose reply stands last in the prompt of each request of the ledger, -1 for none, `[N]`."""
    sampled = [number for number, served in enumerate(ledger) if not _is_score(served)]
    replies = [(number, reply) for number in sampled for reply in ledger[number].replies if len(reply) >= _SHORTEST]
    heads: dict[int, dict[int, list[tuple[int, NDArray[np.int32]]]]] = {}  # by width, by hash
    for number, reply in replies:
        width = min(_WIDTH, len(reply) - 2)
        key = int(_hashes(reply[1 : 1 + width], width)[0])
        heads.setdefault(width, {}).setdefault(key, []).append((number, reply))
    tables = [(width, np.sort(np.fromiter(table, np.uint64)), table) for width, table in heads.items()]
    sources = np.full(len(ledger), -1)
    for number, served in enumerate(ledger):
        if served.prompt is None:
            continue
        best = (0, 0, -1)  # end of the reply in the prompt, its length, who sampled it
        for width, known, table in tables:
            windows = _hashes(served.prompt, width)
            hits = np.flatnonzero(known[np.searchsorted(known, windows).clip(max=len(known) - 1)] == windows)
            for start in hits.tolist():
                for source, reply in table[int(windows[start])]:
                    end = start + len(reply) - 2
                    # Two replies may be alike: one that was not there yet cannot be meant.
                    is_there = ledger[source].answered <= served.submitted + _SLACK
                    if is_there and np.array_equal(served.prompt[start:end], reply[1:-1]):
                        end += int(end < len(served.prompt) and served.prompt[end] == reply[-1])
                        best = max(best, (end, len(reply), source))
        sources[number] = best[2]
    return sources


def _hashes(tokens: NDArray[np.int32], width: int) -> NDArray[np.uint64]:
    """A hash of each run of `width` tokens, `[P - width + 1]`, or `[0]`."""
    count = max(len(tokens) - width + 1, 0)
    hashes = np.zeros(count, np.uint64)
    for place in range(width):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + tokens[place : place + count].astype(np.uint64)
    return hashes
