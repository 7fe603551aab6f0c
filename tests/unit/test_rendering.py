"""Rendering by chat templates with the habits of published ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.chat_templates import (
    DROPS_SYSTEM,
    FORCED,
    LAST_ONLY,
    NO_END,
    NO_SYSTEM,
    PLAIN,
    SPECIAL,
    THINKING,
    CharacterTokenizer,
    ids,
    make,
)

from socratic_distill import RenderingError
from socratic_distill.dialogue import Message
from socratic_distill.sequences import merge_turns

TALK = [Message("system", "S"), Message("user", "u"), Message("assistant", tokens=(7,)), Message("user", "v")]


class SpelledTokenizer(CharacterTokenizer):
    """A model whose <think> marks are no tokens of their own."""

    def encode(self, text, add_special_tokens):
        tokens = super().encode(text, add_special_tokens)
        return [n for t in tokens for n in ([100 + ord(c) for c in SPECIAL[t]] if t in (5, 6) else [t])]


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


@pytest.mark.parametrize(
    ("template", "fault"), [(NO_SYSTEM, r"\(system, user\): no system"), (DROPS_SYSTEM, "drops the system message")]
)
def test_template_without_a_system_role_is_refused_at_once_with_both_ways_out(template, fault):
    with pytest.raises(RenderingError, match=f"'model'.*{fault}; set the config field system_role='merge'.*or use a"):
        make(template)


@pytest.mark.parametrize("template", [NO_SYSTEM, DROPS_SYSTEM])
def test_merged_system_prompt_stands_before_the_first_user_message(template):
    prompt = make(template, system_role="merge").prompt(TALK)
    assert prompt == (*ids("<user>S\n\nu<end>\n<bot>"), 7, *ids("<end>\n<user>v<end>\n<bot>"))


def test_merging_leaves_a_system_role_and_a_talk_without_a_system_prompt_alone():
    assert make(system_role="merge").prompt(TALK) == make().prompt(TALK)
    assert make(NO_SYSTEM, system_role="merge").prompt(TALK[1:]) == make().prompt(TALK[1:])


def test_template_that_cannot_render_a_question_is_not_blamed_on_the_system_role():
    with pytest.raises(RenderingError, match=r"cannot render the roles \(user, assistant\): never; use a chat model"):
        make("{{ raise_exception('never') }}", system_role="merge")


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


# Only the marks of reasoning, and what may stand behind them.
@given(st.lists(st.sampled_from(["</think>", "<think>", "a", " ", "\n\n", "<user>"])), st.sampled_from(["", "<end>"]))
@pytest.mark.parametrize("template", [PLAIN, THINKING, FORCED])
def test_thought_and_history_and_the_end_token_make_the_whole_reply(template, pieces, end):
    renderer = make(template, thinking=True)
    reply = ids("".join(pieces) + end)
    start = renderer.thought(reply)
    if "</think>" in pieces:
        assert reply[start:] == renderer.history(reply) + ids(end)
        assert SPECIAL.index("</think>") in reply[:start]
    else:
        assert start == (len(reply) if template == FORCED or "<think>" in pieces else 0)


@pytest.mark.parametrize(
    ("template", "thought", "rest"),
    [
        (PLAIN, "", "Why? <end>"),
        (PLAIN, "", ""),
        (THINKING, "<think>it is 12</think>\n\n", "Why?<end>"),
        (THINKING, "<think>it is 12</think>\n\n", "<end>"),
        (THINKING, "<think>it is 12", ""),
        (THINKING, "<think>it is 12<end>", ""),
        (FORCED, "it is 12</think>\n", "Why?<end>"),
        (FORCED, "it is 12, so", ""),
    ],
)
def test_thought_is_the_reasoning_and_the_white_space_behind_it(template, thought, rest):
    assert make(template, thinking=True).thought(ids(thought + rest)) == len(ids(thought))


@pytest.mark.parametrize("rest", ["Why?", "Why?<end>", "<end>", ""])
def test_thought_ends_behind_the_last_closing_mark_of_several_tokens(rest):
    tokenizer = SpelledTokenizer(PLAIN)
    thought = tokenizer.encode("<think>a</think> b</think>\n\n", add_special_tokens=False)
    reply = thought + tokenizer.encode(rest, add_special_tokens=False)
    renderer = make(tokenizer=SpelledTokenizer)
    assert renderer.thought(reply) == len(thought)
    assert renderer.visible_text(reply) == rest.removesuffix("<end>")
