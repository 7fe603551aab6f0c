"""What is refused before anything is sampled, and what is let through."""

import logging
import re
import unicodedata
from collections import defaultdict

import numpy as np
import pytest
from tests.support.casts import cast_of
from tests.support.chat_templates import (
    FORCED,
    LAST_ONLY,
    NO_SYSTEM,
    PLAIN,
    QWEN3_8B,
    QWEN3_2507,
    SPECIAL,
    THINKING,
    CharacterTokenizer,
    ids,
    make_renderer,
)
from tests.support.partial import Partial
from tinker.types import SampledSequence, SampleResponse

from socratic_distill import ConfigError, RenderingError, Seed
from socratic_distill.dialogues.cast import Member, Teachers
from socratic_distill.dialogues.compatibility import check_room, check_same_replies, check_same_tokens
from socratic_distill.dialogues.prompts import load_prompts
from socratic_distill.dialogues.rollout import play_batch
from socratic_distill.dialogues.speaker import Speaker

SHORT, LONG = Seed("short", "q", "1", "e"), Seed("long", "q" * 60, "1", "e")
AROUND = len(ids("<sys><end>\n<user><end>\n<bot>"))
OPENING = len("Tell me how you solved the problem.")


class Composing(CharacterTokenizer):
    """Another normalisation of the same vocabulary."""

    def encode(self, text, add_special_tokens):
        return super().encode(unicodedata.normalize("NFC", text), add_special_tokens)


class DigitPairs(CharacterTokenizer):
    """Other merges of the same vocabulary: 12 is one token."""

    def encode(self, text, add_special_tokens):
        return super().encode(text.replace("12", chr(0xE00C)), add_special_tokens)


class Renumbered(CharacterTokenizer):
    """Another vocabulary."""

    def get_vocab(self):
        return {mark: 6 - i for i, mark in enumerate(SPECIAL)}


class Talker(Partial):
    """Samples replies of full length, each of one letter."""

    async def sample(self, prompt, num_samples, sampling_params):
        length = sampling_params.max_tokens
        reply = SampledSequence(
            stop_reason="length",
            sequence_id="0",
            tokens_np=np.full(length, ids("a")[0], np.int32),
            logprobs_np=np.zeros(length, np.float32),
        )
        return SampleResponse(sequences=[reply] * num_samples)


@pytest.fixture
def make_cast(make_config, tmp_path):
    """A builder of casts. The tutor's turns have up to 10 tokens, the student's up to 5."""

    def make_speaker(role, max_tokens, **model):
        return Speaker(role, Talker(), make_renderer(name=f"{role}-model", **model), max_tokens, temperature=1.0)

    def build(max_context, max_turns=3, teachers=("teacher",), prompts=(), model=(), routes=None):
        changes = {}
        if len(teachers) > 1:
            changes = {"teachers": [{"name": name} for name in teachers], "teacher_average": "mixture"}
        for role in ("tutor", "teacher", "student"):
            (tmp_path / role).write_text(dict(prompts).get(role, "{question}"))
            changes[f"{role}_prompt_file"] = tmp_path / role
        return cast_of(
            make_config,
            tutor=make_speaker("tutor", 10, **dict(model)),
            student=make_speaker("student", 5, **dict(model)),
            teachers=Teachers(
                {name: Member(name, make_renderer(name=f"{name}-model", **dict(model)), None) for name in teachers},
                routes or defaultdict(lambda: tuple(teachers)),
            ),
            prompts=load_prompts(make_config(**changes)),
            profile="",
            max_turns=max_turns if callable(max_turns) else lambda step: max_turns,
            max_context=max_context,
        )

    return build


def test_teacher_that_ends_turns_otherwise_is_refused():
    other = PLAIN.replace("<end>", "<s>")
    with pytest.raises(RenderingError, match="ends its turns with token 1, the teacher"):
        check_same_tokens(make_renderer(), make_renderer(other))
    check_same_tokens(make_renderer(), make_renderer(THINKING))


def test_teacher_of_another_vocabulary_is_refused():
    with pytest.raises(RenderingError, match=r"6 tokens of the tutor 'model' mean something else to .* 'other'"):
        check_same_tokens(make_renderer(), make_renderer(name="other", tokenizer=Renumbered))


@pytest.mark.parametrize(("tokenizer", "text"), [(Composing, "cafe\u0301"), (DigitPairs, "1234567890")])
def test_teacher_that_cuts_text_otherwise_with_one_vocabulary_is_refused(tokenizer, text):
    with pytest.raises(
        RenderingError, match=f"'model' and the teacher 'other' have one vocabulary, but split .*{text}"
    ):
        check_same_tokens(make_renderer(), make_renderer(name="other", tokenizer=tokenizer))


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize(("tutor", "teacher"), [(QWEN3_8B, QWEN3_2507), (QWEN3_2507, QWEN3_8B)])
def test_thinking_and_instruct_models_of_one_family_pass(tutor, teacher, thinking):
    pair = make_renderer(tutor, thinking=thinking), make_renderer(teacher)
    check_same_tokens(*pair)
    check_same_replies(*pair)


@pytest.mark.parametrize(
    "template",
    [
        THINKING,  # trims, and drops reasoning
        FORCED,
        PLAIN.replace("'<bot>'}", "'<bot><think>\n\n</think>\n\n'}"),
        PLAIN.replace("'<sys>'", "'<sys>Today is Monday.\n'"),
    ],
)
def test_templates_that_differ_around_a_reply_pass(template):
    check_same_replies(make_renderer(QWEN3_2507), make_renderer(template))
    check_same_replies(make_renderer(template), make_renderer(QWEN3_2507))


def test_replies_are_compared_though_the_system_prompt_is_merged():
    check_same_replies(make_renderer(), make_renderer(NO_SYSTEM, system_role="merge"))


@pytest.mark.parametrize(
    ("rewriting", "written"),
    [
        ("m.content | upper", "YOU WROTE 12 < 7"),
        ("m.content | replace('?', '?!')", "What is 3 × 4?!"),
        ("m.content + ('' if m.content.startswith('\ue000') else ' /no_think')", "did you add? /no_think'"),
        ("m.content | escape", "12 &lt; 7 &amp; x"),
        ("m.content.split('\n')[0]", "{2}.'"),
    ],
)
def test_template_that_rewrites_replies_is_refused_and_both_texts_shown(rewriting, written):
    template = PLAIN.replace("m.content | trim", f"({rewriting}) if m.role == 'assistant' else m.content")
    plain, rewriter = make_renderer(name="8B"), make_renderer(template, name="2507")
    with pytest.raises(RenderingError) as caught:
        check_same_replies(plain, rewriter)
    ours, _, theirs = str(caught.value).partition("that of the teacher '2507' as ")
    assert ours.startswith("the chat template of the tutor '8B' writes a reply as 'You wrote 12 < 7 & x = ")
    assert written in theirs and written not in ours
    with pytest.raises(RenderingError, match=r"tutor '2507' writes a reply as .* that of the teacher '8B'"):
        check_same_replies(rewriter, plain)


@pytest.mark.parametrize(
    "template",
    [
        PLAIN.replace("<end>\n", "{{ '<end>' if '\ue000' in m.content else '<end>!' }}\n"),
        PLAIN + "{{ '' if '\ue000' in messages | map(attribute='content') | join else '!' }}",
    ],
)
def test_template_whose_surroundings_follow_the_reply_is_refused(template):
    with pytest.raises(RenderingError, match="'2507' writes different text around a reply depending on the reply"):
        check_same_replies(make_renderer(), make_renderer(template, name="2507"))


def test_template_that_loses_a_reply_is_refused_before_a_dialogue():
    with pytest.raises(RenderingError, match="does not keep every reply"):
        check_same_replies(make_renderer(), make_renderer(LAST_ONLY))


def test_room_is_not_asked_for_where_no_context_is_known(make_cast, caplog):
    check_room(make_cast(max_context=None, max_turns=10**9), [LONG])
    assert not caplog.records


@pytest.mark.parametrize(
    ("role", "text", "prompt", "turns", "together"),
    [
        ("student", "{question}{question}", AROUND + 120 + OPENING, "its turn up to 5", 5),
        ("tutor", "{question}", AROUND + 60, "the student's opening up to 5 and the reply up to 10", 15),
        ("teacher", "{question}!", AROUND + 61, "the student's opening up to 5 and the reply up to 10", 15),
    ],
)
def test_seed_without_room_for_one_turn_is_refused(make_cast, role, text, prompt, turns, together):
    prompts = {"tutor": "T", "teacher": "T", "student": "S", role: text}
    need = prompt + together
    with pytest.raises(ConfigError) as caught:
        check_room(make_cast(need - 1, prompts=prompts), [SHORT, LONG])
    message = str(caught.value)
    assert message.startswith(f"the {role} '{role}-model' has no room for ")
    assert f" on seed 'long': its prompt takes {prompt} tokens, {turns}, together {need}, but " in message
    assert f"the smallest context holds {need - 1} (" in message
    assert "lower max_tokens or student_max_tokens, shorten the prompt, or leave the seed out" in message
    check_room(make_cast(need, prompts=prompts), [SHORT, LONG])


def test_each_teacher_needs_room_on_its_own_seeds(make_cast):
    prompts = {"tutor": "T", "student": "S"}
    limit = AROUND + 59 + 15
    teachers = ("easy", "hard")
    cast = make_cast(limit, teachers=teachers, prompts=prompts, routes={"short": ("easy",), "long": ("hard",)})
    with pytest.raises(ConfigError, match=r"the teacher 'hard-model' \(teachers: 'hard'\) has no room .* seed 'long'"):
        check_room(cast, [SHORT, LONG])
    check_room(cast, [SHORT])


@pytest.mark.parametrize(
    "model", [{}, {"template": THINKING}, {"template": QWEN3_8B}, {"template": NO_SYSTEM, "system_role": "merge"}]
)
@pytest.mark.parametrize("max_context", [150, 171, 172, 173, 192, 193, 194, 300])
async def test_full_dialogues_end_as_context_from_the_warned_number_of_turns_on(make_cast, caplog, model, max_context):
    async def endings(max_turns):
        cast = make_cast(max_context, max_turns, model=model)
        return {dialogue.ending for dialogue in await play_batch([SHORT, LONG], 0, 1, cast, 2)}

    check_room(make_cast(max_context, 50, model=model), [SHORT, LONG])
    (record,) = caplog.records
    message = record.getMessage()
    assert record.levelno == logging.WARNING and "max_turns=50 turns take the student 'student-model' up to" in message
    assert message.startswith("long dialogues will end as 'context'") and f"context holds {max_context};" in message
    most = int(message.partition("the largest max_turns that surely fits is ")[2].partition(";")[0])
    assert await endings(most) == {"max_turns"}
    assert "context" in await endings(most + 1)

    caplog.clear()
    check_room(make_cast(max_context, most, model=model), [SHORT, LONG])
    assert not caplog.records


def test_tutor_too_can_be_who_runs_out_of_room(make_cast, caplog):
    prompts = {"tutor": "{question}" * 10}
    check_room(make_cast(AROUND + 600 + 15 + 10, prompts=prompts), [LONG])
    (need,) = map(int, re.findall(r"max_turns=3 turns take the tutor 'tutor-model' up to (\d+) tokens", caplog.text))
    assert "the largest max_turns that surely fits is 1;" in caplog.text

    caplog.clear()
    check_room(make_cast(need, prompts=prompts), [LONG])
    assert not caplog.records
    check_room(make_cast(need - 1, prompts=prompts), [LONG])
    assert "the largest max_turns that surely fits is 2;" in caplog.text


def test_room_for_the_opening_but_not_for_the_second_is_told(make_cast, caplog):
    check_room(make_cast(AROUND + 60 + OPENING + 5), [LONG])
    assert "not even max_turns=1 surely fits" in caplog.text


@pytest.mark.parametrize("turns", [lambda step: 50 if step else 1, lambda step: 1 if step else 50])
def test_room_is_asked_for_the_longest_dialogues_of_a_schedule(make_cast, caplog, turns):
    check_room(make_cast(200, turns), [LONG])
    assert "max_turns=50 turns" in caplog.text


def test_few_of_many_seeds_are_rendered_and_the_longest_among_them(make_cast):
    rendered = []

    class Watched(CharacterTokenizer):
        def apply_chat_template(self, messages, tokenize, add_generation_prompt, **variables):
            rendered.append(messages)
            return super().apply_chat_template(messages, tokenize, add_generation_prompt, **variables)

    cast = make_cast(10_000, model={"tokenizer": Watched})
    rendered.clear()
    check_room(cast, [*(Seed(f"s{i}", "q" * (i % 50), "1", "e") for i in range(2000)), LONG, SHORT])
    assert len(rendered) < 50
    assert sum("q" * 60 in messages[0]["content"] for messages in rendered) == 6, "two renderings for each role"


def test_no_seeds_need_no_room(make_cast, caplog):
    check_room(make_cast(1), [])
    assert not caplog.records
