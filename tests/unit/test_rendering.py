"""Rendering by chat templates with the habits of published ones."""

import re

import jinja2
import pytest

from socratic_distill import RenderingError
from socratic_distill.dialogue import Message
from socratic_distill.rendering import Codec, Renderer, check_same_tokens
from socratic_distill.sequences import merge_turns

SPECIAL = ["<s>", "<end>", "<user>", "<bot>", "<sys>", "<think>", "</think>"]
PLAIN = (
    "{% for m in messages %}{{ {'system': '<sys>', 'user': '<user>', 'assistant': '<bot>'}[m.role] }}"
    "{{ m.content | trim }}<end>\n{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"
)
# As a thinking model's: an empty <think> part opens a reply that is not to think, and history drops reasoning.
THINKING = (
    "{% for m in messages %}{{ {'system': '<sys>', 'user': '<user>', 'assistant': '<bot>'}[m.role] }}"
    "{{ m.content.split('</think>')[-1] | trim }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<bot>{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
FORCED = PLAIN.replace("<bot>{% endif %}", "<bot><think>\n{% endif %}")
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
NO_END = PLAIN.replace("<end>\n", "\n\n")
LAST_ONLY = PLAIN.replace("{% for m in messages %}", "{% for m in messages[-2:] %}")


class CharacterTokenizer:
    """One token a character, one a special mark."""

    eos_token_id = 0
    all_special_ids = (0, 1, 2, 3, 4)
    all_special_tokens = SPECIAL[:5]

    def __init__(self, template):
        def refuse(message):
            raise jinja2.TemplateError(message)

        environment = jinja2.Environment()
        environment.globals["raise_exception"] = refuse
        self._template = environment.from_string(template)

    def apply_chat_template(self, messages, tokenize, add_generation_prompt, enable_thinking):
        assert tokenize is False
        return self._template.render(
            messages=messages, add_generation_prompt=add_generation_prompt, enable_thinking=enable_thinking
        )

    def encode(self, text, add_special_tokens):
        assert add_special_tokens is False
        parts = re.split(f"({'|'.join(SPECIAL)})", text)
        return [
            n for part in parts for n in ([SPECIAL.index(part)] if part in SPECIAL else [100 + ord(c) for c in part])
        ]

    def decode(self, tokens, skip_special_tokens=False):
        hidden = self.all_special_ids if skip_special_tokens else ()
        return "".join(chr(t - 100) if t >= 100 else SPECIAL[t] for t in tokens if t not in hidden)

    def get_vocab(self):
        return {mark: i for i, mark in enumerate(SPECIAL)}


def make(template=PLAIN, thinking=False):
    return Renderer(Codec(CharacterTokenizer(template)), "model", enable_thinking=thinking)


def ids(text):
    return tuple(CharacterTokenizer(PLAIN).encode(text, add_special_tokens=False))


def test_sampled_tokens_enter_later_context_unchanged():
    renderer = make()
    odd = (*ids("a"), 7, 8, 9)  # ids that no encoding of any text would give
    prompt = renderer.prompt(
        [Message("system", "S"), Message("user", "u"), Message("assistant", tokens=odd), Message("user", "v")]
    )
    assert prompt == (*ids("<sys>S<end>\n<user>u<end>\n<bot>"), *odd, *ids("<end>\n<user>v<end>\n<bot>"))


def test_end_token_comes_from_the_template():
    assert make().end_token == SPECIAL.index("<end>")


def test_complete_and_cut_replies_both_keep_the_prefix():
    renderer = make()
    first = renderer.prompt([Message("user", "u")])
    for reply in (ids("abc<end>"), ids("abc")):
        later = [Message("user", "u"), Message("assistant", tokens=renderer.history(reply)), Message("user", "v")]
        (sequence,) = merge_turns([(first, reply), (renderer.prompt(later), ids("d<end>"))])
        assert sequence.tokens == ids("<user>u<end>\n<bot>abc<end>\n<user>v<end>\n<bot>d<end>")


def test_template_that_drops_an_empty_think_part_makes_datums_of_their_own():
    renderer = make(THINKING)
    first = renderer.prompt([Message("user", "u")])
    assert first == ids("<user>u<end>\n<bot><think>\n\n</think>\n\n")
    later = [Message("user", "u"), Message("assistant", tokens=ids("abc")), Message("user", "v")]
    assert len(merge_turns([(first, ids("abc<end>")), (renderer.prompt(later), ids("d<end>"))])) == 2


@pytest.mark.parametrize(
    ("template", "reply", "visible", "history"),
    [
        (PLAIN, "Why? <end>", "Why?", "Why? "),
        (THINKING, "<think>it is 12</think>\n\nWhy?<end>", "Why?", "Why?"),
        (THINKING, "<think>it is 12", "", "<think>it is 12"),
        (FORCED, "it is 12</think>\nWhy?<end>", "Why?", "Why?"),
        (FORCED, "it is 12, so", "", "it is 12, so"),
        (PLAIN, "<end>", "", ""),
    ],
)
def test_reasoning_is_never_shown_to_the_other_side(template, reply, visible, history):
    renderer = make(template, thinking=True)
    assert renderer.visible_text(ids(reply)) == visible
    assert renderer.history(ids(reply)) == ids(history)


def test_template_without_a_system_role_is_refused_and_named():
    with pytest.raises(RenderingError, match=r"'model' cannot render the roles \(system, user\): no system"):
        make(NO_SYSTEM).prompt([Message("system", "S"), Message("user", "u")])


def test_template_without_a_special_end_token_is_refused():
    with pytest.raises(RenderingError, match="does not begin with a special token"):
        make(NO_END)


def test_template_that_loses_a_reply_is_refused():
    talk = [
        Message("user", "u"),
        Message("assistant", tokens=(7,)),
        Message("user", "v"),
        Message("assistant", tokens=(8,)),
    ]
    with pytest.raises(RenderingError, match="does not keep every reply"):
        make(LAST_ONLY).prompt([*talk, Message("user", "w")])


def test_teacher_that_ends_turns_otherwise_is_refused():
    other = PLAIN.replace("<end>", "<s>")
    with pytest.raises(RenderingError, match="ends its turns with token 1, the teacher"):
        check_same_tokens(make(), make(other))
    check_same_tokens(make(), make(THINKING))
