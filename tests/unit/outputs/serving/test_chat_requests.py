"""Which fields a request for a reply may have."""

import json
from typing import Any

import pytest

pytest.importorskip("starlette")

from socratic_distill.outputs.serving.replies import ApiError
from socratic_distill.outputs.serving.requests import read_chat


def read(**fields: Any) -> Any:
    body = {"model": "run", "messages": [{"role": "user", "content": "It is 3."}]} | fields
    return read_chat(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("name", "harmless", "other"),
    [
        ("top_k", [-1, 0, None], 5), ("min_p", [0, 0.0], 0.1), ("repetition_penalty", [1, 1.0], 1.1),
        ("chat_template_kwargs", [{}, None], {"enable_thinking": False}), ("stop_token_ids", [[]], [1]),
        ("ignore_eos", [False], True), ("min_tokens", [0], 5), ("tools", [[], None], [{}]),
        ("tool_choice", ["none", "auto"], "required"), ("frequency_penalty", [0, 0.0], -1),
        ("response_format", [{"type": "text"}], {"type": "json_object"}), ("logprobs", [False, None], True),
    ],
)  # fmt: skip
def test_only_what_would_change_the_reply_is_refused_and_by_name(name, harmless, other):
    for value in harmless:
        assert read(**{name: value}).model == "run"
    with pytest.raises(ApiError, match=f"{name} is not supported") as error:
        read(**{name: other})
    assert error.value.status == 400
    assert error.value.body["error"]["param"] == name and error.value.body["error"]["code"] == "unsupported_value"


def test_fields_that_are_unknown_are_left_aside():
    assert read(store=True, user="me", metadata={"a": "b"}, service_tier="auto", unknown=1).messages[0].content
