"""Where the page sends its readers for an explanation."""

import pytest

from socratic_distill.outputs.report.guide import guide_of, where_to_read


@pytest.mark.parametrize(
    ("urls", "address"),
    [
        ([], None),
        (["Source, https://example.org/source"], None),
        (["Documentation, https://example.org/docs/"], "https://example.org/docs/guides/report.html"),
        (["documentation,https://example.org"], "https://example.org/guides/report.html"),
        (["Documentation, javascript:alert(1)"], None),
        (["Documentation"], None),
    ],
)
def test_the_address_is_the_published_page_if_there_is_one(urls, address):
    assert guide_of(urls).address == address


def test_the_page_is_named_in_any_case():
    assert where_to_read().name == "docs/guides/report.md"
