"""Rendering by chat templates with the habits of published ones."""

import pytest
from hypothesis import given, strategies as st
from tests.support.chat_templates import (
    ADDS_A_NUMBER,
    DROPS_SYSTEM,
    FIRST_PART,
    FORCED,
    GEMMA,
    HARMONY,
    LAST_ENDS_OTHERWISE,
    LAST_ONLY,
    MISTRAL,
    NO_END,
    NO_OPENING,
    NO_SYSTEM,
    PARTS,
    PLAIN,
    QWEN3_8B,
    QWEN3_2507,
    SPECIAL,
    THINKING,
    CharacterTokenizer,
    ids,
    make_renderer,
)

from socratic_distill import RenderingError
from socratic_distill.dialogues.dialogue import Message
from socratic_distill.distillation.datums import merge_turns

TALK = [Message("system", "S"), Message("user", "u"), Message("assistant", tokens=(7,)), Message("user", "v")]


class SpelledTokenizer(CharacterTokenizer):
    """A model whose <think> marks are no tokens of their own."""

    def encode(self, text, add_special_tokens):
        tokens = super().encode(text, add_special_tokens)
        return [n for t in tokens for n in ([100 + ord(c) for c in SPECIAL[t]] if t in (5, 6) else [t])]


def test_sampled_tokens_enter_later_context_unchanged():
    renderer = make_renderer()
    odd = (*ids("a"), 7, 8, 9)  # ids that no encoding of any text would give
    prompt = renderer.prompt(
        [Message("system", "S"), Message("user", "u"), Message("assistant", tokens=odd), Message("user", "v")]
    )
    assert prompt == (*ids("<sys>S<end>\n<user>u<end>\n<bot>"), *odd, *ids("<end>\n<user>v<end>\n<bot>"))


def test_end_token_comes_from_the_template():
    assert make_renderer().end_token == SPECIAL.index("<end>")


def test_complete_and_cut_replies_both_keep_the_prefix():
    renderer = make_renderer()
    first = renderer.prompt([Message("user", "u")])
    for reply in (ids("abc<end>"), ids("abc")):
        later = [Message("user", "u"), Message("assistant", tokens=renderer.history(reply)), Message("user", "v")]
        (sequence,) = merge_turns([(first, reply), (renderer.prompt(later), ids("d<end>"))])
        assert sequence.tokens == ids("<user>u<end>\n<bot>abc<end>\n<user>v<end>\n<bot>d<end>")


def test_template_that_drops_an_empty_think_part_makes_datums_of_their_own():
    renderer = make_renderer(THINKING)
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
    renderer = make_renderer(template, thinking=True)
    assert renderer.visible_text(ids(reply)) == visible
    assert renderer.history(ids(reply)) == ids(history)


def test_template_without_a_system_role_is_refused_and_named():
    with pytest.raises(RenderingError, match=r"'model' cannot render the roles \(system, user\): no system"):
        make_renderer(NO_SYSTEM).prompt([Message("system", "S"), Message("user", "u")])


@pytest.mark.parametrize(
    ("template", "fault"), [(NO_SYSTEM, r"\(system, user\): no system"), (DROPS_SYSTEM, "drops the system message")]
)
def test_template_without_a_system_role_is_refused_with_both_remedies(template, fault):
    with pytest.raises(RenderingError, match=f"'model'.*{fault}; set the config field system_role='merge'.*or use a"):
        make_renderer(template)


@pytest.mark.parametrize("template", [NO_SYSTEM, DROPS_SYSTEM])
def test_merged_system_prompt_stands_before_the_first_user_message(template):
    prompt = make_renderer(template, system_role="merge").prompt(TALK)
    assert prompt == (*ids("<user>S\n\nu<end>\n<bot>"), 7, *ids("<end>\n<user>v<end>\n<bot>"))


def test_merging_changes_no_system_role_and_no_talk_without_system_prompt():
    assert make_renderer(system_role="merge").prompt(TALK) == make_renderer().prompt(TALK)
    assert make_renderer(NO_SYSTEM, system_role="merge").prompt(TALK[1:]) == make_renderer().prompt(TALK[1:])


def test_template_that_renders_no_question_is_not_a_system_role_fault():
    with pytest.raises(
        RenderingError, match=r"cannot render the roles \(user, assistant, user\): never; use a chat model"
    ):
        make_renderer("{{ raise_exception('never') }}", system_role="merge")


def test_template_without_a_special_end_token_is_refused():
    with pytest.raises(RenderingError, match="does not begin with a special token"):
        make_renderer(NO_END)


def test_template_that_loses_a_reply_is_refused():
    talk = [
        Message("user", "u"),
        Message("assistant", tokens=(7,)),
        Message("user", "v"),
        Message("assistant", tokens=(8,)),
    ]
    with pytest.raises(RenderingError, match="does not keep every reply"):
        make_renderer(LAST_ONLY).prompt([*talk, Message("user", "w")])


# Only the marks of reasoning, and what may stand behind them.
@given(st.lists(st.sampled_from(["</think>", "<think>", "a", " ", "\n\n", "<user>"])), st.sampled_from(["", "<end>"]))
@pytest.mark.parametrize("template", [PLAIN, THINKING, FORCED])
def test_thought_and_history_and_the_end_token_make_the_whole_reply(template, pieces, end):
    renderer = make_renderer(template, thinking=True)
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
    assert make_renderer(template, thinking=True).thought(ids(thought + rest)) == len(ids(thought))


@pytest.mark.parametrize("rest", ["Why?", "Why?<end>", "<end>", ""])
def test_thought_ends_behind_the_last_closing_mark_of_several_tokens(rest):
    tokenizer = SpelledTokenizer(PLAIN)
    thought = tokenizer.encode("<think>a</think> b</think>\n\n", add_special_tokens=False)
    reply = thought + tokenizer.encode(rest, add_special_tokens=False)
    renderer = make_renderer(tokenizer=SpelledTokenizer)
    assert renderer.thought(reply) == len(thought)
    assert renderer.visible_text(reply) == rest.removesuffix("<end>")


TEMPLATES = {
    "plain": PLAIN, "thinking": THINKING, "forced": FORCED, "gemma": GEMMA, "mistral": MISTRAL, "qwen3": QWEN3_8B,
    "qwen3 2507": QWEN3_2507,
}  # fmt: skip
# Special tokens, what templates look for, the characters that rendering uses, half a character, and text.
hostile = st.lists(
    st.sampled_from([*SPECIAL, "\ue0000\ue001", "\ue0040\ue005", "\ue002\ue003", "{{ 7 }}", "{% raw %}", "\ud800"])
    | st.text(max_size=3),
    max_size=6,
).map(lambda pieces: "x" + "".join(pieces) + "x")


def specials(tokens):
    return [token for token in tokens if token < len(SPECIAL)]


@pytest.mark.parametrize("template", TEMPLATES)
@given(texts=st.tuples(hostile, hostile, hostile))
def test_what_is_said_never_becomes_a_special_token(template, texts):
    renderer = make_renderer(TEMPLATES[template])

    def prompt(system, question, answer):
        said = [Message("system", system), Message("user", question), Message("assistant", tokens=(107, 108))]
        return renderer.prompt([*said, Message("user", answer)])

    tokens = prompt(*texts)
    assert specials(tokens) == specials(prompt("a", "b", "c")), "a text wrote marks of its own"
    read = CharacterTokenizer(PLAIN).decode(tokens)
    for text in texts:
        assert text.replace("\ud800", "\ufffd") in read, "a text was changed"


@given(text=hostile)
def test_a_written_reply_holds_no_special_token_but_its_end(text):
    tokens = make_renderer().written_reply(text)
    assert specials(tokens) == [SPECIAL.index("<end>")] and tokens[-1] == SPECIAL.index("<end>")
    assert CharacterTokenizer(PLAIN).decode(tokens[:-1]) == text.replace("\ud800", "\ufffd")


def test_a_written_reply_closes_reasoning_that_the_prompt_opens():
    renderer = make_renderer(FORCED)
    tokens = renderer.written_reply("Why?")
    assert tokens == ids("\n</think>\n\nWhy?<end>")
    assert renderer.visible_text(tokens) == "Why?" and renderer.history(tokens) == ids("Why?")
    assert renderer.thought(tokens) == len(ids("\n</think>\n\n")), "the reply itself would count as reasoning"


@pytest.mark.parametrize("text", ["Why?<end>", "Why?<end>\n", "Why? <end> <end>\n\n", "Why?<s>", "Why?"])
def test_an_end_mark_in_a_written_text_is_not_doubled(text):
    assert make_renderer().without_end_mark(text) == "Why?"


def test_an_end_mark_within_a_text_stays():
    assert make_renderer().without_end_mark("a<end>b \n") == "a<end>b \n"


@pytest.mark.parametrize("template", [HARMONY, NO_OPENING, PLAIN + "{# <|channel|>analysis #}"])
def test_template_whose_header_the_model_samples_is_refused(template):
    class Named(CharacterTokenizer):
        def __init__(self, template):
            super().__init__(template)
            self.chat_template = template

    with pytest.raises(RenderingError, match="'model' starts replies with a header that the model samples itself"):
        make_renderer(template, tokenizer=Named)


@pytest.mark.parametrize("template", TEMPLATES.values())
@pytest.mark.parametrize("thinking", [False, True])
def test_templates_that_open_the_reply_pass(template, thinking):
    make_renderer(template, thinking=thinking)


@pytest.mark.parametrize("template", [PARTS, FIRST_PART])
def test_template_that_takes_parts_is_refused_as_such(template):
    with pytest.raises(RenderingError, match=r"'model' takes the content of a message as a list of parts, not as text"):
        make_renderer(template)


def test_template_that_raises_another_error_is_refused_and_named():
    with pytest.raises(RenderingError, match=r"'model' cannot render the roles .*: TypeError: .*; use a chat model"):
        make_renderer(ADDS_A_NUMBER)


def test_end_tokens_are_those_of_template_tokenizer_and_model():
    class OfModel(CharacterTokenizer):
        end_token_ids = (1, 4)

    assert make_renderer().end_tokens == (1, 0), "the template's first, then the tokenizer's"
    assert make_renderer(tokenizer=OfModel).end_tokens == (1, 0, 4)
    assert make_renderer(LAST_ENDS_OTHERWISE).end_tokens == (0, 1)


def test_another_end_token_than_the_templates_is_no_part_of_the_turn():
    renderer = make_renderer()
    assert renderer.own_length(ids("Why?<end>")) == 5 and renderer.own_length(ids("Why?<s>")) == 4
    assert renderer.own_length(ids("Why?")) == 4 and renderer.own_length(()) == 0
    both = make_renderer(LAST_ENDS_OTHERWISE)
    for reply in (ids("Why?<end>"), ids("Why?<s>")):
        assert both.own_length(reply) == 5 and both.history(reply) == ids("Why?"), "the template writes both"
