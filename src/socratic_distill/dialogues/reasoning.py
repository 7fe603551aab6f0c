"""What of a text is reasoning, between `<think>` and `</think>`, and what is said. Pure."""

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


def spoken(text: str, is_opened: bool = False) -> str:
    """The text without its reasoning: what stands after the last closing mark, or else before the opening one.

    Args:
        text: a reply, its special tokens left out.
        is_opened: whether the opening mark stands before the text already. Then a text without a closing mark is
            reasoning that was cut, and says nothing.

    >>> spoken("<think>It is 12.</think>Why?"), spoken("<think>It is"), spoken("It is", is_opened=True), spoken("Why?")
    ('Why?', '', '', 'Why?')
    """
    if THINK_CLOSE in text:
        return text.rpartition(THINK_CLOSE)[2]
    return "" if is_opened else text.partition(THINK_OPEN)[0]
