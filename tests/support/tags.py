"""The elements and texts of a page, so that tests can say what a text in it became."""

from html.parser import HTMLParser


class Tags(HTMLParser):
    """Names and attributes of a page's elements, and its texts."""

    def __init__(self, page):
        super().__init__()
        self.found, self.texts = [], []
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        """The attributes of all elements of a name."""
        return [attributes for name, attributes in self.found if name == tag]
