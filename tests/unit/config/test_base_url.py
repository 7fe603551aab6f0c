"""The server's URL in a config: the same server has one URL, however its API's path is written."""

import logging

import pytest
from hypothesis import given, strategies as st

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.grant import Grant, server_for
from socratic_distill.config.known_servers import origin, server_root


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://box:8000", "http://box:8000"),
        ("http://box:8000/", "http://box:8000"),
        ("http://box:8000/api/v1", "http://box:8000"),
        ("http://box:8000/api/v1/", "http://box:8000"),
        ("https://box/services/tinker-prod/api/v1", "https://box/services/tinker-prod"),
        ("http://[::1]:8000/api/v1", "http://[::1]:8000"),
        ("http://me:pass@box/api/v1", "http://box"),
    ],
)
def test_a_config_holds_the_servers_root(make_config, url, root):
    config = make_config(base_url=url)
    assert config.base_url == root
    assert SocraticConfig.model_validate_json(config.model_dump_json()) == config == make_config(base_url=root)


@pytest.mark.parametrize("url", ["local", "http://box/api/v2", "http://box/xapi/v1", "http://box/api/v1?a=b"])
def test_other_values_stay_as_they_are(make_config, url):
    assert make_config(base_url=url).base_url == url


@pytest.mark.parametrize("url", ["ftp://box/api/v1", "http://", "http:///api/v1", "box/api/v1"])
def test_a_url_without_a_server_is_left_to_the_checks(url):
    assert server_root(url) == url


@pytest.mark.parametrize(
    ("url", "notices"), [("http://box/api/v1", 1), ("http://box/", 0), ("http://box", 0), (None, 0)]
)
def test_a_path_that_is_left_out_gives_a_notice(make_config, caplog, url, notices):
    with caplog.at_level(logging.INFO, "socratic_distill.config.config"):
        make_config(base_url=url)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["base_url: http://box is used, since the SDK adds /api/v1 itself"] * notices


def test_the_users_server_with_the_apis_path_keeps_the_stored_path(tmp_path):
    grant = Grant(source="run", home=tmp_path, base_url="http://box/api/v1")
    assert server_for("http://box/tinker", grant) == "http://box/tinker"
    assert server_for("http://other", grant) == "http://box"


@given(st.lists(st.sampled_from(["http", "https", "://", "box", "/", "/api/v1", "?", "#", "@", "local"])).map("".join))
def test_the_root_of_a_root_is_itself_and_on_the_same_host(url):
    root = server_root(url)
    assert server_root(root) == root and url.startswith(root)
    assert origin(root) == origin(url) or origin(url) is None
