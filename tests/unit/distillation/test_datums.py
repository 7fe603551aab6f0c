from hypothesis import given, strategies as st

from socratic_distill.distillation.datums import Span, merge_turns

tokens = st.lists(st.integers(0, 3), min_size=1, max_size=4)


def test_turns_that_share_a_prefix_are_one_sequence():
    (sequence,) = merge_turns([([1, 2], [3, 4]), ([1, 2, 3, 4, 5], [6])])
    assert sequence.tokens == (1, 2, 3, 4, 5, 6)
    assert sequence.spans == (Span(0, 2, 4), Span(1, 5, 6))


def test_a_turn_cut_at_the_limit_keeps_the_templates_end_as_context():
    (sequence,) = merge_turns([([1], [3]), ([1, 3, 9, 2], [4])])
    assert sequence.spans == (Span(0, 1, 2), Span(1, 4, 5))


def test_a_turn_that_breaks_the_prefix_begins_a_sequence_of_its_own():
    first, second = merge_turns([([1], [7, 3]), ([1, 3, 2], [4])])
    assert (first.tokens, second.tokens) == ((1, 7, 3), (1, 3, 2, 4))
    assert second.spans == (Span(1, 3, 4),)


@given(st.lists(st.tuples(tokens, tokens), max_size=5), st.lists(st.booleans(), min_size=5, max_size=5))
def test_every_reply_stands_once_unchanged_behind_its_own_prompt(pairs, chain):
    turns: list[tuple[list[int], list[int]]] = []
    for (prompt, reply), joined in zip(pairs, chain, strict=False):
        before = [*turns[-1][0], *turns[-1][1]] if joined and turns else []
        turns.append((before + prompt, reply))
    spans = [(s, span) for s in merge_turns(turns) for span in s.spans]
    assert [span.turn for _, span in spans] == list(range(len(turns)))
    for (sequence, span), (prompt, reply) in zip(spans, turns, strict=True):
        assert sequence.tokens[: span.stop] == (*prompt, *reply)
        assert sequence.tokens[span.start : span.stop] == tuple(reply)
