"""Separates the reasoning in a text, between `<think>` and `</think>`, from the reply. Pure."""

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


def spoken(text: str, is_opened: bool = False) -> str:
    """The text without its reasoning: the part after the last closing mark or, without one, before the opening mark.

    Args:
        text: a reply without its special tokens.
        is_opened: whether the prompt already ends with the opening mark. Then a text without a closing mark is
            reasoning that was cut, and the result is empty.

    >>> spoken("<think>It is 12.</think>Why?"), spoken("<think>It is"), spoken("It is", is_opened=True), spoken("Why?")
    ('Why?', '', '', 'Why?')
    """
    if THINK_CLOSE in text:
        return text.rpartition(THINK_CLOSE)[2]
    return "" if is_opened else text.partition(THINK_OPEN)[0]
