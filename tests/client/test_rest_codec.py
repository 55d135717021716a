"""Requests in JSON, without a server."""

import json

import pytest

from tfllm.client import calls, rest_codec
from tfllm.client.calls import Target
from tfllm.wire import messages


@pytest.mark.parametrize("text", ["漢字かな" * 1000, "é" * 1000, "\U0001f600" * 1000])
def test_text_takes_no_more_bytes_than_over_grpc(text):
    target = Target("m")
    request = calls.text_request(target, calls.texts_of(target, [text]))
    body = rest_codec.http_request(messages.PREDICT, request).body
    assert json.loads(body)["inputs"]["text"] == [text]
    assert len(body) <= len(request) + 100
