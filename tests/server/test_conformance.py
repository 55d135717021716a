"""The answers of TensorFlow Serving to right and wrong Predict requests, word for word."""

import numpy as np
import pytest
from serving_requests import TYPES, fill, floats, refusal, tensor
from tensorflow.core.example.example_pb2 import Example
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


@pytest.fixture(scope="module")
def predict(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask(inputs, *, outputs=(), **spec):
        request = predict_pb2.PredictRequest(inputs=inputs, output_filter=outputs)
        fill(request.model_spec, **spec)
        return stub.Predict(request, timeout=30)

    return ask


def test_answer_has_typed_values_and_the_resolved_model(predict):
    response = predict({"x": floats(2, 4)})
    assert list(response.outputs) == ["y"]
    assert response.outputs["y"] == floats(101, 102)
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("toy", 2, "serving_default")


def test_version_and_signature_are_chosen(predict):
    response = predict({"x": floats(2)}, version=1)
    assert response.outputs["y"] == floats(2)
    assert response.model_spec.version.value == 1
    response = predict({"a": floats(5, 6), "b": floats(1, 2)}, signature="pair")
    assert dict(response.outputs) == {"plus": floats(6, 8), "minus": floats(4, 4)}
    assert response.model_spec.signature_name == "pair"


def test_output_filter(predict):
    response = predict({"a": floats(5), "b": floats(1)}, signature="pair", outputs=["minus"])
    assert dict(response.outputs) == {"minus": floats(4)}


def test_every_kind_of_value(predict):
    brain = int(np.float32(1.5).view(np.uint32) >> 16)
    response = predict(
        {
            "flag": tensor(TYPES.DT_BOOL, [1], bool_val=[True]),
            "half": tensor(TYPES.DT_HALF, [1], half_val=[int(np.float16(1.5).view(np.uint16))]),
            "long": tensor(TYPES.DT_INT64, [1], int64_val=[2**40]),
            "small": tensor(TYPES.DT_UINT8, [1], int_val=[7]),
            "brain": tensor(TYPES.DT_BFLOAT16, [1], half_val=[brain]),
        },
        signature="kinds",
    )
    assert dict(response.outputs) == {
        "flag": tensor(TYPES.DT_BOOL, [1], bool_val=[False]),
        "half": tensor(TYPES.DT_HALF, [1], half_val=[int(np.float16(3).view(np.uint16))]),
        "long": tensor(TYPES.DT_INT64, [1], int64_val=[2**40 + 1]),
        "small": tensor(TYPES.DT_UINT8, [1], int_val=[7]),
        "brain": tensor(TYPES.DT_BFLOAT16, [1], half_val=[int(np.float32(3).view(np.uint32) >> 16)]),
    }


def test_text_is_bytes_whatever_they_are(predict):
    texts = [b"abc", "é\U0001f600".encode(), b"\xff\xfe", b"", b"nul\0"]
    response = predict({"text": tensor(TYPES.DT_STRING, [5], string_val=texts)}, signature="text")
    assert list(response.outputs["same"].string_val) == texts
    assert list(response.outputs["letters"].int_val[:2]) == [3, 2]


@pytest.mark.parametrize(
    "sent, answered",
    [
        (tensor(TYPES.DT_FLOAT, [3], float_val=[4]), floats(102, 102, 102)),  # the last value fills up
        (tensor(TYPES.DT_FLOAT, [2], float_val=[4, 6, 8]), floats(102, 103)),
        (tensor(TYPES.DT_FLOAT, [2], tensor_content=np.float32([4, 6]).tobytes()), floats(102, 103)),
        (tensor(TYPES.DT_FLOAT, [0]), floats()),
        # shapes are not checked against the signature, only by the graph
        (tensor(TYPES.DT_FLOAT, [], float_val=[4]), tensor(TYPES.DT_FLOAT, [], float_val=[102])),
        (tensor(TYPES.DT_FLOAT, [1, 1], float_val=[4]), tensor(TYPES.DT_FLOAT, [1, 1], float_val=[102])),
    ],
)
def test_shapes_and_encodings_that_are_taken(predict, sent, answered):
    received = predict({"x": sent}).outputs["y"]
    answered.tensor_shape.SetInParent()
    assert received == answered


def test_wrong_inner_dimension_is_left_to_the_graph(predict):
    response = predict({"m": tensor(TYPES.DT_FLOAT, [1, 3], float_val=[1, 2, 3])}, signature="rows")
    assert list(response.outputs["double"].float_val) == [2, 4, 6]


def test_outputs_without_dimensions(predict):
    response = predict({"x": floats(1, 2)}, signature="scalar")
    assert list(response.outputs["sum"].float_val) == [3]
    assert list(response.outputs["name"].string_val) == [b"all\0"]
    for proto in response.outputs.values():
        assert proto.HasField("tensor_shape") and not proto.tensor_shape.dim


def test_model_of_tensorflow_1(predict):
    response = predict({"x": tensor(TYPES.DT_FLOAT, [2, 1], float_val=[2, 4])}, model="classic")
    assert list(response.outputs["y"].float_val) == [6, 12]
    assert response.model_spec.version.value == 7


def test_predict_through_a_regress_signature(predict):
    example = Example()
    example.features.feature["x"].float_list.value.append(2)
    inputs = {"inputs": tensor(TYPES.DT_STRING, [1], string_val=[example.SerializeToString()])}
    response = predict(inputs, model="classic", signature="regress")
    assert list(response.outputs["outputs"].float_val) == [6]


X = {"x": floats(2)}
AB = {"a": floats(1), "b": floats(2)}


@pytest.mark.parametrize(
    "inputs, options, code, message",
    [
        (X, {"version": 99}, "NOT_FOUND", "Servable not found for request: Specific(toy, 99)"),
        (X, {"version": -1}, "NOT_FOUND", "Servable not found for request: Specific(toy, -1)"),
        (X, {"version": 0}, "NOT_FOUND", "Servable not found for request: Specific(toy, 0)"),
        (X, {"model": "nope"}, "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        (X, {"model": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (X, {"label": "nope"}, "INVALID_ARGUMENT", "Unrecognized servable version label: nope"),
        (X, {"signature": "nope"}, "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
        (
            {},
            {},
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
        ),
        (
            {**X, "z": floats(1)},
            {},
            "INVALID_ARGUMENT",
            "input size does not match signature: 2!=1 len({x,z}) != len({x}). "
            "Sent extra: {z}. Missing but required: {}.",
        ),
        (
            {"a": floats(1)},
            {"signature": "pair"},
            "INVALID_ARGUMENT",
            "input size does not match signature: 1!=2 len({a}) != len({a,b}). "
            "Sent extra: {}. Missing but required: {b}.",
        ),
        (
            {"z": floats(1)},
            {},
            "INVALID_ARGUMENT",
            "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {z}, or default input alias set: ",
        ),
        (
            AB,
            {"signature": "pair", "outputs": ["nope"]},
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: nope Outputs expected to be in the set {minus,plus}.",
        ),
        (
            AB,
            {"signature": "pair", "outputs": ["plus", "plus"]},
            "INVALID_ARGUMENT",
            "duplicate output tensor alias: plus",
        ),
        (
            {"x": tensor(TYPES.DT_STRING, [1], string_val=[b"a"])},
            {},
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but string is provided",
        ),
        (
            {"x": tensor(TYPES.DT_INT32, [1], int_val=[2])},
            {},
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but int32 is provided",
        ),
        (
            {"a": floats(1), "b": tensor(TYPES.DT_DOUBLE, [1], double_val=[2])},
            {"signature": "pair"},
            "INVALID_ARGUMENT",
            "Expects arg[1] to be float but double is provided",
        ),
        ({"x": tensor(TYPES.DT_INVALID, [1])}, {}, "INVALID_ARGUMENT", "tensor parsing error: x"),
        (
            {"x": tensor(TYPES.DT_FLOAT, [2], tensor_content=b"1234")},
            {},
            "INVALID_ARGUMENT",
            "tensor parsing error: x",
        ),
        (
            {"x": tensor(TYPES.DT_FLOAT, [-1], float_val=[1])},
            {},
            "INVALID_ARGUMENT",
            "tensor parsing error: x",
        ),
    ],
)
def test_refusals_of_predict(predict, inputs, options, code, message):
    assert refusal(predict, inputs, **options) == (code, message)


@pytest.mark.parametrize(
    "inputs, signature, message",
    [
        ({"a": floats(1, 2, 3), "b": floats(1, 2)}, "pair", "Incompatible shapes: [3] vs. [2]"),
        (
            {"x": floats(-1)},
            "picky",
            "assertion failed: [must be above zero.  ] [Condition x > 0 did not hold element-wise:] [x (x:0) = ] [-1]",
        ),
    ],
)
def test_refusals_of_the_graph_keep_its_words(predict, inputs, signature, message):
    code, details = refusal(predict, inputs, signature=signature)
    assert code == "INVALID_ARGUMENT"
    assert details.split("\n\t [[")[0] == message
    assert "{{node " in details


def test_long_messages_are_cut(predict):
    code, details = refusal(predict, X, signature="x" * 2000)
    assert code == "FAILED_PRECONDITION"
    assert details == 'Serving signature key "' + "x" * (1024 - 23) + "...TRUNCATED"


def test_checks_come_in_the_order_of_tensorflow_serving(predict):
    broken = {"z": tensor(TYPES.DT_INVALID, [1])}
    assert refusal(predict, broken, model="nope", signature="nope")[0] == "NOT_FOUND"
    assert refusal(predict, broken, signature="nope")[0] == "FAILED_PRECONDITION"
    assert refusal(predict, {"x": broken["z"]}, outputs=["nope"])[1] == "tensor parsing error: x"
    wrong_dtype = {"x": tensor(TYPES.DT_INT32, [1], int_val=[2])}
    assert refusal(predict, wrong_dtype, outputs=["nope"])[1].startswith("output tensor alias not found")
