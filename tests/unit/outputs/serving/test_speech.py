"""The text of a streamed reply: never taken back, cut at stop texts wherever tokens begin and end."""

from typing import Any

import pytest

pytest.importorskip("starlette")

from hypothesis import given, strategies as st
from tests.support.families import ENDS, OPENED, SECRET, SPEECH, TEMPLATES, FamilyTokenizer

from socratic_distill.config.catalogue import catalogue
from socratic_distill.config.reasoning import TemplateChoice
from socratic_distill.dialogues.codec import Codec
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.outputs.serving.speech import Speech

TEXT = st.text(alphabet="ab<think>/ \n\u00e9\U0001f600", max_size=24)


class Bytes:
    """A renderer whose tokens are bytes, so that characters are torn; reasoning is marked as in most models."""

    def visible_text(self, tokens):
        text = bytes(tokens).decode("utf-8", errors="replace")
        if "</think>" in text:
            return text.rpartition("</think>")[2].strip()
        return text.partition("<think>")[0].strip()


def streamed(text: str, stops: list[str]) -> tuple[str, list[str], Speech]:
    renderer: Any = Bytes()
    speech, tokens = Speech(renderer, stops), text.encode()
    pieces = [speech.take(tokens[:end]) for end in range(1, len(tokens) + 1)]
    return "".join([*pieces, speech.finish(tokens)]), pieces, speech


@given(TEXT, st.lists(st.text(alphabet="ab \n\u00e9", min_size=1, max_size=3), max_size=3))
def test_pieces_are_the_text_up_to_the_first_stop_text(text, stops):
    said, _, speech = streamed(text, stops)
    assert "\ufffd" not in said
    if "think>" in text:  # speech before reasoning stays, what is thought is never said
        return
    visible = text.strip()
    ends = [place for stop in stops if (place := visible.find(stop)) >= 0]
    assert said == speech.text
    # A stop text at the end counts when it is complete; white space at the end is never said.
    if ends:
        assert said.rstrip() == visible[: min(ends)].rstrip() and speech.length is not None
    else:
        assert said == visible and speech.length is None


def test_text_comes_as_soon_as_it_is_certain():
    _, pieces, _ = streamed("ab\u00e9c", [])
    assert pieces == ["a", "b", "", "\u00e9", "c"]


def test_the_beginning_of_a_stop_text_is_held_back_and_said_if_it_was_none():
    said, pieces, speech = streamed("aEN b", ["END"])
    assert pieces[:3] == ["a", "", ""] and said == "aEN b" and speech.length is None
    said, pieces, speech = streamed("aEND b", ["END"])
    assert said == "a" and speech.length == len("aEND") and not any(pieces[4:])


def test_reasoning_is_not_said_even_in_part():
    said, pieces, _ = streamed("<think>abc</think> Why?", [])
    assert said == "Why?" and all("<" not in piece and "b" not in piece for piece in pieces)


def test_a_stop_text_within_reasoning_ends_nothing():
    said, _, speech = streamed("<think>STOP</think>Why?", ["STOP"])
    assert said == "Why?" and speech.length is None


def test_the_first_of_several_stop_texts_counts():
    said, _, _ = streamed("one. two; three", [";", "."])
    assert said == "one"


def test_a_torn_character_is_no_stop_text():
    said, _, speech = streamed("a\u00e9b", ["\ufffd"])
    assert said == "a\u00e9b" and speech.length is None
    said, _, speech = streamed("a\ufffdb", ["\ufffd"])
    assert said == "a" and speech.length == len("a\ufffdb".encode())


@pytest.mark.parametrize("name", TEMPLATES)
def test_thoughts_of_any_family_are_not_said_and_speech_comes_in_pieces(name):
    levels = catalogue().switches[catalogue().models[name].reasoning or ""]
    level: Any = next(level for level in ("on", "high", "max") if level in levels)
    codec = Codec(FamilyTokenizer(TEMPLATES[name], ENDS.get(name, "<|im_end|>")))
    renderer = Renderer(codec, name, TemplateChoice(reasoning=level))
    tokens = (*renderer.tokenizer.encode(OPENED[name]), renderer.end_token)
    for stops, expected in ((["it is 12"], SPEECH), ([SECRET], SPEECH), (["for 3", "zz"], "What do you get ")):
        speech = Speech(renderer, stops)
        pieces = [speech.take(tokens[:end]) for end in range(1, len(tokens) + 1)]
        assert "".join([*pieces, speech.finish(tokens)]).rstrip() == expected.rstrip()
        assert sum(map(bool, pieces)) > 10 and (speech.length is not None) == (expected != SPEECH)
