"""What a call says and what its answer means: pure functions between texts, bytes and results.

The clients only move bytes; each request is built and each response read here.
"""

from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from tfllm.errors import ConfigError, InvalidInput, ServerError
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
    """

    first: int
    count: int
    request: bytes
    texts: Texts = field(default_factory=dict, repr=False, compare=False)

    @property
    def rows(self) -> range:
        """The positions of its rows."""
        return range(self.first, self.first + self.count)


def check_items(items: object, batch_size: int, concurrency: int) -> None:
    """Refuse what cannot be gone through, and sizes that cannot be right.

    Raises:
        ConfigError: a size is not positive.
        InvalidInput: `items` is one text, a mapping, or nothing to go through.
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


class Cutter:
    """Cuts a stream of items into requests of at most `batch_size` rows and `max_bytes` bytes.

    Args:
        target: what the requests call.
        batch_size: the most rows of a request.
        max_bytes: the most bytes of a request.
    """

    def __init__(self, target: Target, batch_size: int, max_bytes: int) -> None:
        self._target, self._batch_size, self._max_bytes = target, batch_size, max_bytes
        self._pending: list[Item] = []
        self._bytes = 0
        self._first = 0

    def push(self, item: Item) -> Iterable[Chunk]:
        """Take one more item, and return the requests that are complete by it.

        Raises:
            InvalidInput: an item is no text or pair, or is too large for a request of its own.
        """
        self._pending.append(item)
        self._bytes += _length(item)
        full = len(self._pending) == self._batch_size or self._bytes > self._max_bytes
        return self.flush() if full else ()

    def flush(self) -> Iterable[Chunk]:
        """Return the requests for the items that are left; see `push`."""
        items, first = self._pending, self._first
        self._pending, self._bytes, self._first = [], 0, first + len(items)
        return _requests(self._target, items, first, self._max_bytes) if items else ()


def text_chunks(target: Target, items: Iterable[Item], batch_size: int, max_bytes: int) -> Iterator[Chunk]:
    """Cut items into requests of at most `batch_size` rows and `max_bytes` bytes, as they are asked for.

    Raises:
        InvalidInput: an item is no text or pair, or is too large for a request of its own.
    """
    cutter = Cutter(target, batch_size, max_bytes)
    for item in items:
        yield from cutter.push(item)
    yield from cutter.flush()


def one_request(target: Target, texts: Texts, max_bytes: int) -> bytes | None:
    """Return the one request that is enough for some texts; `None` if they are none, or too many bytes for one.

    Raises:
        InvalidInput: an item is no text.
    """
    rows = texts[target.names[0]]
    if not rows or sum(sum(map(_length, values)) for values in texts.values()) > max_bytes:
        return None
    request = text_request(target, texts)
    return request if len(request) <= max_bytes else None


def _length(item: Item) -> int:
    """Return at most the bytes that an item needs, without encoding it; of what is no text, 0."""
    if isinstance(item, str | bytes):
        return len(item)
    return sum(map(_length, item)) if _is_pair(item) else 0


def _requests(target: Target, items: Sequence[Item], first: int, max_bytes: int) -> Iterator[Chunk]:
    """Return the request for some items, cut in halves until each is under `max_bytes`.

    Raises:
        InvalidInput: an item is no text or pair, or is too large for a request of its own.
    """
    texts = texts_of(target, items, first)
    request = text_request(target, texts, first)
    if len(request) <= max_bytes:
        yield Chunk(first, len(items), request, texts)
    elif len(items) == 1:
        raise InvalidInput(
            f"Expected requests of at most {max_bytes} bytes. Received: item {first} needs {len(request)} bytes. "
            "Shorten it, or raise max_request_bytes in the ConnectionConfig."
        )
    else:
        half = len(items) // 2
        yield from _requests(target, items[:half], first, max_bytes)
        yield from _requests(target, items[half:], first + half, max_bytes)


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
    if not items or not _is_pair(items[0]):
        return {name: items}
    for position, item in enumerate(items, first):
        if not _is_pair(item) or len(item) != 2:
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


def _is_pair(item: object) -> bool:
    return isinstance(item, tuple | list)


def _describe(item: object) -> str:
    return f"{len(item)} values" if isinstance(item, tuple | list) else type(item).__name__
