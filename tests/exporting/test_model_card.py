import json
import shlex

import numpy as np
from google.protobuf import json_format

from tfllm.exporting.model_card import make_card
from tfllm.wire import messages, tensors

CONTRACT = {
    "task": "TextClassifier",
    "labels": ["bad", "it's | good"],
    "max_length": 64,
    "signatures": {"serving_default": {"inputs": {"text": {"dtype": "string", "shape": [None]}}, "outputs": {}}},
    "golden": [{"request": ["it's a film"], "answer": {}}],
    "evaluation": {"accuracy": 0.9},
    "parity": {"largest_difference": {"session": 1e-7}},
    "forward": {"kind": "keras", "precision": "float32", "note": "Keras's own."},
    "versions": {"tensorflow": "2.21.0"},
}


def test_it_says_what_the_contract_says():
    card = make_card("reviews", CONTRACT)
    for part in ("# reviews", "it's \\| good", "| accuracy | 0.9 |", "64 tokens", "Keras's own.", "not recorded"):
        assert part in card


def test_what_the_precision_costs_is_there_to_read():
    forward = {**CONTRACT["forward"], "precision": "bfloat16"}
    figures = {"evaluation": {"accuracy": 0.9, "rows": 8}, "evaluation_exported": {"accuracy": 0.8900000001}}
    card = make_card("reviews", {**CONTRACT, **figures, "forward": forward})
    table = "| | in Keras | as exported, bfloat16 |\n|---|---|---|\n| accuracy | 0.9 | 0.89 |\n| rows | 8 |  |\n"
    assert table in card


def test_questions_and_contexts_keep_their_names():
    specs = {name: {"dtype": "string", "shape": [None]} for name in ("context", "question")}  # as they are sorted
    contract = {
        **CONTRACT,
        "task": "QuestionAnswerer",
        "input_names": ["question", "context"],
        "overlap": 128,
        "signatures": {"serving_default": {"inputs": specs, "outputs": {}}},
        "golden": [{"request": ["who?", "Ana."], "answer": {}}],
    }
    card = make_card("answers", contract)
    line = next(line for line in card.splitlines() if line.startswith("curl"))
    assert json.loads(shlex.split(line)[2]) == {"instances": [{"question": "who?", "context": "Ana."}]}
    assert "client.predict([('who?', 'Ana.')])" in card
    assert "windows of 64 tokens" in card and "loses" not in card


def test_its_call_for_grpcurl_is_a_request_of_the_protocol():
    line = next(line for line in make_card("reviews", CONTRACT).splitlines() if line.startswith("grpcurl"))
    request = json_format.Parse(shlex.split(line.removesuffix(" \\"))[3], messages.PredictRequest())
    assert request.model_spec.name == "reviews"
    np.testing.assert_array_equal(tensors.to_array(request.inputs["text"]), np.array([b"it's a film"], object))


def test_its_shell_command_is_one_word_of_json():
    line = next(line for line in make_card("reviews", CONTRACT).splitlines() if line.startswith("curl"))
    words = shlex.split(line)
    assert json.loads(words[2]) == {"instances": [{"text": "it's a film"}]}
    assert words[3].endswith("/v1/models/reviews:predict")
