"""Reasoning in today's model families: how it is asked for, and that it reaches nobody else."""

import pytest
from tests.support.families import ENDS, OPENED, SECRET, SPEECH, TEMPLATES, FamilyTokenizer

from socratic_distill.config.catalogue import catalogue
from socratic_distill.config.reasoning import TemplateChoice
from socratic_distill.dialogues.codec import Codec
from socratic_distill.dialogues.dialogue import Message
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.errors import ConfigError, RenderingError

LEVELS = [
    (name, level) for name in TEMPLATES for level in catalogue().switches[catalogue().models[name].reasoning or ""]
]


def renderer(name: str, level: str | None = None, **options: object) -> Renderer:
    codec = Codec(FamilyTokenizer(TEMPLATES[name], ENDS.get(name, "<|im_end|>")))
    return Renderer(codec, name, TemplateChoice(reasoning=level, options=options))  # type: ignore[arg-type]


def reply(made: Renderer, name: str) -> tuple[int, ...]:
    return (*made.tokenizer.encode(OPENED[name]), made.end_token)


def reasoning_level(name: str) -> str:
    return next(level for level in ("on", "high", "max") if (name, level) in LEVELS)


@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_every_level_of_the_table_changes_what_its_template_writes(name, level):
    talk = [Message("system", "You are a tutor."), Message("user", "?")]
    texts = {other: renderer(name, other).text(talk) for known, other in LEVELS if known == name}
    same = [other for other, text in texts.items() if text == texts[level]]
    # "on" is the template's own default effort.
    assert set(same) <= {level, "on", "max", "high"} and len(set(texts.values())) >= 2


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_other_side_hears_no_reasoning(name):
    made = renderer(name, reasoning_level(name))
    tokens = reply(made, name)
    assert made.visible_text(tokens) == SPEECH
    cut = tokens[: len(made.tokenizer.encode(OPENED[name].partition(SPEECH)[0])) - 8]
    assert made.visible_text(cut) == "" and made.thought(cut) == len(cut)


@pytest.mark.parametrize("name", TEMPLATES)
def test_sampled_tokens_are_trained_as_they_were_and_speech_alone_stays(name):
    made = renderer(name, reasoning_level(name))
    tokens = reply(made, name)
    assert tokens[-1] in made.end_tokens and made.own_length(tokens) == len(tokens)
    assert tokens[made.thought(tokens) :] == (*made.history(tokens), tokens[-1])
    assert made.tokenizer.decode(list(made.history(tokens))) == SPEECH


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_later_context_holds_the_speech_as_the_template_would_write_it(name):
    made = renderer(name, reasoning_level(name))
    before = [Message("system", "s"), Message("user", "a")]
    with_tokens = [*before, Message("assistant", tokens=made.history(reply(made, name))), Message("user", "b")]
    with_text = [*before, Message("assistant", SPEECH), Message("user", "b")]
    prompt = made.prompt(with_tokens)
    assert prompt == made.prompt(with_text)
    assert SECRET not in made.tokenizer.decode(list(prompt))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_written_reply_reads_back_as_itself(name):
    for level in (reasoning_level(name), next(other for known, other in LEVELS if known == name)):
        made = renderer(name, level)
        assert made.visible_text(made.written_reply(SPEECH)) == SPEECH


def test_channels_do_not_end_a_reply_at_the_mark_between_them():
    made = renderer("openai/gpt-oss-20b", "low")
    marks = made.tokenizer.get_vocab()
    assert marks["<|end|>"] not in made.end_tokens and made.end_token == marks["<|return|>"]
    text = made.tokenizer.decode(
        list(made.prompt([Message("user", "a"), Message("assistant", SPEECH), Message("user", "b")]))
    )
    assert f"<|channel|>final<|message|>{SPEECH}<|end|>" in text and "<|return|>" not in text


def test_a_date_in_the_template_is_the_same_on_every_day():
    text = renderer("openai/gpt-oss-20b", "low").text([Message("user", "a")])
    assert "Current date: 2026-01-01" in text


def test_a_level_that_a_template_lacks_is_refused_with_its_levels():
    with pytest.raises(ConfigError, match=r"'off' is no level of 'zai-org/GLM-5.3'.* 'low', 'high', 'max'"):
        renderer("zai-org/GLM-5.3", "off")
    with pytest.raises(ConfigError, match="no level that is known"):
        TemplateChoice(reasoning="on").variables("thinkingmachines/Inkling")


def test_options_go_to_the_template_and_unknown_ones_are_refused():
    assert renderer("Qwen/Qwen3.8-27B", reasoning_effort="low").text([Message("system", "s"), Message("user", "?")])
    with pytest.raises(
        RenderingError, match="does not know preserve_thinking; the variables that it takes are: thinking"
    ):
        renderer("moonshotai/Kimi-K2.6", preserve_thinking=True)


def test_a_model_outside_the_table_is_asked_by_the_usual_variables():
    codec = Codec(FamilyTokenizer(TEMPLATES["openai/gpt-oss-20b"], "<|return|>"))
    assert "Reasoning: high" in Renderer(codec, "/models/own", TemplateChoice(reasoning="high")).text(
        [Message("user", "?")]
    )
    with pytest.raises(RenderingError, match="does not know enable_thinking"):
        Renderer(codec, "/models/own", TemplateChoice(reasoning="off"))


def test_speech_ends_where_a_reply_goes_on_with_another_channel():
    made = renderer("openai/gpt-oss-20b", "low")
    tokens = made.tokenizer.encode(f"<|channel|>final<|message|>{SPEECH}<|end|><|start|>assistant<|channel|>final")
    assert made.visible_text(tokens) == SPEECH and made.tokenizer.decode(list(made.history(tokens))) == SPEECH
