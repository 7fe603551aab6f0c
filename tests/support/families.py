"""Chat templates that behave as those of today's model families do, in few words of our own, and a tokenizer for them.

Each template writes messages, opens a reply and treats reasoning as the published one does. Tools are left out.
"""

import re
from typing import Any

import jinja2

_CHATML = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n%s{{ m.content }}<|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n%s{% endif %}{% endif %}"
)
TEMPLATES = {
    # The model opens its reasoning itself.
    "Qwen/Qwen3-8B": _CHATML.replace("%s", "", 1).replace("%s", ""),
    # The template opens it; a past reply has an empty block only after the last question, so none here.
    "Qwen/Qwen3.5-9B": _CHATML.replace("%s", "", 1).replace("%s", "{% else %}<think>\n"),
    # Every past reply has a block; effort is a sentence in the system message.
    "Qwen/Qwen3.8-27B": (
        "{% set efforts = {'low': 'Think briefly.\n', 'xhigh': 'Think long.\n'} %}"
        "{% set sentence = '' if not (enable_thinking | default(true)) "
        "else efforts.get(reasoning_effort | default('xhigh'), '') %}"
        "{% for m in messages %}{% if m.role == 'assistant' %}"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n{{ m.content }}<|im_end|>\n"
        "{% else %}<|im_start|>{{ m.role }}\n{{ sentence if m.role == 'system' }}{{ m.content }}<|im_end|>\n"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n"
        "{% if not (enable_thinking | default(true)) %}\n</think>\n\n{% endif %}{% endif %}"
    ),
    "openai/gpt-oss-20b": (
        "<|start|>system<|message|>Current date: {{ strftime_now('%Y-%m-%d') }}\n"
        "Reasoning: {{ reasoning_effort | default('medium') }}<|end|>"
        "{% for m in messages %}{% if m.role == 'system' %}<|start|>developer<|message|>{{ m.content }}<|end|>"
        "{% elif m.role == 'user' %}<|start|>user<|message|>{{ m.content }}<|end|>"
        "{% else %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
        "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    ),
    "moonshotai/Kimi-K2.6": (
        "{% for m in messages %}<|im_{{ m.role }}|>{{ m.role }}<|im_middle|>"
        "{{ '<think></think>' if m.role == 'assistant' }}{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_assistant|>assistant<|im_middle|>"
        "{{ '<think></think>' if thinking is defined and not thinking else '<think>' }}{% endif %}"
    ),
    "deepseek-ai/DeepSeek-V4.1-Flash": (
        "{% set efforts = {'low': 'Effort: 50\n', 'high': 'Effort: 75\n', 'max': 'Effort: 100\n'} %}"
        "{% set thinks = (thinking_mode | default('thinking')) == 'thinking' %}<bos>"
        "{% for m in messages %}{% if m.role == 'system' %}<sys>"
        "{{ efforts[reasoning_effort | default('high')] if thinks }}"
        "{{ m.content }}{% elif m.role == 'user' %}<user>{{ m.content }}"
        "{% else %}<bot></think>{{ m.content }}<eos>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<bot>{{ '<think>' if thinks else '</think>' }}{% endif %}"
    ),
    # No mark closes a reply: the next message's does, and the model samples it.
    "zai-org/GLM-5.3": (
        "<gmask><|system|>Reasoning Effort: {{ (reasoning_effort | default('max')) | capitalize }}"
        "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|><think></think>{{ m.content | trim }}"
        "{% else %}<|{{ m.role }}|>{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
    ),
}  # fmt: skip
ENDS = {
    "openai/gpt-oss-20b": "<|return|>",
    "deepseek-ai/DeepSeek-V4.1-Flash": "<eos>",
    "zai-org/GLM-5.3": "<|user|>",
}
SECRET, SPEECH = "It is 12, I must not say so.", "What do you get for 3 + 4?"
# A reply as each family samples it: reasoning, then speech. Its prompt may have opened the reasoning already.
OPENED = dict.fromkeys(TEMPLATES, f"{SECRET}\n</think>\n\n{SPEECH}") | {
    "Qwen/Qwen3-8B": f"<think>\n{SECRET}\n</think>\n\n{SPEECH}",
    "openai/gpt-oss-20b": f"<|channel|>analysis<|message|>{SECRET}<|end|><|start|>assistant<|channel|>commentary"
    f"<|message|>{SECRET}<|end|><|start|>assistant<|channel|>final<|message|>{SPEECH}",
}
_MARK = re.compile(r"<\|?/?[a-z_]+\|?>")


class FamilyTokenizer:
    """One token a character, one a mark such as `<|im_end|>`; the marks are numbered as they come in the template."""

    def __init__(self, template: str, end: str = "<|im_end|>") -> None:
        written = re.sub(
            r"<\|(im_)?\{\{ m.role \}\}\|>",
            lambda m: "".join(f"<|{m[1] or ''}{r}|>" for r in ("system", "user", "assistant")),
            template,
        )
        self._marks = list(dict.fromkeys([end, *_MARK.findall(written), "<think>", "</think>", *_HARMONY]))
        self.chat_template = template
        self.all_special_tokens = [mark for mark in self._marks if "think" not in mark]
        self.all_special_ids = [self._marks.index(mark) for mark in self.all_special_tokens]
        self.eos_token_id = self._marks.index(end)

    def apply_chat_template(
        self, messages: list[dict[str, str]], tokenize: bool, chat_template: str | None = None, **variables: Any
    ) -> str:
        """As transformers: options of the environment, and no functions among the variables."""
        template = _ENVIRONMENT.from_string(chat_template or self.chat_template)
        return template.render(messages=messages, **{k: v for k, v in variables.items() if not callable(v)})

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        parts = re.split(f"({'|'.join(map(re.escape, self._marks))})", text)
        return [
            token
            for part in parts
            for token in ([self._marks.index(part)] if part in self._marks else [100 + ord(letter) for letter in part])
        ]

    def decode(self, tokens: list[int], skip_special_tokens: bool = False) -> str:
        hidden = self.all_special_ids if skip_special_tokens else ()
        return "".join(chr(t - 100) if t >= 100 else self._marks[t] for t in tokens if t not in hidden)

    def get_vocab(self) -> dict[str, int]:
        return {mark: number for number, mark in enumerate(self._marks)}


_ENVIRONMENT = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
_HARMONY = ("<|channel|>", "<|call|>")
