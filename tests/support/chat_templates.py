"""Chat templates with the habits of published ones, and a tokenizer of one token a character to render them with."""

import re

import jinja2

from socratic_distill.config.reasoning import TemplateChoice
from socratic_distill.dialogues.codec import Codec
from socratic_distill.dialogues.rendering import Renderer

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
DROPS_SYSTEM = PLAIN.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
NO_END = PLAIN.replace("<end>\n", "\n\n")
LAST_ONLY = PLAIN.replace("{% for m in messages %}", "{% for m in messages[-2:] %}")
# Qwen3-8B's habits: as THINKING, but nothing is trimmed, and a reply behind the last question gets a <think> part.
QWEN3_8B = (
    "{% set last = namespace(user=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ {'system': '<sys>', 'user': '<user>', 'assistant': '<bot>'}[m.role] }}"
    "{% if m.role == 'assistant' and loop.index0 > last.user %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content.split('</think>')[-1].lstrip('\n') if m.role == 'assistant' else m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<bot>{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
# Qwen3-30B-A3B-Instruct-2507's: no reasoning anywhere.
QWEN3_2507 = PLAIN.replace(" | trim", "")

# Gemma's: the system prompt is part of the first message, and roles must alternate.
GEMMA = (
    "{% set first = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
    "{% for m in (messages[1:] if first else messages) %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<bot>' if m.role == 'assistant' else '<user>' }}{{ first if loop.first }}{{ m.content | trim }}<end>\n"
    "{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"
)
# Mistral's: the system prompt stands before the last question, and nothing opens a reply.
MISTRAL = (
    "<s>{% set system = messages[0].content if messages[0].role == 'system' else '' %}"
    "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}"
    "<user>{{ system + '\n\n' if loop.last and system }}{{ m.content }}<bot>"
    "{% else %} {{ m.content }}<end>{% endif %}{% endfor %}"
)
# gpt-oss's: the model samples the channel itself, and history writes the final one.
HARMONY = PLAIN.replace(
    "{{ m.content | trim }}", "{{ '<sys>final<s>' if m.role == 'assistant' }}{{ m.content | trim }}"
)
NO_OPENING = PLAIN.replace("<bot>{% endif %}", "{% endif %}")
LAST_ENDS_OTHERWISE = PLAIN.replace("<end>\n", "{{ '<s>' if loop.last and m.role == 'assistant' else '<end>\n' }}")
PARTS = PLAIN.replace("{{ m.content | trim }}", "{% for part in m.content %}{{ part.text }}{% endfor %}")
FIRST_PART = PLAIN.replace("m.content | trim", "m.content[0].text")
ADDS_A_NUMBER = PLAIN.replace("m.content | trim", "m.content + 1")


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

    def apply_chat_template(self, messages, tokenize, add_generation_prompt, **variables):
        assert tokenize is False
        return self._template.render(messages=messages, add_generation_prompt=add_generation_prompt, **variables)

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


def make_renderer(template=PLAIN, thinking=False, name="model", tokenizer=CharacterTokenizer, **options):
    return Renderer(Codec(tokenizer(template)), name, TemplateChoice(thinking), **options)


def ids(text):
    return tuple(CharacterTokenizer(PLAIN).encode(text, add_special_tokens=False))
