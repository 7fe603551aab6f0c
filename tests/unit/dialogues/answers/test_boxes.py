from hypothesis import given, strategies as st

from socratic_distill.dialogues.answers.boxes import boxes_of, has_box


def contents(text: str, longest: int | None = None) -> list[str | None]:
    return [None if box.stop is None else text[box.start : box.stop] for box in boxes_of(text, longest)]


def test_boxes_are_found_with_their_contents():
    assert contents(r"so \boxed{3} or \fbox {\frac{1}{2}}") == ["3", r"\frac{1}{2}"]
    assert contents(r"\boxed{a\}b} \boxed{\boxed{7}}") == [r"a\}b", r"\boxed{7}"]
    assert contents("no box {3}") == [] and not has_box("no box {3}") and has_box(r"\boxed{")


def test_a_box_that_is_not_closed_has_no_end():
    assert contents(r"\boxed{3 \boxed{4}") == [None, "4"]
    assert contents(r"\boxed{12345} \boxed{1}", longest=4) == [None, "1"]


@given(st.lists(st.sampled_from(["\\boxed{", "\\fbox{", "{", "}", "\\", "3", " "]), max_size=30).map("".join))
def test_boxes_lie_in_the_text_in_order(text):
    end = 0
    for box in boxes_of(text):
        assert end <= box.opening < box.start <= len(text)
        assert box.stop is None or (box.start <= box.stop and text[box.stop] == "}")
        end = box.stop or box.start
