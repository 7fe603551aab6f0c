"""Digits of other scripts, as ASCII. Pure."""

import unicodedata

_SIGNS = {"\u066b": ".", "\u066c": ",", "\u066a": "%", "\uff0e": ".", "\uff0c": ",", "\uff05": "%"}


def plain_digits(text: str) -> str:
    """A text of the same length with the digits, points and percent signs of other scripts written in ASCII."""
    if text.isascii():
        return text
    return "".join(character if character < "\u0600" else _in_ascii(character) for character in text)


def _in_ascii(character: str) -> str:
    digit = unicodedata.decimal(character, None)
    return _SIGNS.get(character, character) if digit is None else str(digit)
