"""Numbers that would spoil the weights: where they come in, what becomes of the dialogue, the run and its states."""

import json
import math

import numpy as np
import pytest
from tests.integration.spoiling import SpoilingService, changed, first_logprob, prompt_logprobs, sampled
from tests.support.rows import read_rows

from socratic_distill import NoUsableCheckpoint, Resume, load_checkpoints, resolve_start, train
from socratic_distill.errors import InvalidAnswer, RolloutError
from socratic_distill.run.journal import Journal
from socratic_distill.service.numbers import HIGHEST, LOWEST
from socratic_distill.testing import FakeServiceClient
from socratic_distill.testing.store import DirectoryStore

pytestmark = pytest.mark.thinned

BAD = [math.nan, math.inf, -math.inf, -1e300, -1e39, LOWEST * 1.01, HIGHEST * 1.01, 5.0]
# Six dialogues a batch on the fake, three openings: the fourth sample is a tutor's.
FIRST_REPLY = 4


def batch_to_resume_at(log_path):
    """The batch that a run goes on with."""
    start = resolve_start(log_path)
    assert isinstance(start, Resume)
    return start.batch


def weights_are_finite(server, log_path):
    """Whether every state that a run recorded holds only finite numbers."""
    store = DirectoryStore(server)
    paths = [record.state_path for record in load_checkpoints(log_path) if record.state_path]
    headers = [store.header(path) for path in paths]
    arrays = [array for header in headers if header is not None for array in store.arrays(header).values()]
    return all(np.isfinite(array).all() for array in arrays)


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("call", ["sample", "score"])
def test_dialogue_with_an_invalid_logprob_fails_and_weights_stay_finite(make_config, tmp_path, call, value):
    spoil = first_logprob(value) if call == "sample" else prompt_logprobs(value)
    service = SpoilingService(FakeServiceClient(tmp_path / "server"), call, spoil, nth=FIRST_REPLY)
    train(make_config(max_steps=2, max_failed_fraction=0.5, num_envs=2), service_client=service)
    rows = read_rows(tmp_path / "run" / "dialogues.jsonl")
    failed = [row for row in rows if row["ending"] == "failed"]
    assert service.spoilt == len(failed) == 1
    assert "is no log-probability; expected a number from -1e+06 to 0 nats" in failed[0]["error"]
    first, second = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert (first["end/failed"], second["end/failed"]) == (1, 0)
    assert weights_are_finite(tmp_path / "server", tmp_path / "run")


@pytest.mark.parametrize("value", [LOWEST, -1e4, 0.0, HIGHEST])
def test_dialogue_with_an_odd_but_valid_logprob_is_trained_on(make_config, tmp_path, value):
    service = SpoilingService(FakeServiceClient(tmp_path / "server"), "sample", first_logprob(value), nth=FIRST_REPLY)
    train(make_config(max_steps=2, max_failed_fraction=0.0), service_client=service)
    assert service.spoilt == 1
    assert weights_are_finite(tmp_path / "server", tmp_path / "run")


def test_invalid_logprobs_count_among_the_failed_dialogues(make_config, tmp_path):
    service = SpoilingService(FakeServiceClient(), "sample", first_logprob(math.nan), nth=FIRST_REPLY)
    with pytest.raises(RolloutError, match=r"1 of 6 dialogues failed.*tutor's token 0 is nan"):
        train(make_config(max_failed_fraction=0.0), service_client=service)


def test_students_logprobs_are_looked_at_by_nobody(make_config, tmp_path):
    service = SpoilingService(FakeServiceClient(), "sample", first_logprob(math.nan), nth=1)  # an opening
    assert train(make_config(max_steps=1, max_failed_fraction=0.0), service_client=service).status == "completed"


def test_no_state_is_saved_where_all_that_the_tutor_said_is_invalid(make_config, tmp_path):
    config = make_config(save_every=50)
    train(make_config(log_path=tmp_path / "shorter", max_steps=2), service_client=(shorter := FakeServiceClient()))
    server = tmp_path / "server"
    first = sum(call.call == "sample" and not call.arguments.get("include_prompt_logprobs") for call in shorter.calls)
    service = SpoilingService(FakeServiceClient(server), "sample", first_logprob(math.nan), nth=first // 2, times=10**6)
    with pytest.raises(InvalidAnswer, match="The tutor's weights may be damaged, so no state of them is saved"):
        train(config, service_client=service)
    assert not any(record.state_path for record in load_checkpoints(tmp_path / "run"))
    assert train(config, service_client=FakeServiceClient(server)).status == "completed"
    assert weights_are_finite(server, tmp_path / "run")


TOP = {"kind": "reverse_kl", "k": 4}
DRAWS = {"kind": "monte_carlo_kl", "k": 4}


def spoilt_top(value, token=None):
    def spoil(answer):
        rows = [
            row and [(token if token is not None else one, value) for one, _ in row]
            for row in answer.topk_prompt_logprobs
        ]
        return changed(answer, topk_prompt_logprobs=rows)

    return spoil


def spoilt_targets(value):
    def spoil(answer):
        targets = answer.target_prompt_logprobs
        return changed(answer, target_prompt_logprobs=changed(targets, _numpy=np.full_like(targets._numpy, value)))

    return spoil


@pytest.mark.parametrize(
    ("objective", "spoil"),
    [
        (TOP, spoilt_top(math.nan)),
        (TOP, spoilt_top(-math.inf)),
        (TOP, spoilt_top(-1e300)),
        (TOP, spoilt_top(-1.0, token=-7)),
        (TOP, spoilt_targets(math.nan)),
        (DRAWS, spoilt_targets(-math.inf)),
    ],
)
def test_dialogue_with_invalid_scores_of_named_tokens_fails(make_config, tmp_path, objective, spoil):
    def once(answer):
        return answer if answer.target_prompt_logprobs is None else spoil(answer)

    service = SpoilingService(FakeServiceClient(tmp_path / "server"), "score", once, nth=FIRST_REPLY, times=4)
    config = make_config(max_steps=2, max_failed_fraction=0.9, objective=objective)
    train(config, service_client=service)
    rows = read_rows(tmp_path / "run" / "dialogues.jsonl")
    told = [row["error"] for row in rows if row["ending"] == "failed"]
    assert told and all("is no log-probability" in one or "is not a token id" in one for one in told)
    assert weights_are_finite(tmp_path / "server", tmp_path / "run")


def spoilt_reply_top(value):
    def rows(one):
        return [[(token, value) for token, _ in row] for row in one.topk_logprobs]

    return lambda answer: (
        answer
        if answer.sequences[0].topk_logprobs is None
        else changed(answer, sequences=[_WithTop(one, rows(one)) for one in answer.sequences])
    )


class _WithTop:
    """A sampled sequence with other likeliest tokens; the SDK computes its own from arrays."""

    def __init__(self, sequence, rows):
        self._sequence, self.topk_logprobs = sequence, rows

    def __getattr__(self, name):
        return getattr(self._sequence, name)


@pytest.mark.parametrize("value", [math.nan, -math.inf, 1.0])
def test_dialogue_with_an_entropy_of_invalid_numbers_fails(make_config, tmp_path, value):
    service = SpoilingService(FakeServiceClient(), "sample", spoilt_reply_top(value), nth=FIRST_REPLY)
    train(make_config(max_steps=1, max_failed_fraction=0.5, token_weights="entropy"), service_client=service)
    rows = read_rows(tmp_path / "run" / "dialogues.jsonl")
    told = [row["error"] for row in rows if row["ending"] == "failed"]
    assert told and all("the likeliest tokens of tutor turn" in one and "is no log-prob" in one for one in told)


def outputs(change):
    """Has each output's log-probabilities be something else."""

    def spoil(answer):
        told = [one["logprobs"] for one in answer.loss_fn_outputs]
        new = [{"logprobs": changed(one, _numpy=change(one.to_numpy()))} for one in told]
        return changed(answer, loss_fn_outputs=new)

    return spoil


def of_loss(value):
    return lambda answer: changed(answer, metrics={"loss:sum": value})


all_nan = outputs(lambda values: values * np.nan)
too_short = outputs(lambda values: values[:-1])
no_outputs = lambda answer: changed(answer, loss_fn_outputs=[])  # noqa: E731
nameless = lambda answer: changed(answer, loss_fn_outputs=[{} for _ in answer.loss_fn_outputs])  # noqa: E731
without_last = lambda answer: changed(answer, loss_fn_outputs=answer.loss_fn_outputs[:-1])  # noqa: E731

ANSWERS = {
    "outputs NaN": ("forward_backward", all_nan, "the log-probability nan"),
    "outputs empty": ("forward_backward", no_outputs, "answered for 0 of"),
    "one output too few": ("forward_backward", without_last, "answered for"),
    "outputs too short": ("forward_backward", too_short, "log-probabilities for"),
    "outputs of another name": ("forward_backward", nameless, "without log-probabilities"),
    "loss NaN": ("forward_backward", of_loss(math.nan), "'loss:sum' is nan"),
    "loss infinite": ("forward_backward", of_loss(math.inf), "'loss:sum' is inf"),
    "optimizer NaN": ("optim_step", lambda one: changed(one, metrics={"grad_norm": math.nan}), "'grad_norm' is nan"),
    "forward NaN": ("forward", all_nan, "the log-probability nan"),
    "forward empty": ("forward", no_outputs, "answered for 0 of"),
}


@pytest.mark.parametrize("case", ANSWERS)
@pytest.mark.parametrize("max_staleness", [0, 1])
def test_step_with_an_invalid_answer_stops_the_run_before_its_state(make_config, tmp_path, case, max_staleness):
    call, spoil, told = ANSWERS[case]
    objective = TOP if call == "forward" else {"kind": "sampled_reverse_kl"}
    config = make_config(save_every=1, objective=objective, max_staleness=max_staleness)
    server = tmp_path / "server"
    service = SpoilingService(FakeServiceClient(server), call, spoil, nth=3)
    with pytest.raises(InvalidAnswer, match=told):
        train(config, service_client=service)
    steps = [row["step"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")]
    newest = Journal.of(load_checkpoints(tmp_path / "run")).newest_state()
    assert newest is not None and newest.batch == len(steps) <= 2, "the step's own state is recorded nowhere"
    assert train(config, service_client=FakeServiceClient(server)).status == "completed"
    assert weights_are_finite(server, tmp_path / "run")


def test_another_figure_of_the_service_that_is_not_finite_stops_nothing(make_config, tmp_path):
    spoil = lambda one: changed(one, metrics={"loss:sum": 1.0, "fastest": math.inf})  # noqa: E731
    service = SpoilingService(FakeServiceClient(), "forward_backward", spoil, nth=1)
    assert train(make_config(max_steps=1), service_client=service).status == "completed"


# --- resuming past states of earlier versions, which went on after such a step


def spoil_row(log_path, step, text):
    """Writes a figure of a step's row as an earlier version did."""
    path = log_path / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[step]["teacher_kl"] = "SPOILT"
    path.write_text("".join(json.dumps(row).replace('"SPOILT"', text) + "\n" for row in rows))


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e+298"])
def test_resume_passes_over_states_after_a_step_that_was_not_finite(make_config, tmp_path, caplog, text):
    server = tmp_path / "server"
    whole = make_config(save_every=1)
    train(whole, service_client=FakeServiceClient(server))
    expected = read_rows(tmp_path / "run" / "metrics.jsonl")
    spoil_row(tmp_path / "run", 3, text)
    start = resolve_start(tmp_path / "run")
    assert isinstance(start, Resume) and start.batch == 3
    assert "its weights may be damaged, since the figures of step 3 in metrics.jsonl are not finite" in caplog.text
    assert train(whole, service_client=FakeServiceClient(server)).status == "completed"
    assert read_rows(tmp_path / "run" / "metrics.jsonl") == expected
    assert batch_to_resume_at(tmp_path / "run") == 6


def test_run_with_only_damaged_states_is_refused_by_name(make_config, tmp_path):
    train(make_config(save_every=2), service_client=FakeServiceClient(tmp_path / "server"))
    spoil_row(tmp_path / "run", 1, "NaN")
    with pytest.raises(NoUsableCheckpoint, match=r"weights/000002: its weights may be damaged"):
        resolve_start(tmp_path / "run")


def test_loading_from_another_run_passes_over_its_damaged_states(make_config, tmp_path):
    server = tmp_path / "server"
    train(make_config(save_every=2), service_client=FakeServiceClient(server))
    spoil_row(tmp_path / "run", 3, "NaN")
    config = make_config(log_path=tmp_path / "next", load_checkpoint_path=tmp_path / "run", max_steps=1)
    train(config, service_client=FakeServiceClient(server))
    origin = json.loads((tmp_path / "next" / "origin.json").read_text())
    assert origin["resolved"].endswith("weights/000002")


# --- replies without tokens, and a last answer that fails


def empty(answer):
    return sampled(tokens=lambda one: [], logprobs=lambda one: [])(answer)


@pytest.mark.parametrize(("nth", "who"), [(1, "student"), (FIRST_REPLY, "tutor"), (11, "student")])
def test_a_reply_without_tokens_ends_its_dialogue_as_recorded(make_config, tmp_path, nth, who):
    service = SpoilingService(FakeServiceClient(), "sample", empty, nth=nth)
    config = make_config(max_steps=2, max_failed_fraction=0.0, rewards=[{"kind": "solved"}])
    assert train(config, service_client=service).status == "completed"
    rows = read_rows(tmp_path / "run" / "dialogues.jsonl")
    ended = [row for row in rows if row["ending"] == "empty"]
    assert {row["error"] for row in ended} == {f"the {who} replied with no tokens"}
    assert len(ended) == (2 if nth == 1 else 1), "an opening is asked for once for its group"
    assert all(turn["role"] != who or turn["text"] for row in ended for turn in row["turns"])
    first, _ = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert first["end/empty"] == len(ended) and first["end/failed"] == 0


def last_answer_fails(answer):
    raise ConnectionError("the student's server is gone")


def test_a_failed_last_answer_is_recorded_and_counted(make_config, tmp_path):
    config = make_config(max_steps=3, max_turns=1, max_failed_fraction=0.0, save_every=50)
    server = tmp_path / "server"
    service = SpoilingService(FakeServiceClient(server), "sample", last_answer_fails, nth=10)
    with pytest.raises(RolloutError, match=r"1 of 6 dialogues failed.*last answer failed: ConnectionError"):
        train(config, service_client=service)
    rows = read_rows(tmp_path / "run" / "dialogues.jsonl")
    assert [row["ending"] for row in rows if row["error"]] == ["unanswered"]
    (metrics,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert metrics["end/unanswered"] == 1 and metrics["datums"] == 6, "the tutor's part is trained on"
    assert batch_to_resume_at(tmp_path / "run") == 1, "what was trained is kept"
    assert train(config, service_client=FakeServiceClient(server)).status == "completed"


def test_a_failed_last_answer_of_the_last_batch_is_not_passed_over(make_config, tmp_path):
    config = make_config(max_steps=1, max_turns=1, max_failed_fraction=0.0)
    server = tmp_path / "server"
    service = SpoilingService(FakeServiceClient(server), "sample", last_answer_fails, nth=10)
    with pytest.raises(RolloutError, match="1 of 6 dialogues failed"):
        train(config, service_client=service)
    assert train(config, service_client=FakeServiceClient(server)).steps == 1


def test_a_failed_last_answer_within_the_allowed_share_stops_nothing(make_config, tmp_path):
    config = make_config(max_steps=1, max_turns=1, max_failed_fraction=0.2)
    service = SpoilingService(FakeServiceClient(), "sample", last_answer_fails, nth=10)
    assert train(config, service_client=service).status == "completed"


def test_with_rewards_a_dialogue_without_its_last_answer_has_failed(make_config, tmp_path):
    config = make_config(max_steps=1, max_turns=1, max_failed_fraction=0.5, rewards=[{"kind": "solved"}])
    service = SpoilingService(FakeServiceClient(), "sample", last_answer_fails, nth=10)
    train(config, service_client=service)
    (failed,) = [row for row in read_rows(tmp_path / "run" / "dialogues.jsonl") if row["error"]]
    assert (failed["ending"], failed["reward"]) == ("failed", None)
    assert read_rows(tmp_path / "run" / "metrics.jsonl")[0]["datums"] == 5
