"""What a piece of HTML holds, so that tests can say that a text in it stayed a text."""

from html.parser import HTMLParser

# Elements and attributes that our own pieces for notebooks use.
TAGS = {
    "div",
    "b",
    "span",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "details",
    "summary",
    "code",
    "pre",
    "ol",
    "li",
}
ATTRIBUTES = {"style", "title"}
MARKUP = "</td></pre><script>alert(1)</script><img src=x onerror='alert(1)'>\"&amp;<!--\x1b[2J\u202e"


class Pieces(HTMLParser):
    """Elements, attributes and text of a piece of HTML."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.open, self.text = set(), set(), [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data!r}")


def check_inert(html: str) -> str:
    """The text of a piece of HTML that has only our elements and attributes, each closed."""
    pieces = Pieces(html)
    assert pieces.tags <= TAGS and pieces.attributes <= ATTRIBUTES, (pieces.tags - TAGS, pieces.attributes - ATTRIBUTES)
    assert not pieces.open, f"not closed: {pieces.open}"
    assert not any(ord(char) < 32 and char not in "\n\t" for char in html), "a control character"
    return pieces.text
