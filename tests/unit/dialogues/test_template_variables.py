"""Templates that write today's date, with the tokenizers of transformers."""

import pytest

from socratic_distill.config.reasoning import AS_IT_COMES
from socratic_distill.dialogues.template_variables import template_variables
from socratic_distill.local.tiny import MODEL_DIR


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ strftime_now('%Y-%m-%d') }}", "2026-01-01"),
        ("{% set day = strftime_now('%d %b %Y') %}\n{{ day }}", "01 Jan 2026"),
        ("{% macro head() %}{{ strftime_now('%-d %B') }}{% endmacro %}{{ head() }}", "1 January"),
        ("{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}", "2026"),
        ("\n  {% if true %}\n a\n  {% endif %}{{ strftime_now('%Y')[:0] }}\n b", "\n a\n\n b"),
    ],
)
def test_a_date_is_fixed_and_all_else_as_the_template_writes_it(source, text):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL_DIR)
    tokenizer.chat_template = source
    talk, variables = [{"role": "user", "content": "?"}], template_variables(tokenizer, "own", AS_IT_COMES)
    assert tokenizer.apply_chat_template(talk, tokenize=False, **variables) == text
