"""What a call says and what its answer means: pure functions between texts, bytes and results.

The clients only move bytes; each request is built and each response read here.
"""

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from tfllm.errors import CallError, ConfigError, InvalidInput, ServerError
from tfllm.outputs import results_from_outputs
from tfllm.results import Result
from tfllm.wire import columns, messages, tensors

Arrays = dict[str, npt.NDArray[Any]]
Text = str | bytes
Item = Text | tuple[Text, Text]
Texts = Mapping[str, Sequence[Text]]


TEXT_NAMES = ("text", "text_pair")
"""The inputs of most models: that of texts, and that of the second ones of pairs."""
QUESTION_NAMES = ("question", "context")
"""The inputs of models that answer questions."""


@dataclass(frozen=True)
class Target:
    """What a client calls.

    Attributes:
        model: the model's name on the server.
        version: a version number; the newest without one.
        label: a version label such as `"stable"`, instead of a number.
        signature: the signature's name; `serving_default` without one.
        names: the input of the texts, and that of the second ones of pairs.
    """

    model: str
    version: int | None = None
    label: str | None = None
    signature: str | None = None
    names: tuple[str, str] = TEXT_NAMES

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ConfigError(f"Expected the model's name on the server. Received: model={self.model!r}.")
        if self.version is not None and type(self.version) is not int:
            raise ConfigError(f"Expected a version number. Received: version={self.version!r}.")
        if self.version is not None and self.label is not None:
            raise ConfigError(
                f"Expected a version or a label, not both. Received: version={self.version}, label={self.label!r}."
            )


@dataclass(frozen=True)
class Chunk:
    """One request of a long call.

    Attributes:
        first: the position of its first row in the whole call.
        count: how many rows it asks for.
        request: its bytes.
        texts: input name -> the texts in it.
        error: why it cannot be sent, for example because a row is no text; `None` if it can.
    """

    first: int
    count: int
    request: bytes
    texts: Texts = field(default_factory=dict, repr=False, compare=False)
    error: CallError | None = None

    @property
    def rows(self) -> range:
        """The positions of its rows."""
        return range(self.first, self.first + self.count)


def check_items(items: object, batch_size: int, concurrency: int) -> None:
    """Refuse what cannot be gone through, and sizes that cannot be right.

    Raises:
        ConfigError: a size is not positive.
        InvalidInput: `items` is one text, a mapping, a DataFrame, or nothing to go through.
    """
    if batch_size < 1:
        raise ConfigError(f"Expected a batch size of at least 1. Received: batch_size={batch_size}.")
    if concurrency < 1:
        raise ConfigError(f"Expected a concurrency of at least 1. Received: concurrency={concurrency}.")
    if type(items) is list:
        return
    if isinstance(items, Mapping | str | bytes) or not isinstance(items, Iterable | AsyncIterable):
        raise InvalidInput(
            f"Expected a text or an iterable of texts or of pairs of texts. Received: {type(items).__name__}. "
            "For named inputs use predict_arrays."
        )
    if hasattr(items, "columns"):
        raise InvalidInput(
            f"Expected an iterable of texts or of pairs of texts. Received: {type(items).__name__}, which has columns. "
            "Use to_frame, or give one of them, such as frame['text']."
        )


def check_size(request: bytes, most: int) -> None:
    """Refuse a request that is over the size limit.

    Raises:
        InvalidInput: it is.
    """
    if len(request) > most:
        raise InvalidInput(
            f"Expected requests of at most {most} bytes. Received: {len(request)} bytes. "
            "Send fewer rows at a time, or raise max_request_bytes in the ConnectionConfig."
        )


def texts_of(target: Target, items: Sequence[Any], first: int = 0) -> dict[str, Sequence[Text]]:
    """Return the texts of each input: one for texts, two for pairs.

    Args:
        target: has the inputs' names.
        items: the texts or the pairs.
        first: the position of the first one, to name positions in errors.

    Raises:
        InvalidInput: texts and pairs are mixed, or a pair is none.
    """
    name, pair_name = target.names
    if not items or not is_pair(items[0]):
        return {name: items}
    for position, item in enumerate(items, first):
        if not is_pair(item) or len(item) != 2:
            raise InvalidInput(f"Expected pairs of texts. Received: {_describe(item)} at item {position}.")
    return {name: [item[0] for item in items], pair_name: [item[1] for item in items]}


def text_request(target: Target, texts: Texts, first: int = 0) -> bytes:
    """Return the request for the texts of each input.

    Raises:
        InvalidInput: an item is no text.
    """
    request = _predict_request(target)
    for name, values in texts.items():
        tensors.fill_strings(request.inputs[name], values, first=first)
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


def results_of(response: bytes, texts: Texts, count: int) -> list[Result]:
    """Return the results of a Predict response.

    Args:
        response: the response's bytes.
        texts: input name -> the texts that were sent.
        count: how many rows were sent.

    Raises:
        SignatureMismatch: the outputs are those of no known task.
        ServerError: there is not one result a text.
    """
    outputs = messages.PredictResponse.FromString(response).outputs
    results = results_from_outputs({name: columns.to_column(outputs[name]) for name in outputs}, texts)
    if len(results) != count:
        raise ServerError(f"Expected one result a text. Received: {len(results)} results for {count} texts.")
    return results


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


def is_pair(item: object) -> bool:
    """Say whether an item is meant as a pair of texts."""
    return isinstance(item, tuple | list)


def _describe(item: object) -> str:
    return f"{len(item)} values" if isinstance(item, tuple | list) else type(item).__name__
