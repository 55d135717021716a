"""What a call says and what its answer means: pure functions between texts, bytes and results.

The clients only move bytes; each request is built and each response read here.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from tfllm.errors import CallError, ConfigError, InvalidInput, ServerError, call_error
from tfllm.results import Result, results_from_outputs
from tfllm.wire import messages, tensors

Arrays = dict[str, npt.NDArray[Any]]
Text = str | bytes
Item = Text | tuple[Text, Text]


@dataclass(frozen=True)
class Target:
    """What a client calls.

    Attributes:
        model: the model's name on the server.
        version: a version number; the newest without one.
        label: a version label such as `"stable"`, instead of a number.
        signature: the signature's name; `serving_default` without one.
    """

    model: str
    version: int | None = None
    label: str | None = None
    signature: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ConfigError(f"Expected the model's name on the server. Received: model={self.model!r}.")
        if self.version is not None and type(self.version) is not int:
            raise ConfigError(f"Expected a version number. Received: version={self.version!r}.")
        if self.version is not None and self.label is not None:
            raise ConfigError(
                f"Expected a version or a label, not both. Received: version={self.version}, label={self.label!r}."
            )


def chunks(items: Iterable[Item], size: int) -> Iterator[tuple[int, list[Item]]]:
    """Cut items into lists of at most `size`, each with the position of its first item.

    Raises:
        ConfigError: the size is not positive.
        InvalidInput: `items` cannot be gone through, or is a mapping.
    """
    if size < 1:
        raise ConfigError(f"Expected a batch size of at least 1. Received: batch_size={size}.")
    if isinstance(items, Mapping) or not isinstance(items, Iterable):
        raise InvalidInput(
            f"Expected a text or an iterable of texts or of pairs of texts. Received: {type(items).__name__}. "
            "For named inputs use predict_arrays."
        )
    return _cut(iter(items), size)


def _cut(iterator: Iterator[Item], size: int) -> Iterator[tuple[int, list[Item]]]:
    first = 0
    while chunk := list(itertools.islice(iterator, size)):
        yield first, chunk
        first += len(chunk)


def text_request(target: Target, items: Sequence[Any], first: int = 0) -> bytes:
    """Return the request for some texts (input `text`) or pairs of texts (inputs `text` and `text_pair`).

    Args:
        target: what to call.
        items: the texts or the pairs.
        first: the position of the first one, to name positions in errors.

    Raises:
        InvalidInput: an item is no text or pair, or texts and pairs are mixed.
    """
    request = _predict_request(target)
    if items and _is_pair(items[0]):
        for position, item in enumerate(items, first):
            if not _is_pair(item) or len(item) != 2:
                raise InvalidInput(f"Expected pairs of texts. Received: {_describe(item)} at item {position}.")
        tensors.fill_strings(request.inputs["text"], [item[0] for item in items], first=first)
        tensors.fill_strings(request.inputs["text_pair"], [item[1] for item in items], first=first)
    else:
        tensors.fill_strings(request.inputs["text"], items, first=first)
    return serialized(request)


def arrays_request(target: Target, inputs: Mapping[str, npt.ArrayLike], outputs: Iterable[str] | None) -> bytes:
    """Return the request for named arrays.

    Args:
        target: what to call.
        inputs: input name -> array.
        outputs: the outputs to answer with; all without it.

    Raises:
        InvalidInput: a value is no tensor; the message names the input.
    """
    if not isinstance(inputs, Mapping):
        raise InvalidInput(f"Expected a mapping of input names to arrays. Received: {type(inputs).__name__}.")
    request = _predict_request(target)
    for name, value in inputs.items():
        try:
            tensors.fill(request.inputs[name], value, as_content=True)
        except InvalidInput as error:
            raise InvalidInput(f"Input '{name}': {error.details}") from error
    request.output_filter.extend([outputs] if isinstance(outputs, str) else outputs or ())
    return serialized(request)


def outputs_of(response: bytes) -> Arrays:
    """Return the outputs of a Predict response, by name."""
    outputs = messages.PredictResponse.FromString(response).outputs
    return {name: tensors.to_array(outputs[name]) for name in sorted(outputs)}


def results_of(response: bytes, count: int) -> list[Result]:
    """Return the results of a Predict response.

    Args:
        response: the response's bytes.
        count: how many texts were sent.

    Raises:
        SignatureMismatch: the outputs are those of no known task.
        ServerError: there is not one result a text.
    """
    results = results_from_outputs(outputs_of(response))
    if len(results) != count:
        raise ServerError(f"Expected one result a text. Received: {len(results)} results for {count} texts.")
    return results


_HINTS = {
    "Servable not found for request": "Check the name and the version; Client.status() lists the model's versions.",
    "Could not find any versions of model": "Check the model's name.",
    "Unrecognized servable version label": "Check the label, or call a version by its number.",
    "Serving signature key": "Client.metadata() lists the model's signatures.",
    "input size does not match signature": "Client.metadata() lists the inputs; predict_arrays takes any.",
    "Signature input alias": "Client.metadata() lists the inputs; predict_arrays takes any.",
    "output tensor alias not found": "Client.metadata() lists the outputs.",
    "Deadline Exceeded": "No answer came in time; the client's timeout is for the whole call, all its chunks.",
}


def explained(error: CallError, target: Target) -> CallError:
    """Return a transport's error with the model's name and, for the server's known messages, what to do."""
    hint = next((hint for start, hint in _HINTS.items() if error.details.startswith(start)), error.hint)
    return call_error(error.code, error.details, model=target.model, address=error.address, hint=hint)


def _predict_request(target: Target) -> Any:
    request = messages.PredictRequest()
    fill_spec(request.model_spec, target)
    return request


def fill_spec(spec: Any, target: Target) -> None:
    """Write a target into an empty ModelSpec."""
    spec.name = target.model
    if target.version is not None:
        spec.version.value = target.version
    if target.label is not None:
        spec.version_label = target.label
    if target.signature is not None:
        spec.signature_name = target.signature


def serialized(message: Any) -> bytes:
    """Return a message's bytes."""
    data: bytes = message.SerializeToString()
    return data


def _is_pair(item: object) -> bool:
    return isinstance(item, tuple | list)


def _describe(item: object) -> str:
    return f"{len(item)} values" if isinstance(item, tuple | list) else type(item).__name__
