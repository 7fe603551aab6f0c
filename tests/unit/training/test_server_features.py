import json

import pytest
from tests.support.partial import Partial
from tinker.lib.public_interfaces import sampling_client

from socratic_distill.errors import ServiceError, StorageError, TrainingError, UnsupportedFeature
from socratic_distill.in_process import status_error
from socratic_distill.testing import FakeServiceClient, Fault
from socratic_distill.training.server_features import FEATURES, check_features, needed_features

URL = "http://server.invalid:8104"
OF = {
    "forward_kl": {"topk_prompt_logprobs"},
    "reverse_kl": {"topk_prompt_logprobs", "target_prompt_logprobs", "topk_sample_logprobs"},
    "jensen_shannon": {"topk_prompt_logprobs", "target_prompt_logprobs", "topk_sample_logprobs"},
    "monte_carlo_kl": {"prompt_alt_tokens_k", "target_prompt_logprobs"},
}
ALL = {"kind": "mixture", "parts": [{"objective": {"kind": kind}} for kind in ("reverse_kl", "monte_carlo_kl")]}


@pytest.fixture
def config_of(make_config, tmp_path):
    """A config by its objective, on a server that nobody knows."""
    recorded = tmp_path / "recorded.jsonl"
    recorded.write_text("")

    def make(kind="sampled_reverse_kl", recordings=None, **changes):
        if recordings is not None:
            changes["recordings"] = {"files": [recorded], **recordings}
        objective = {"kind": kind} if isinstance(kind, str) else kind
        return make_config(objective=objective, base_url=URL, **changes)

    return make


def teacher(service):
    return service.create_sampling_client(base_model="teacher").result()


def probes(service):
    """The features that each sampling request asked for."""
    return [record.arguments["features"] for record in service.calls if record.call == "sample"]


class Refusing(Partial):
    """A sampling client that answers every request with an error."""

    def __init__(self, error):
        self._error = error

    async def sample(self, *arguments, **options):
        raise self._error


class Ignoring(Partial):
    """The SDK's client of a server that ignores what it does not know; the SDK itself misses drawn tokens."""

    async def sample(self, prompt, num_samples, sampling_params, prompt_alt_tokens_k=0, **options):
        response = await teacher(FakeServiceClient()).sample(prompt, num_samples, sampling_params)
        sampling_client._check_prompt_alt_tokens_returned(response, prompt_alt_tokens_k)
        return response


# What is needed


@pytest.mark.parametrize("kind", OF)
def test_needs_of_played_dialogues_are_those_of_the_objective(config_of, kind):
    assert needed_features(config_of(kind)) == OF[kind]


def test_the_default_objective_needs_nothing(config_of):
    assert needed_features(config_of()) == frozenset()


def test_a_mixture_needs_what_its_parts_need(config_of):
    assert needed_features(config_of(ALL)) == frozenset(FEATURES)


@pytest.mark.parametrize("kind", OF)
def test_recorded_dialogues_come_without_sampled_tokens(config_of, kind):
    recordings = {"objective": {"kind": kind}}
    assert needed_features(config_of(recordings=recordings)) == OF[kind] - {"topk_sample_logprobs"}


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, set()), (0.5, OF["reverse_kl"])])
def test_the_objective_counts_where_dialogues_are_played(config_of, fraction, expected):
    config = config_of("reverse_kl", recordings={"on_policy_fraction": 0.5})
    assert config.recordings is not None
    recordings = config.recordings.model_copy(update={"on_policy_fraction": fraction})
    assert needed_features(config.model_copy(update={"recordings": recordings})) == expected


def test_played_and_recorded_dialogues_add_up(config_of):
    recordings = {"on_policy_fraction": 0.5, "objective": {"kind": "monte_carlo_kl"}}
    expected = OF["forward_kl"] | OF["monte_carlo_kl"]
    assert needed_features(config_of("forward_kl", recordings=recordings)) == expected
    same = {"on_policy_fraction": 0.5, "objective": {"kind": "reverse_kl"}}
    assert needed_features(config_of("reverse_kl", recordings=same)) == OF["reverse_kl"]


# Probes


async def test_nothing_is_sent_or_written_where_nothing_is_needed(config_of, tmp_path):
    service = FakeServiceClient(lacks=FEATURES)
    await check_features(config_of(), teacher(service), tmp_path / "run")
    assert probes(service) == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("base_url", [None, "local"])
async def test_known_servers_are_not_asked(make_config, tmp_path, base_url):
    service = FakeServiceClient()
    await check_features(make_config(objective=ALL, base_url=base_url), teacher(service), tmp_path / "run")
    assert probes(service) == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", OF)
async def test_each_needed_feature_is_asked_for_once_in_a_few_tokens(config_of, tmp_path, kind):
    service = FakeServiceClient()
    await check_features(config_of(kind), teacher(service), tmp_path / "run")
    assert sorted(probes(service)) == sorted((feature,) for feature in OF[kind])
    for record in service.calls[1:]:
        given = record.arguments
        assert given["prompt_tokens"] + given["num_samples"] * given["max_tokens"] <= 8
        assert (given["num_samples"], record.outcome) == (1, "done")
    written = json.loads((tmp_path / "run" / "features.json").read_text())
    assert written == {URL: dict.fromkeys(OF[kind], True)}


async def test_a_server_is_asked_once_in_a_run(config_of, tmp_path):
    service = FakeServiceClient(lacks=["prompt_alt_tokens_k"])
    client = teacher(service)
    await check_features(config_of("reverse_kl"), client, tmp_path)
    asked = len(probes(service))
    await check_features(config_of("reverse_kl"), client, tmp_path)
    assert len(probes(service)) == asked == 3
    for _ in range(2):
        with pytest.raises(UnsupportedFeature):
            await check_features(config_of("monte_carlo_kl"), client, tmp_path)
    assert probes(service)[asked:] == [("prompt_alt_tokens_k",)], "only what is not known yet is asked for"


async def test_what_one_server_has_says_nothing_of_another(config_of, tmp_path):
    lacking, complete = FakeServiceClient(lacks=FEATURES), FakeServiceClient()
    with pytest.raises(UnsupportedFeature):
        await check_features(config_of("forward_kl"), teacher(lacking), tmp_path)
    other = config_of("forward_kl").model_copy(update={"base_url": "http://other.invalid"})
    await check_features(other, teacher(complete), tmp_path)
    assert probes(complete) == [("topk_prompt_logprobs",)]
    written = json.loads((tmp_path / "features.json").read_text())
    assert written == {
        URL: {"topk_prompt_logprobs": False},
        "http://other.invalid": {"topk_prompt_logprobs": True},
    }


@pytest.mark.parametrize("text", ["", "{", "[1]", '"a"', '{"URL": 3}', '{"URL": {"topk_prompt_logprobs": "no"}}', "\0"])
async def test_a_damaged_file_is_written_anew(config_of, tmp_path, text):
    (tmp_path / "features.json").write_text(text.replace("URL", URL))
    service = FakeServiceClient()
    await check_features(config_of("forward_kl"), teacher(service), tmp_path)
    assert probes(service) == [("topk_prompt_logprobs",)]
    assert json.loads((tmp_path / "features.json").read_text())[URL] == {"topk_prompt_logprobs": True}


async def test_a_directory_that_cannot_be_made_is_told(config_of, tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(StorageError, match="another log_path"):
        await check_features(config_of("forward_kl"), teacher(FakeServiceClient()), tmp_path / "run")


# Refusals


async def test_the_refusal_names_objective_features_server_and_what_works(config_of, tmp_path):
    service = FakeServiceClient(lacks=["topk_sample_logprobs", "prompt_alt_tokens_k"])
    with pytest.raises(UnsupportedFeature) as caught:
        await check_features(config_of(ALL), teacher(service), tmp_path)
    told = str(caught.value)
    assert "'reverse_kl', 'monte_carlo_kl' needs topk_sample_logprobs, prompt_alt_tokens_k," in told
    assert URL in told and str(tmp_path / "features.json") in told
    works = told.split("known to work there: ")[1].split(" (")[0]
    assert works == "'sampled_reverse_kl', 'supervised', 'forward_kl'"


async def test_what_was_not_asked_for_is_not_said_to_work(config_of, tmp_path):
    service = FakeServiceClient(lacks=["topk_prompt_logprobs"])
    with pytest.raises(UnsupportedFeature, match="'forward_kl' needs topk_prompt_logprobs") as caught:
        await check_features(config_of("forward_kl"), teacher(service), tmp_path)
    assert "'sampled_reverse_kl', 'supervised' (" in str(caught.value)
    assert "monte_carlo_kl" not in str(caught.value)


async def test_recordings_alone_can_do_without_sampled_tokens(config_of, tmp_path):
    service = FakeServiceClient(lacks=["topk_sample_logprobs", "prompt_alt_tokens_k"])
    recordings = {"objective": {"kind": "monte_carlo_kl"}}
    await check_features(config_of(recordings={"objective": {"kind": "reverse_kl"}}), teacher(service), tmp_path)
    with pytest.raises(UnsupportedFeature, match="'forward_kl', 'reverse_kl', 'jensen_shannon' \\("):
        await check_features(config_of(recordings=recordings), teacher(service), tmp_path)


@pytest.mark.parametrize("status", [400, 422, 501])
async def test_a_refused_probe_means_that_the_feature_is_lacking(config_of, tmp_path, status):
    with pytest.raises(UnsupportedFeature, match="topk_prompt_logprobs"):
        await check_features(config_of("forward_kl"), Refusing(status_error(status, "unknown field")), tmp_path)
    assert json.loads((tmp_path / "features.json").read_text()) == {URL: {"topk_prompt_logprobs": False}}


async def test_a_refusal_while_the_sdk_waits_means_the_same(config_of, tmp_path):
    waited = ValueError("Error retrieving result")
    waited.__cause__ = status_error(422, "unknown field")
    with pytest.raises(UnsupportedFeature, match="topk_prompt_logprobs"):
        await check_features(config_of("forward_kl"), Refusing(waited), tmp_path)


async def test_an_answer_without_the_requested_part_means_a_missing_feature(config_of, tmp_path):
    with pytest.raises(UnsupportedFeature):
        await check_features(config_of(ALL), Ignoring(), tmp_path)
    written = json.loads((tmp_path / "features.json").read_text())
    assert written == {URL: dict.fromkeys(FEATURES, False)}


@pytest.mark.parametrize("error", [500, 503, 429, 404, "connection", "timeout", "request_failed", RuntimeError("own")])
async def test_a_transient_failure_is_not_taken_for_a_lacking_feature(config_of, tmp_path, error):
    service = FakeServiceClient(faults=[Fault("sample", error=error)])
    client, config = teacher(service), config_of("reverse_kl")
    with pytest.raises(TrainingError, match="asking the server for topk_prompt_logprobs"):
        await check_features(config, client, tmp_path)
    assert not (tmp_path / "features.json").exists()
    await check_features(config, client, tmp_path)


async def test_a_probe_without_the_right_to_ask_says_what_to_do(config_of, tmp_path):
    service = FakeServiceClient(faults=[Fault("sample", error=401)])
    with pytest.raises(ServiceError, match="TINKER_API_KEY") as caught:
        await check_features(config_of("forward_kl"), teacher(service), tmp_path)
    assert not isinstance(caught.value, UnsupportedFeature)
