"""A tutor that speaks in harmony channels, on the local engine: played, scored and trained."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.support.rows import read_rows
from tests.support.tiny_runs import tiny_config

pytest.importorskip("torch")
pytest.importorskip("peft")

from tests.support.harmony import ANALYSIS, REPLY, SECRET, SPEECH, save_harmony_models
from transformers import AutoTokenizer

from socratic_distill import SocraticConfig, load_seeds, open_service, train
from socratic_distill.dialogues.briefing import Briefing
from socratic_distill.dialogues.casting import open_frozen_models
from socratic_distill.dialogues.dialogue import Dialogue
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.rollout import play_batch
from socratic_distill.distillation.objective import make_examples
from socratic_distill.distillation.scorer import Scorer
from socratic_distill.distillation.scoring import ScoredDialogue, score_batch
from socratic_distill.local.sampling_client import LocalSamplingClient
from socratic_distill.local.tiny import MODEL_DIR, TRAIN_SEEDS
from socratic_distill.service.connect import Service

MAX_TURNS = {"max_turns": 3}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Fields of a config whose tutor and teacher speak harmony; the student is the packaged model.

    A tutor that has learnt its reply may still miss it after words that it never met. Which words, differs between
    processors, so one that missed it is taught again, on other dialogues.
    """
    fields: dict[str, Any] = {}
    for draws in range(3):
        home = tmp_path_factory.mktemp("harmony")
        save_harmony_models(home / "tutor", home / "teacher", draws)
        fields = {
            "tutor_model_name": str(home / "tutor"),
            "teacher_model_name": str(home / "teacher"),
            "student_model_name": "tiny",
        }
        made = asyncio.run(play(tiny_config(home / "run", **(fields | MAX_TURNS))))
        replies = {turn.tokens for dialogue in made.dialogues for turn in dialogue.turns if turn.role == "tutor"}
        if replies == {tuple(made.renderer.codec.encode(REPLY))}:
            break
    return fields


@pytest.fixture
def config(models, tmp_path) -> Callable[..., SocraticConfig]:
    return lambda **changes: tiny_config(tmp_path / "run", **(models | MAX_TURNS | changes))


@pytest.fixture
def requests(monkeypatch):
    """The prompts of all sampling requests, with whether they ask for scores."""
    sent: list[tuple[tuple[int, ...], bool]] = []
    right = LocalSamplingClient.sample

    def sample(self: Any, prompt: Any, *args: Any, **options: Any) -> Any:
        sent.append((tuple(prompt.to_ints()), bool(options.get("include_prompt_logprobs"))))
        return right(self, prompt, *args, **options)

    monkeypatch.setattr(LocalSamplingClient, "sample", sample)
    return sent


@dataclass
class Played:
    """Dialogues as played and as scored, the tutor's renderer, and its training client."""

    dialogues: list[Dialogue]
    scored: list[ScoredDialogue]
    renderer: Renderer
    training: Any


async def play(config: SocraticConfig) -> Played:
    """Twelve dialogues on the tutor's base weights."""
    opened = open_service(config)
    service = Service(opened.client, opened.rest)
    training: Any = await service.client.create_lora_training_client(config.tutor_model_name, rank=4, seed=0)
    seeds = load_seeds(TRAIN_SEEDS, 6)
    frozen = await open_frozen_models(config, Briefing.read(config, seeds), service, training)
    cast = frozen.cast(await training.save_weights_and_get_sampling_client(), version=0)
    dialogues = await play_batch(seeds, 0, 2, cast, 64)
    assert {dialogue.ending for dialogue in dialogues} <= {"max_turns", "solved"}
    scored = await score_batch(dialogues, cast, Scorer(), 64)
    return Played(dialogues, scored, cast.tutor.renderer, training)


async def test_the_other_side_hears_speech_and_the_tutor_keeps_it_alone(config):
    made = await play(config())
    tokenizer = made.renderer.tokenizer
    reply, secret = tuple(tokenizer.encode(REPLY)), tokenizer.convert_tokens_to_ids(SECRET)
    later = [turns for one in made.dialogues if len(turns := one.tutor_turns) > 1]
    assert len(later) >= 2, "the check needs several turns"
    for dialogue in made.dialogues:
        for turn in dialogue.turns:
            if turn.role == "tutor":
                assert turn.tokens == reply and turn.stop_reason == "stop", tokenizer.decode(turn.tokens)
                assert turn.text == SPEECH and secret not in turn.prompt
                assert tokenizer.decode(turn.tokens[: turn.thought]).startswith(ANALYSIS)
    for first, second, *_ in later:
        text = tokenizer.decode(second.prompt)
        past = f"<|start|>assistant<|channel|>final<|message|>{SPEECH}<|end|><|start|>user<|message|>"
        assert text.startswith(tokenizer.decode(first.prompt) + past.removeprefix("<|start|>assistant"))
        assert text.count("<|channel|>") == 1 and "<|return|>" not in text
        assert text.endswith("<|end|><|start|>assistant")


async def test_the_student_reads_the_speech_and_nothing_else(config):
    made = await play(config())
    tiny: Any = AutoTokenizer.from_pretrained(MODEL_DIR)
    speech = tuple(tiny.encode(SPEECH))
    heard = 0
    for dialogue in made.dialogues:
        tutored = 0
        for turn in dialogue.turns:
            if turn.role == "tutor":
                tutored += 1
                continue
            prompt = tuple(turn.prompt)
            heard_here = [prompt[i : i + len(speech)] for i in range(len(prompt))].count(speech)
            assert heard_here == tutored, tiny.decode(prompt)
            # The marks and words of channels are unknown to the student's tokenizer.
            assert not tutored or tiny.unk_token_id not in prompt[-len(speech) - 3 :]
            heard += tutored
    assert heard


async def test_the_teacher_scores_the_sampled_tokens_as_they_are(config, requests):
    made = await play(config())
    tokenizer = made.renderer.tokenizer
    reply, secret = tuple(tokenizer.encode(REPLY)), tokenizer.convert_tokens_to_ids(SECRET)
    scored = [prompt for prompt, asks_scores in requests if asks_scores]
    assert scored and all(prompt[-len(reply) :] == reply for prompt in scored)
    assert all(prompt.count(secret) == 1 for prompt in scored), "earlier reasoning is in no context"
    for dialogue in made.scored:
        assert all(np.isfinite(values).all() and len(values) == len(reply) for values in dialogue.teacher)


@pytest.mark.parametrize("train_thinking", [True, False])
async def test_reasoning_is_trained_on_only_where_it_is_to_be(config, train_thinking):
    settings = config(train_thinking=train_thinking)
    made = await play(settings)
    tokenizer = made.renderer.tokenizer
    # The header of speech counts as reasoning: the model writes it before what is heard.
    thought = tokenizer.encode(ANALYSIS + "<|channel|>final<|message|>")
    speech = tokenizer.encode(f"{SPEECH}<|return|>")
    examples = make_examples([made.scored], settings, step=0)
    output = await made.training.forward([example.datum for example in examples], "importance_sampling")
    assert examples
    for example, out in zip(examples, output.loss_fn_outputs, strict=True):
        inputs = {name: value.to_numpy() for name, value in example.datum.loss_fn_inputs.items()}
        trained = [*thought, *speech] if train_thinking else speech
        targets = inputs["target_tokens"][example.mask].tolist()
        assert targets == trained * (len(targets) // len(trained)) and targets
        assert not inputs["advantages"][~example.mask].any()
        assert inputs["advantages"][example.mask].any()
        drift = np.abs(out["logprobs"].to_numpy() - example.sampled)[example.mask].max()
        assert drift < 1e-4, f"sampler and trainer are {drift} nats apart on the same weights"


def test_a_run_trains_the_tutor_and_its_files_keep_the_speech(config, tmp_path):
    assert train(config(max_steps=2, learning_rate=1e-4)).status == "completed"
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert len(rows) == 2 and all(row["drift/max"] < 1e-4 for row in rows)
    assert rows[0]["teacher_kl"] > 0
    turns = [turn for row in read_rows(tmp_path / "run" / "dialogues.jsonl") for turn in row["turns"]]
    assert {turn["text"] for turn in turns if turn["role"] == "tutor"} == {SPEECH}
