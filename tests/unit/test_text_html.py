from hypothesis import given, settings, strategies as st
from tests.support.markup import MARKUP, check_inert

from socratic_distill.text import shown
from socratic_distill.text.html import escaped, folded, soft, table, titled, without_secrets

ANY_TEXT = st.text(st.characters())  # lone surrogates too


@settings(deadline=None)
@given(ANY_TEXT)
def test_escaped_text_is_read_back_as_it_is_shown(text):
    html = escaped(text)
    assert check_inert(html) == shown(text)
    html.encode()  # it can be written


@settings(deadline=None)
@given(st.lists(st.lists(ANY_TEXT, min_size=2, max_size=3), max_size=3), ANY_TEXT)
def test_pieces_put_together_hold_texts_and_nothing_else(rows, text):
    cells = [[escaped(cell) for cell in row] for row in rows]
    html = titled(escaped(text), table(cells, ["", soft(escaped(text))], numbers=True), folded("more", table(cells)))
    assert shown(text) in check_inert(html)


def test_secrets_are_left_out(monkeypatch):
    monkeypatch.setenv("ANY_API_KEY", "very-secret-value")
    html = without_secrets(f"very-secret-value at https://user:word@host {MARKUP}")
    assert "secret" not in html and "word" not in html
    check_inert(html)
