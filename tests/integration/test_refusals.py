"""What cannot work is refused with a message that says why, before anything is sampled."""

import json
import logging
import re
from typing import Any

import pytest
from tests.support.on_the_fake import train_strictly
from tests.support.rows import read_rows, write_rows
from tinker.types import GetServerCapabilitiesResponse, SupportedModel

from socratic_distill import ConfigError, RenderingError, UnsupportedFeature, build_socratic_config, evaluate
from socratic_distill.in_process import ServiceFuture
from socratic_distill.testing import FakeRestClient, FakeSamplingClient, FakeServiceClient, ToyTokenizer
from socratic_distill.testing.tokenizer import END_TOKEN, ROLE_TOKENS

URL = "http://server.invalid:8104"


class TemplateOf(ToyTokenizer):
    """The toy tokenizer with another chat template: what each message is written as."""

    def write(self, message) -> str:
        return f"{ROLE_TOKENS[message['role']]}{message['content']}{END_TOKEN}\n"

    def apply_chat_template(self, conversation, tokenize=True, add_generation_prompt=False, **kwargs) -> Any:
        assert tokenize is False
        opening = ROLE_TOKENS["assistant"] if add_generation_prompt else ""
        return "".join(map(self.write, conversation)) + opening


class Swapped(ToyTokenizer):
    """Two tokens have each other's id."""

    def get_vocab(self):
        vocabulary = super().get_vocab()
        vocabulary["<|system|>"], vocabulary["<|user|>"] = vocabulary["<|user|>"], vocabulary["<|system|>"]
        return vocabulary


class ByBytes(ToyTokenizer):
    """The same vocabulary, but digits are cut into bytes."""

    def encode(self, text, add_special_tokens=True):
        return [4 + ord(str(self.decode([one]))) if self.decode([one]) in "0123456789" else one
                for one in super().encode(text, add_special_tokens)]  # fmt: skip


class OneLine(TemplateOf):
    """Writes a reply on one line."""

    def write(self, message):
        return super().write(message | {"content": " ".join(message["content"].split())})


class CountsReplies(TemplateOf):
    """Writes the length of a reply before it."""

    def write(self, message):
        text = super().write(message)
        return f"{len(message['content'])}:{text}" if message["role"] == "assistant" else text


class OtherEnd(TemplateOf):
    """Ends a turn with another special token."""

    def write(self, message):
        return super().write(message).replace(END_TOKEN, ROLE_TOKENS["system"])


class NoSystem(TemplateOf):
    """Refuses a system message."""

    def write(self, message):
        if message["role"] == "system":
            raise ValueError("the roles are user and assistant")
        return super().write(message)


class DropsSystem(TemplateOf):
    """Says nothing of a system message."""

    def write(self, message):
        return "" if message["role"] == "system" else super().write(message)


@pytest.fixture
def tokenizer_of(monkeypatch):
    """Gives models of the fake other tokenizers."""
    given: dict[str, ToyTokenizer] = {}
    right = FakeSamplingClient.get_tokenizer
    monkeypatch.setattr(
        FakeSamplingClient, "get_tokenizer", lambda self: given.get(self.get_base_model()) or right(self)
    )

    def give(**tokenizers):
        given.update(tokenizers)

    return give


def refused(error, config, server, rest=None) -> str:
    """The message that a run is refused with, nothing sampled, trained or saved, and no run begun."""
    with pytest.raises(error) as told:
        train_strictly(server, config, rest)
    asked = {one.call for one in server.calls}
    assert asked <= {"create_lora_training_client", "create_sampling_client", "get_server_capabilities",
                     "list_user_checkpoints"}, asked  # fmt: skip
    return str(told.value)


# Models that do not fit


MISMATCHES = {
    "vocabulary": (
        Swapped,
        "2 tokens of the tutor 'small' mean something else to the teacher 'foreign', among them '<|system|>', "
        "'<|user|>'; the teacher scores the tutor's token ids, so choose two models of one family",
    ),
    "reply": (
        OneLine,
        "the chat template of the tutor 'small' writes a reply as 'You wrote 12 < 7 & x = \\\\frac{1}{2}.\\n\\n  1. "
        "What is 3 \u00d7 4?\\n  2. Why did you add?', that of the teacher 'foreign' as 'You wrote 12 < 7 & x = "
        "\\\\frac{1}{2}. 1. What is 3 \u00d7 4? 2. Why did you add?'; the teacher would score tokens that "
        "its template never produces, so choose two models whose templates write a reply alike",
    ),
    "around a reply": (
        CountsReplies,
        "the chat template of 'foreign' writes different text around a reply depending on the reply, so "
        "sampled tokens cannot replace the reply; use a model whose template keeps replies as they are",
    ),
    "end of turn": (
        OtherEnd,
        "the tutor 'small' ends its turns with token 3, the teacher 'foreign' with 0; choose two models with one way "
        "to end a turn",
    ),
    "system role": (
        NoSystem,
        "the chat template of 'foreign' cannot render the roles (system, user): the roles are user and assistant; set "
        "the config field system_role='merge', which puts the system prompt before the first user message, or use a "
        "model whose template has a system role",
    ),
    "dropped system role": (
        DropsSystem,
        "the chat template of 'foreign' drops the system message; set the config field system_role='merge', which puts "
        "the system prompt before the first user message, or use a model whose template has a system role",
    ),
}


@pytest.mark.parametrize("kind", MISMATCHES)
def test_a_teacher_that_does_not_fit_the_tutor_is_refused(make_config, tmp_path, tokenizer_of, kind):
    tokenizer, message = MISMATCHES[kind]
    tokenizer_of(foreign=tokenizer())
    assert refused(RenderingError, make_config(teacher_model_name="foreign"), FakeServiceClient()) == message
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("kind", MISMATCHES)
def test_an_evaluation_refuses_the_same(make_config, tokenizer_of, kind):
    tokenizer, message = MISMATCHES[kind]
    tokenizer_of(foreign=tokenizer())
    server = FakeServiceClient()
    with pytest.raises(RenderingError, match=re.escape(message)):
        evaluate(make_config(teacher_model_name="foreign"), "base", service_client=server)
    assert server.count("sample") == 0


def test_a_teacher_that_cuts_text_into_other_tokens_is_refused(make_config, tokenizer_of):
    tokenizer_of(foreign=ByBytes())
    told = refused(RenderingError, make_config(teacher_model_name="foreign"), FakeServiceClient())
    text = "1234567890 and 12,345.678 are 007 numbers, 1/2 + 3/4 = 5/4"
    ours, theirs = (tokenizer().encode(text) for tokenizer in (ToyTokenizer, ByBytes))
    assert ours != theirs
    assert told == (
        f"the tutor 'small' and the teacher 'foreign' have one vocabulary, but split {text!r} into different tokens: "
        f"{ours} and {theirs}; the teacher would score tokens that it never saw in such text, so choose two models of "
        "one family"
    )


def test_one_of_several_teachers_that_does_not_fit_is_refused(make_config, tokenizer_of):
    tokenizer_of(foreign=Swapped())
    teachers = [{"name": "right"}, {"name": "wrong", "model_name": "foreign"}]
    config = make_config(teachers=teachers, teacher_average="log_mean")
    assert refused(RenderingError, config, FakeServiceClient()) == MISMATCHES["vocabulary"][1]


def test_a_student_may_be_of_another_family(make_config, tokenizer_of):
    tokenizer_of(pupil=OtherEnd())
    assert train_strictly(FakeServiceClient(), make_config(max_steps=1)).status == "completed"


@pytest.mark.parametrize("tokenizer", [NoSystem, DropsSystem])
def test_a_student_without_a_system_role_is_refused_too(make_config, tokenizer_of, tokenizer):
    tokenizer_of(pupil=tokenizer())
    told = refused(RenderingError, make_config(), FakeServiceClient())
    assert told.startswith("the chat template of 'pupil' ") and "set the config field system_role='merge'" in told


@pytest.mark.parametrize("tokenizer", [NoSystem, DropsSystem])
def test_a_system_prompt_is_merged_where_the_template_has_no_place_for_it(
    make_config, tmp_path, tokenizer_of, tokenizer, monkeypatch
):
    tokenizer_of(pupil=tokenizer(), foreign=tokenizer())
    heard: dict[str, str] = {}
    right = FakeSamplingClient.sample

    def sample(self, prompt, *rest, **more):
        heard.setdefault(self.get_base_model(), ToyTokenizer().decode(prompt.to_ints()))
        return right(self, prompt, *rest, **more)

    monkeypatch.setattr(FakeSamplingClient, "sample", sample)
    train_strictly(FakeServiceClient(), make_config(teacher_model_name="foreign", system_role="merge", max_steps=1))
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert row["end/failed"] == 0 and row["teacher_kl"] is not None
    assert heard["small"].startswith("<|system|>"), "a template with a system role keeps it"
    assert heard["foreign"].startswith("<|user|>You are a Socratic math tutor.")
    assert heard["pupil"].startswith("<|user|>") and "<|system|>" not in heard["pupil"]


# Teachers and seeds


def test_a_seed_without_a_teacher_is_refused(make_config, seeds_file):
    teachers = [{"name": "geometry", "tags": ["geometry"]}]
    server = FakeServiceClient()
    assert refused(ConfigError, make_config(teachers=teachers), server) == (
        f"seed 's0' ({seeds_file}, no tags) has no teacher: none of 'geometry' takes its file or tags; add them to a "
        "teacher, or leave seeds_files and tags out of the teacher that takes all other seeds"
    )
    assert server.calls == []


def test_a_seed_with_two_teachers_is_refused_without_an_average(make_config, seeds_file):
    told = refused(ConfigError, make_config(teachers=[{"name": "a"}, {"name": "b"}]), FakeServiceClient())
    assert told == (
        f"seed 's0' ({seeds_file}, no tags) has the teachers 'a', 'b'; set teacher_average to average their "
        "scores, or narrow their seeds_files and tags so that only one takes the seed"
    )


def test_a_teacher_that_gets_no_seed_is_refused(make_config):
    server = FakeServiceClient()
    teachers = [{"name": "rest"}, {"name": "geometry", "tags": ["geometry"]}]
    assert refused(ConfigError, make_config(teachers=teachers), server) == (
        "teacher 'geometry' has no seed: none of the 6 seeds has one of its tags (geometry); they have no tags. "
        "Correct the tags, or leave the teacher out"
    )
    assert server.calls == []


def test_a_teacher_of_a_file_that_no_seed_is_from_is_refused(make_config, seeds_file):
    teachers = [{"name": "rest"}, {"name": "other", "seeds_files": ["other.jsonl"]}]
    assert refused(ConfigError, make_config(teachers=teachers), FakeServiceClient()) == (
        f"teacher 'other' has seeds_files='other.jsonl', which is none of the config's seeds files ('{seeds_file}'); "
        "write it exactly as there"
    )


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"teacher_lag_steps": 2, "teacher_model_name": "large"}, "teacher"),
        ({"teachers": [{"name": "old self", "model_name": "large", "lag_steps": 2}]}, "old-self"),
    ],
)
def test_a_lagged_teacher_of_another_model_is_refused_by_the_config(make_config, changes, name):
    changes = json.loads(json.dumps(changes).replace("old self", "old-self"))
    with pytest.raises(ConfigError) as told:
        make_config(**changes)
    assert str(told.value) == (
        f"teacher '{name}' scores with the tutor's own weights, but its model is 'large' and the tutor's is 'small'; "
        "name the same model"
    )


# Features of the server


NEEDED = {
    "forward_kl": ["topk_prompt_logprobs"],
    "reverse_kl": ["topk_prompt_logprobs", "topk_sample_logprobs", "target_prompt_logprobs"],
    "jensen_shannon": ["topk_prompt_logprobs", "topk_sample_logprobs", "target_prompt_logprobs"],
    "monte_carlo_kl": ["target_prompt_logprobs", "prompt_alt_tokens_k"],
}


def probes(server):
    """The sampling requests so far, each of one feature and of 8 tokens at most."""
    asked = [one.arguments for one in server.calls if one.call == "sample" and one.arguments["features"]]
    assert all(one["prompt_tokens"] + one["max_tokens"] * one["num_samples"] <= 8 for one in asked)
    assert all(len(one["features"]) == 1 for one in asked)
    return [one["features"][0] for one in asked]


@pytest.mark.parametrize(
    ("kind", "lacking"), [(kind, feature) for kind, features in NEEDED.items() for feature in features]
)
def test_a_feature_that_an_unknown_server_lacks_is_refused_after_a_probe(make_config, tmp_path, kind, lacking):
    server = FakeServiceClient(lacks=[lacking])
    config = make_config(objective={"kind": kind}, base_url=URL)
    with pytest.raises(UnsupportedFeature) as told:
        train_strictly(server, config)
    works = {
        "forward_kl": "'sampled_reverse_kl', 'supervised'",
        "reverse_kl": "'sampled_reverse_kl', 'supervised', 'forward_kl'",
        "jensen_shannon": "'sampled_reverse_kl', 'supervised', 'forward_kl'",
        "monte_carlo_kl": "'sampled_reverse_kl', 'supervised'",
    }[kind]
    if lacking == "topk_prompt_logprobs":
        works = "'sampled_reverse_kl', 'supervised'"
    assert str(told.value) == (
        f"the objective '{kind}' needs {lacking}, which the server at base_url='{URL}' lacks. What is known to work "
        f"there: {works} ('supervised' on recordings alone). Change the objective or the server; "
        f"{tmp_path / 'run' / 'features.json'} remembers the answer, delete it to have the server asked again"
    )
    assert probes(server) == NEEDED[kind]
    asked = [one.arguments["prompt_tokens"] for one in server.calls if one.call == "sample"]
    assert max(asked) <= 3, "no dialogue was begun"
    assert not (tmp_path / "run" / "config.json").exists() and not (tmp_path / "run" / "metrics.jsonl").exists()
    with pytest.raises(UnsupportedFeature):
        train_strictly(server, config)
    assert probes(server) == NEEDED[kind], "asked once"


def test_a_server_that_has_the_features_is_asked_once_in_a_runs_life(make_config, tmp_path):
    server = FakeServiceClient()
    config = make_config(objective={"kind": "reverse_kl"}, base_url=URL, max_steps=1)
    train_strictly(server, config)
    calls = [one.arguments for one in server.calls if one.call == "sample"]
    first = next(at for at, one in enumerate(calls) if one["prompt_tokens"] > 3)
    assert [one["features"][0] for one in calls[:first] if one["features"]] == NEEDED["reverse_kl"]
    before = server.count("sample")
    train_strictly(server, make_config(objective={"kind": "reverse_kl"}, base_url=URL, max_steps=2))
    resumed = [one.arguments for one in server.calls if one.call == "sample"][before:]
    assert resumed[0]["base_model"] == "pupil" and resumed[0]["max_tokens"] == 12, "the next dialogues, at once"


@pytest.mark.parametrize(
    ("changes", "is_asked"),
    [
        ({"base_url": URL}, True),
        ({"objective": {"kind": "forward_kl"}}, False),
        ({"objective": {"kind": "forward_kl"}, "base_url": URL}, True),
    ],
    ids=["an unknown server without features", "the hosted service", "an unknown server"],
)
def test_nothing_is_probed_without_need(make_config, changes, is_asked):
    server = FakeServiceClient()
    train_strictly(server, make_config(max_steps=1, **changes))
    first = next(one for one in server.calls if one.call == "sample")
    assert (first.arguments["prompt_tokens"] <= 8) == is_asked


def test_a_warm_start_on_a_server_without_features_is_not_refused(make_config, tmp_path):
    row = {"messages": [{"role": "user", "content": "I got 7."}, {"role": "assistant", "content": "Why?"}]}
    write_rows(tmp_path / "recorded.jsonl", row)
    lacking = FakeServiceClient(lacks=["topk_prompt_logprobs", "topk_sample_logprobs", "target_prompt_logprobs"])
    recordings = {"files": [tmp_path / "recorded.jsonl"]}
    config = make_config(base_url=URL, recordings=recordings, max_steps=1)
    train_strictly(lacking, config)
    assert lacking.count("sample") == 0
    server = FakeServiceClient(lacks=["topk_prompt_logprobs"])
    taught = recordings | {"objective": {"kind": "forward_kl"}}
    with pytest.raises(UnsupportedFeature, match="the objective 'forward_kl' needs topk_prompt_logprobs"):
        train_strictly(server, make_config(log_path=tmp_path / "taught", base_url=URL, recordings=taught, max_steps=1))
    assert probes(server) == ["topk_prompt_logprobs"]


# Contexts


ROOM = re.compile(
    r"the (?P<who>student 'pupil'|tutor 'small'|teacher 'small') has no room for "
    r"(?P<what>the opening|the tutor's first reply) on seed '(?P<seed>s\d)': its prompt takes (?P<prompt>\d+) tokens, "
    r"(its turn up to 12|the student's opening up to 12 and the reply up to 12), together (?P<together>\d+), but the "
    r"smallest context holds (?P<limit>\d+) \(max_context_tokens, or what the service reports for the models\); lower "
    r"max_tokens or student_max_tokens, shorten the prompt, or leave the seed out"
)


def told_of_room(config, server, rest=None) -> dict[str, str]:
    message = refused(ConfigError, config, server, rest)
    match = ROOM.fullmatch(message)
    assert match, message
    return match.groupdict()


def test_a_context_that_the_service_tells_and_nothing_fits_is_refused(make_config, tmp_path):
    server = FakeServiceClient(max_context_length=20)
    told = told_of_room(make_config(), server, FakeRestClient(server))
    assert (told["who"], told["what"], told["limit"]) == ("student 'pupil'", "the opening", "20")
    assert int(told["together"]) == int(told["prompt"]) + 12 > 20
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("who", ["tutor", "teacher"])
def test_a_long_prompt_of_tutor_or_teacher_is_refused_to_the_token(make_config, tmp_path, who):
    prompt = tmp_path / "long.txt"
    prompt.write_text("You are a tutor. " + "Think first. " * 100 + "{question}")
    changes: dict[str, Any] = {f"{who}_prompt_file": prompt, "max_steps": 1, "max_turns": 1}
    told = told_of_room(make_config(max_context_tokens=300, **changes), FakeServiceClient())
    assert (told["who"], told["what"]) == (f"{who} 'small'", "the tutor's first reply")
    together = int(told["together"])
    assert together == int(told["prompt"]) + 12 + 12
    told_of_room(make_config(max_context_tokens=together - 1, **changes), FakeServiceClient())
    assert (
        train_strictly(FakeServiceClient(), make_config(max_context_tokens=together, **changes)).status == "completed"
    )
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert row["end/context"] == row["end/failed"] == 0, "what is let through has the room it was promised"


def test_an_evaluation_refuses_an_impossible_context_too(make_config):
    server = FakeServiceClient()
    with pytest.raises(ConfigError) as told:
        evaluate(make_config(max_context_tokens=20), "base", service_client=server)
    assert ROOM.fullmatch(str(told.value)) and server.count("sample") == 0


class TwoContexts(FakeRestClient):
    """Tells of the tutor's model a context of 32768 tokens, and of all others one of 262144."""

    def get_server_capabilities(self):
        contexts = {"Qwen/Qwen3-8B": 32768}
        names = ("Qwen/Qwen3-8B", "moonshotai/Kimi-K2-Thinking", "Qwen/Qwen3-235B-A22B-Instruct-2507")
        models = [
            SupportedModel(model_name=name, max_context_length=contexts.get(name, 262144), trainable=True,
                           sampleable=True)
            for name in names
        ]  # fmt: skip
        return ServiceFuture.of(GetServerCapabilitiesResponse(supported_models=models))


def test_the_guides_own_call_passes_with_one_warning_about_turns(tmp_path, caplog):
    config = build_socratic_config(
        tutor_model_name="Qwen3-8B",
        student_model_name="Kimi-K2-Thinking",
        teacher_model_name="Qwen3-35B-A22B-Instruct",
        learning_rate=1e-5,
        max_tokens=2048,
        log_path=str(tmp_path / "experiments" / "distillation" / "run-001"),
        max_steps=1,
        display="off",
    )
    assert config.max_turns == 20
    server = FakeServiceClient()
    with caplog.at_level(logging.WARNING, logger="socratic_distill"):
        assert train_strictly(server, config, TwoContexts(server)).status == "completed"
    warnings = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    (told,) = [one for one in warnings if "max_turns" in one]
    match = re.fullmatch(
        r"long dialogues will end as 'context': at full length, max_turns=20 turns take the (student|tutor|teacher) "
        r"'[\w./-]+' up to (\d+) tokens on seed '[\w./-]+', but the smallest context holds 32768; the largest "
        r"max_turns that surely fits is 7; lower max_turns, max_tokens or student_max_tokens to let them finish",
        told,
    )
    assert match and int(match[2]) > 20 * 2 * 2048, told
    others = {one for one in warnings if "max_turns" not in one}
    assert others == {"there is no model Qwen3-35B-A22B-Instruct; taking Qwen/Qwen3-235B-A22B-Instruct-2507"}
