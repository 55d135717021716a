"""A transport without a server, for tests of programs that use a client."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from tfllm.client.calls import Arrays
from tfllm.errors import Cancelled, Unimplemented
from tfllm.wire import messages, tensors

Answer = Mapping[str, npt.ArrayLike]


@dataclass(frozen=True)
class MockCall:
    """A call that a `MockTransport` was asked for.

    Attributes:
        model: the model's name.
        signature: the signature's name, empty for the model's own choice.
        inputs: input name -> array; text is `bytes` in an object array.
        timeout: the seconds that the client gave it.
        version: the version number that was asked for; `None` for none.
        label: the version label that was asked for; `None` for none.
    """

    model: str
    signature: str
    inputs: Arrays
    timeout: float | None
    version: int | None = None
    label: str | None = None


class MockTransport:
    """A transport that answers from a function: the client is the real one, only the server is not there.

    For an `AsyncClient`, hand over `MockTransport(...).for_asyncio()`.

    Args:
        predict: takes the inputs of a call, by name, and returns the outputs, by name. What it raises, a
            `tfllm.errors.CallError` for example, the client raises.
        version: the version that the model is said to have.

    Attributes:
        calls: the Predict calls so far.
        closed: whether the client was closed.

    Example:
        >>> from tfllm import Client, MockTransport
        >>> def predict(inputs):
        ...     count = len(inputs["text"])
        ...     return {"label": ["good"] * count, "score": [0.9] * count, "scores": [[0.1, 0.9]] * count}
        >>> transport = MockTransport(predict)
        >>> Client("nowhere:1", model="reviews", transport=transport).predict(["Great film"])
        [Classification(label='good', score=0.9000)]
        >>> transport.calls[0].inputs["text"].tolist()
        [b'Great film']
    """

    def __init__(self, predict: Callable[[Arrays], Answer], version: int = 1) -> None:
        self._predict = predict
        self._version = version
        self.calls: list[MockCall] = []
        self.closed = False

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Answer Predict and GetModelStatus; see `Transport.call`.

        Raises:
            Unimplemented: any other method.
            Cancelled: the transport is closed.
        """
        if self.closed:
            raise Cancelled("The client is closed.")
        if method == messages.PREDICT:
            return self._answer(request, timeout)
        if method == messages.GET_MODEL_STATUS:
            response = messages.GetModelStatusResponse()
            response.model_version_status.add(version=self._version, state=messages.STATES["AVAILABLE"])
            return _bytes(response)
        raise Unimplemented(f"Expected Predict or GetModelStatus. Received: {method}.")

    def close(self, grace: float = 0.0) -> None:
        """Refuse further calls."""
        self.closed = True

    def for_asyncio(self) -> "AsyncMockTransport":
        """Return the same for an `AsyncClient`."""
        return AsyncMockTransport(self)

    def _answer(self, data: bytes, timeout: float | None) -> bytes:
        request = messages.PredictRequest.FromString(data)
        spec = request.model_spec
        inputs = {name: tensors.to_array(request.inputs[name]) for name in sorted(request.inputs)}
        version = spec.version.value if spec.HasField("version") else None
        label = spec.version_label or None
        self.calls.append(MockCall(spec.name, spec.signature_name, inputs, timeout, version, label))
        outputs = self._predict(inputs)
        response = messages.PredictResponse(model_spec={"name": spec.name, "version": {"value": self._version}})
        for name in _chosen(outputs, request.output_filter):
            tensors.fill(response.outputs[name], outputs[name])
        return _bytes(response)


class AsyncMockTransport:
    """A `MockTransport` for an `AsyncClient`.

    Args:
        mock: what answers.
    """

    def __init__(self, mock: MockTransport) -> None:
        self.mock = mock

    async def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """Answer as the mock does."""
        return self.mock.call(method, request, timeout)

    async def close(self, grace: float = 0.0) -> None:
        """Refuse further calls."""
        self.mock.close(grace)


def _chosen(outputs: Answer, wanted: Iterable[str]) -> list[str]:
    return sorted(wanted) or sorted(outputs)


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
