"""Classify, Regress and MultiInference: `tf.Example` rows in, classes with scores or single values out.

The checks come in TensorFlow Serving's order and with its messages. Like it, a signature's method name is not looked
at, only its inputs and outputs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfllm.errors import InvalidInput, Unimplemented
from tfllm.server.observers import current_event
from tfllm.server.servable import Servable
from tfllm.server.signatures import DEFAULT_SIGNATURE, Array, Signature
from tfllm.wire import messages, tensors

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
_STRING = messages.DATA_TYPES["DT_STRING"]
_DATA_TYPES = {number: name for name, number in messages.DATA_TYPES.items()}
_Outputs = Mapping[str, Array]


def classify(servable: Servable, name: str, examples: Any, result: Any) -> None:
    """Fill a ClassificationResult.

    Args:
        servable: the model version.
        name: the signature's name, empty for the default one.
        examples: an Input message.
        result: the empty ClassificationResult.

    Raises:
        CallError: the signature does not classify, the rows do not fit it, or the graph failed.
    """
    signature = _signature(servable, name, "No signature was found with the name: ")
    feed, outputs = _classification(signature)
    rows = _rows(examples)
    _fill_classes(result, _run(servable, signature, feed, outputs, rows), len(rows))


def regress(servable: Servable, name: str, examples: Any, result: Any) -> None:
    """Fill a RegressionResult; arguments and errors as in `classify`."""
    signature = _signature(servable, name, "No signature was found with the name: ")
    feed, outputs = _regression(signature)
    rows = _rows(examples)
    _fill_values(result, _run(servable, signature, feed, outputs, rows), len(rows))


def infer_all(servable: Servable, request: Any, response: Any) -> None:
    """Answer all tasks of a MultiInferenceRequest, in one run of the graph.

    Raises:
        CallError: a task is wrong, or the graph failed.
    """
    plans, feed = _plan(servable, request.tasks)
    rows = _rows(request.input)
    fetches = sorted({tensor for _, outputs in plans for tensor in outputs.values()})
    values = dict(zip(fetches, servable.run_tensors({feed: rows}, fetches), strict=True))
    for task, (signature, outputs) in zip(request.tasks, plans, strict=True):
        found = {role: values[tensor] for role, tensor in outputs.items()}
        item = response.results.add()
        if task.method_name == CLASSIFY:
            _fill_classes(item.classification_result, found, len(rows))
        else:
            _fill_values(item.regression_result, found, len(rows))
        item.model_spec.name = task.model_spec.name
        item.model_spec.version.value = servable.version
        item.model_spec.signature_name = signature.name


def _plan(servable: Servable, tasks: Any) -> tuple[list[tuple[Signature, dict[str, str]]], str]:
    """Return signature and output tensors of each task, and the one input tensor of all."""
    if not tasks:
        raise InvalidInput("Expected at least one task in a MultiInferenceRequest. Received: none.")
    plans: list[tuple[Signature, dict[str, str]]] = []
    feeds: list[str] = []
    for task in tasks:
        if task.model_spec.name != tasks[0].model_spec.name:
            raise InvalidInput("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if any(signature.name == name for signature, _ in plans):
            raise InvalidInput(f"Duplicate evaluation of signature: {name}")
        signature = _signature(servable, name, "Requested signature not found in model graph: ")
        if task.method_name == CLASSIFY:
            feed, outputs = _classification(signature)
        elif task.method_name == REGRESS:
            feed, outputs = _regression(signature)
        else:
            raise Unimplemented(f"Unsupported signature method_name: {task.method_name}")
        if feeds and feed != feeds[0]:
            raise InvalidInput("Input tensor must be the same for all Signatures.")
        _check_string(signature)
        feeds.append(feed)
        plans.append((signature, outputs))
    return plans, feeds[0]


def _signature(servable: Servable, name: str, otherwise: str) -> Signature:
    signature = servable.signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise InvalidInput(f"{otherwise}{name or DEFAULT_SIGNATURE}")
    current_event().signature = signature.name
    return signature


def _classification(signature: Signature) -> tuple[str, dict[str, str]]:
    """Return the tensor for the rows, and those of `classes` and `scores` as far as there are."""
    if len(signature.feeds) != 1:
        raise InvalidInput("Expected one input Tensor.")
    if len(signature.fetches) not in (1, 2):
        raise InvalidInput(f"Expected one or two output Tensors, found {len(signature.fetches)}")
    feed = _named_input(signature, "classification")
    outputs = {role: signature.fetches[role] for role in ("classes", "scores") if role in signature.fetches}
    if not outputs:
        raise InvalidInput(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: \n{signature.definition}"
        )
    return feed, outputs


def _regression(signature: Signature) -> tuple[str, dict[str, str]]:
    if len(signature.feeds) != 1:
        raise InvalidInput("Expected one input Tensor.")
    if len(signature.fetches) != 1:
        raise InvalidInput("Expected one output Tensor.")
    feed = _named_input(signature, "regression")
    if "outputs" not in signature.fetches:
        raise InvalidInput(f"No regression outputs found in SignatureDef: \n{signature.definition}")
    return feed, {"outputs": signature.fetches["outputs"]}


def _named_input(signature: Signature, kind: str) -> str:
    if "inputs" not in signature.feeds:
        raise InvalidInput(f"No {kind} inputs found in SignatureDef: \n{signature.definition}")
    feed: str = signature.feeds["inputs"]
    return feed


def _check_string(signature: Signature) -> None:
    signature.check_dtypes({"inputs": np.empty(0, object)})


def _rows(examples: Any) -> Array:
    """Return the serialized rows of an Input; what the context has comes first, so that a row can replace it."""
    kind = examples.WhichOneof("kind")
    found = getattr(examples, kind) if kind else None
    if found is None or not found.examples:
        raise InvalidInput("Input is empty.")
    context = found.context.SerializeToString() if kind == "example_list_with_context" else b""
    rows = np.empty(len(found.examples), object)
    rows[:] = [context + example.SerializeToString() for example in found.examples]
    return rows


def _run(servable: Servable, signature: Signature, feed: str, outputs: Mapping[str, str], rows: Array) -> _Outputs:
    _check_string(signature)
    return dict(zip(outputs, servable.run_tensors({feed: rows}, list(outputs.values())), strict=True))


def _fill_classes(result: Any, outputs: _Outputs, count: int) -> None:
    for role, dtype in (("classes", "DT_STRING"), ("scores", "DT_FLOAT")):
        if role in outputs:
            _check_classes(role, outputs[role], dtype, count)
    widths = [array.shape[1] for array in outputs.values()]
    if len(set(widths)) > 1:
        raise InvalidInput(f"Tensors class and score should match in dim_size(1). Got {widths[0]} vs. {widths[1]}")
    labels = outputs["classes"].tolist() if "classes" in outputs else None
    scores = outputs["scores"].tolist() if "scores" in outputs else None
    for row in range(count):
        classes = result.classifications.add().classes
        for column in range(widths[0]):
            item = classes.add()
            if labels is not None:
                item.label = labels[row][column]
            if scores is not None:
                item.score = scores[row][column]


def _check_classes(role: str, array: Array, dtype: str, count: int) -> None:
    if array.ndim != 2:
        raise InvalidInput(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if _dtype(array) != dtype:
        raise InvalidInput(f"Expected {role} Tensor of {dtype}. Got: {_dtype(array)}")
    if len(array) != count:
        raise InvalidInput(f"Expected {role} output batch size of {count}. Got: {len(array)}")


def _fill_values(result: Any, outputs: _Outputs, count: int) -> None:
    array = outputs["outputs"]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise InvalidInput(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got " + _shape(array)
        )
    if len(array) != count:
        raise InvalidInput(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if _dtype(array) != "DT_FLOAT":
        raise InvalidInput(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(array)}")
    for value in array.ravel().tolist():
        result.regressions.add().value = value


def _dtype(array: Array) -> str:
    return _DATA_TYPES[tensors.dtype_number(array)]


def _shape(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"
