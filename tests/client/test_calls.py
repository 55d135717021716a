"""Requests and answers without a server."""

import numpy as np
import pytest

from tfllm.client import calls, hints
from tfllm.client.calls import Target
from tfllm.errors import InvalidInput, call_error
from tfllm.wire import messages, tensors


def request_for(target, items, first=0):
    return calls.text_request(target, calls.texts_of(target, items, first), first)


ECHO = Target("echo")


def read(data):
    return messages.PredictRequest.FromString(data)


def test_a_target_is_spelled_out():
    spec = read(request_for(Target("m", version=3, signature="s"), ["a"])).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 3, "s")
    assert not spec.HasField("version_label")
    spec = read(request_for(Target("m", label="stable"), ["a"])).model_spec
    assert spec.version_label == "stable" and not spec.HasField("version")
    spec = read(request_for(ECHO, ["a"])).model_spec
    assert spec.WhichOneof("version_choice") is None and spec.signature_name == ""


def test_version_zero_is_a_version():
    assert read(request_for(Target("m", version=0), ["a"])).model_spec.HasField("version")


def test_texts_and_pairs_go_to_their_inputs():
    inputs = read(request_for(ECHO, ["é", b"\xff"])).inputs
    assert {name: list(inputs[name].string_val) for name in inputs} == {"text": ["é".encode(), b"\xff"]}
    assert [dim.size for dim in inputs["text"].tensor_shape.dim] == [2]
    inputs = read(request_for(ECHO, [("a", "b"), ("c", "d")])).inputs
    assert list(inputs["text"].string_val) == [b"a", b"c"]
    assert list(inputs["text_pair"].string_val) == [b"b", b"d"]


def test_positions_in_errors_count_from_the_first_text_of_the_call():
    with pytest.raises(InvalidInput, match="item 101 "):
        request_for(ECHO, ["a", 5], first=100)
    with pytest.raises(InvalidInput, match="item 101"):
        request_for(ECHO, [("a", "b"), "c"], first=100)


def test_arrays_are_sent_as_raw_bytes():
    request = read(calls.arrays_request(ECHO, {"x": np.float32([1, 2])}, ["y"]))
    assert request.inputs["x"].tensor_content == np.float32([1, 2]).tobytes()
    assert list(request.output_filter) == ["y"]


def test_answers_are_read_by_name():
    response = messages.PredictResponse()
    tensors.fill(response.outputs["b"], np.int64([[1]]))
    tensors.fill(response.outputs["a"], ["x"])
    outputs = calls.outputs_of(response.SerializeToString())
    assert list(outputs) == ["a", "b"]
    assert outputs["b"].tolist() == [[1]] and outputs["a"].tolist() == [b"x"]


def test_explained_errors_keep_the_server_s_words():
    error = hints.explained(call_error("NOT_FOUND", "Servable not found for request: Latest(m)", address="a:1"), ECHO)
    assert error.details == "Servable not found for request: Latest(m)"
    assert (error.model, error.address) == ("echo", "a:1")
    assert str(error).startswith("Servable not found for request: Latest(m) [NOT_FOUND: model 'echo' at a:1] Check")
    plain = hints.explained(call_error("INTERNAL", "oh"), ECHO)
    assert plain.hint is None and str(plain) == "oh [INTERNAL: model 'echo']"
