"""The answers of TensorFlow Serving to Classify, Regress and MultiInference, word for word."""

import pytest
from serving_requests import fill, refusal
from tensorflow.core.example.example_pb2 import Example
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def example(**features):
    message = Example()
    for name, value in features.items():
        message.features.feature[name].float_list.value.append(value)
    return message


def rows(*values):
    return input_pb2.Input(example_list={"examples": [example(x=value) for value in values]})


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def classify(stub):
    def ask(examples, model="classic", **spec):
        request = classification_pb2.ClassificationRequest(input=examples)
        fill(request.model_spec, model=model, **spec)
        return stub.Classify(request, timeout=30)

    return ask


@pytest.fixture(scope="module")
def regress(stub):
    def ask(examples, model="classic", **spec):
        request = regression_pb2.RegressionRequest(input=examples)
        fill(request.model_spec, model=model, **spec)
        return stub.Regress(request, timeout=30)

    return ask


@pytest.fixture(scope="module")
def infer(stub):
    def ask(*tasks, values=(2,)):
        request = inference_pb2.MultiInferenceRequest(input=rows(*values))
        for model, signature, method in tasks:
            task = request.tasks.add(method_name=method)
            fill(task.model_spec, model=model, signature=signature)
        return stub.MultiInference(request, timeout=30)

    return ask


def classes(response):
    return [[(item.label, item.score) for item in row.classes] for row in response.result.classifications]


def test_classes_with_labels_and_scores(classify):
    response = classify(rows(2, -1), signature="classify")
    assert classes(response) == [[("no", 6), ("yes", -6)], [("no", -3), ("yes", 3)]]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("classic", 7, "classify")


def test_classes_with_one_of_them(classify):
    assert classes(classify(rows(2), signature="labels_only")) == [[("no", 0), ("yes", 0)]]
    assert classes(classify(rows(2), signature="scores_only")) == [[("", 6), ("", -6)]]


def test_a_context_is_part_of_each_row_and_a_row_wins(classify):
    examples = input_pb2.Input()
    examples.example_list_with_context.context.CopyFrom(example(x=2))
    examples.example_list_with_context.examples.extend([example(), example(x=1)])
    assert classes(classify(examples, signature="scores_only")) == [[("", 6), ("", -6)], [("", 3), ("", -3)]]


def test_values(regress):
    response = regress(rows(2, 4), signature="regress")
    assert [item.value for item in response.result.regressions] == [6, 12]
    assert response.model_spec.signature_name == "regress"


def test_several_signatures_on_the_same_rows(infer):
    response = infer(("classic", "regress", REGRESS), ("classic", "classify", CLASSIFY), values=(2, 4))
    first, second = response.results
    assert [item.value for item in first.regression_result.regressions] == [6, 12]
    assert [len(row.classes) for row in second.classification_result.classifications] == [2, 2]
    assert second.classification_result.classifications[1].classes[0].score == 12
    specs = [
        (item.model_spec.name, item.model_spec.version.value, item.model_spec.signature_name)
        for item in (first, second)
    ]
    assert specs == [("classic", 7, "regress"), ("classic", 7, "classify")]


NO_INPUTS = "No {} inputs found in SignatureDef:"


@pytest.mark.parametrize(
    "examples, options, code, message",
    [
        (rows(2), {"signature": "nope"}, "INVALID_ARGUMENT", "No signature was found with the name: nope"),
        (rows(2), {"model": "nope"}, "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        (rows(2), {}, "INVALID_ARGUMENT", NO_INPUTS.format("classification")),
        (rows(2), {"model": "toy"}, "INVALID_ARGUMENT", NO_INPUTS.format("classification")),
        (rows(2), {"model": "toy", "signature": "pair"}, "INVALID_ARGUMENT", "Expected one input Tensor."),
        (rows(), {"signature": "classify"}, "INVALID_ARGUMENT", "Input is empty."),
        (input_pb2.Input(), {"signature": "classify"}, "INVALID_ARGUMENT", "Input is empty."),
        (
            rows(2, 3),
            {"signature": "too_few"},
            "INVALID_ARGUMENT",
            "Expected scores output batch size of 2. Got: 1",
        ),
        (
            rows(2),
            {"signature": "regress"},
            "INVALID_ARGUMENT",
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            "Signature was:",
        ),
    ],
)
def test_refusals_of_classify(classify, examples, options, code, message):
    received = refusal(classify, examples, **options)
    assert (received[0], received[1].split("\ninputs {")[0].rstrip()) == (code, message)


def test_a_missing_feature_is_the_graphs_to_refuse(classify):
    examples = input_pb2.Input(example_list={"examples": [example(y=2)]})
    code, message = refusal(classify, examples, signature="classify")
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("Name: <unknown>, Feature: x (data type: float) is required but could not be found.")


@pytest.mark.parametrize(
    "examples, options, message",
    [
        (rows(2), {}, NO_INPUTS.format("regression")),
        (rows(2), {"signature": "nope"}, "No signature was found with the name: nope"),
        (rows(2), {"signature": "classify"}, "Expected one output Tensor."),
        (rows(2), {"signature": "scores_only"}, "No regression outputs found in SignatureDef:"),
        (rows(), {"signature": "regress"}, "Input is empty."),
        (
            rows(2),
            {"signature": "too_wide"},
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [1,2]",
        ),
    ],
)
def test_refusals_of_regress(regress, examples, options, message):
    code, received = refusal(regress, examples, **options)
    assert (code, received.split("\ninputs {")[0].rstrip()) == ("INVALID_ARGUMENT", message)


@pytest.mark.parametrize(
    "tasks, code, message",
    [
        ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            [("classic", "regress", "tensorflow/serving/nope")],
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/nope",
        ),
        ([("classic", "nope", REGRESS)], "INVALID_ARGUMENT", "Requested signature not found in model graph: nope"),
        (
            [("classic", "regress", REGRESS)] * 2,
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: regress",
        ),
        (
            [("classic", "regress", REGRESS), ("toy", "text", REGRESS)],
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        ([("nope", "regress", REGRESS)], "NOT_FOUND", "Servable not found for request: Latest(nope)"),
    ],
)
def test_refusals_of_multi_inference(infer, tasks, code, message):
    assert refusal(infer, *tasks) == (code, message)
