"""The client: texts in, results out, over gRPC, without TensorFlow."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self, overload

import numpy.typing as npt

from tfllm.client import calls, metadata
from tfllm.client.calls import Arrays, Item, Target, Text
from tfllm.client.metadata import ModelMetadata, VersionStatus
from tfllm.client.transport import GrpcTransport, Transport
from tfllm.errors import CallError, ConfigError, Timeout
from tfllm.results import Result
from tfllm.wire import messages


class Client:
    """A client of one model on a TensorFlow Serving or on tfllm's embedded server.

    One client may be used by many threads. It connects at the first call and reconnects by itself. Use it as a context
    manager, or call `close`.

    Args:
        address: `host:port` of the server's gRPC port.
        model: the model's name on the server.
        version: a version number; the newest without one.
        label: a version label such as `"stable"`, instead of a number.
        signature: the signature to call; `serving_default` without one.
        timeout: the seconds that one call may take in all, however many chunks it is sent in; `None` waits for ever.
        transport: what carries the calls; gRPC to `address` without one.

    Raises:
        ConfigError: an argument cannot be right.

    Example:
        >>> with Client("localhost:8500", model="reviews") as client:
        ...     client.predict(["Loved it!", "Never again."])
        [Classification(label='5', score=0.9712), Classification(label='1', score=0.9421)]
    """

    def __init__(
        self,
        address: str,
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        timeout: float | None = 10.0,
        transport: Transport | None = None,
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ConfigError(f"Expected a timeout above 0 seconds, or None. Received: timeout={timeout}.")
        self._target = Target(model, version, label, signature)
        self._address = address
        self._timeout = timeout
        self._transport = GrpcTransport(address) if transport is None else transport

    @overload
    def predict(self, texts: Text, *, batch_size: int = 64) -> Result: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, texts: Iterable[Item], *, batch_size: int = 64) -> list[Result]: ...

    def predict(self, texts: Text | Iterable[Item], *, batch_size: int = 64) -> Result | list[Result]:
        """Return the model's results for some texts.

        Args:
            texts: one text; or any iterable (list, generator, pandas Series, ...) of texts or of pairs
                `(text, text_pair)`. `str` is sent as UTF-8, `bytes` as it is.
            batch_size: how many texts go into one request.

        Returns:
            One result for one text, else a list with one result a text, in order.

        Raises:
            InvalidInput: an item is neither text nor pair; the message names its position.
            SignatureMismatch: the model's outputs are those of no tfllm task; use `predict_arrays`.
            Timeout: not all answers came in time.
            ServerUnavailable: the server cannot be reached.
            ModelNotFound: the server has no such model or version.
            CallError: any other failure; the class tells which.

        Example:
            >>> client.predict("Great film")
            Classification(label='5', score=0.9871)
            >>> client.predict([("It rains.", "The street is wet.")])
            [Classification(label='entailment', score=0.9104)]
        """
        if isinstance(texts, str | bytes):
            return self._predict_all([texts], batch_size)[0]
        return self._predict_all(texts, batch_size)

    def predict_arrays(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        signature: str | None = None,
        outputs: Iterable[str] | None = None,
    ) -> Arrays:
        """Return a signature's outputs for named arrays, for any model.

        Args:
            inputs: input name -> array, of the dtype that the signature takes; text as `str` or `bytes`.
            signature: the signature to call, instead of the client's.
            outputs: the outputs to answer with; all without it.

        Returns:
            Output name -> array; text comes as `bytes` in an object array.

        Raises:
            InvalidInput: an array does not fit; the message names the input.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.predict_arrays({"x": np.float32([1, 2])}, outputs=["y"])
            {'y': array([2.5, 3. ], dtype=float32)}
        """
        target = self._target if signature is None else replace(self._target, signature=signature)
        request = calls.arrays_request(target, inputs, outputs)
        return calls.outputs_of(self._call(messages.PREDICT, request, self._timeout))

    def status(self) -> list[VersionStatus]:
        """Return the state of each version of the model, newest first.

        Raises:
            ModelNotFound: the server knows no version of the model.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.status()
            [VersionStatus(version=2, state='AVAILABLE', error_code='OK', error_message='')]
        """
        request = metadata.status_request(self._target)
        return metadata.statuses_of(self._call(messages.GET_MODEL_STATUS, request, self._timeout))

    def metadata(self) -> ModelMetadata:
        """Return the model's signatures: their inputs and outputs, with dtype and shape.

        Raises:
            ModelNotFound: the server has no such model or version.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.metadata().signatures["serving_default"].inputs
            {'text': TensorSpec(dtype='string', shape=(None,))}
        """
        request = metadata.metadata_request(self._target)
        return metadata.metadata_of(self._call(messages.GET_MODEL_METADATA, request, self._timeout))

    def close(self) -> None:
        """Close the connection; calls under way end with `Cancelled`."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._address!r}, model={self._target.model!r})"

    def _predict_all(self, items: Iterable[Item], batch_size: int) -> list[Result]:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        results: list[Result] = []
        for first, chunk in calls.chunks(items, batch_size):
            request = calls.text_request(self._target, chunk, first)
            response = self._call(messages.PREDICT, request, self._remaining(deadline, first))
            results += calls.results_of(response, len(chunk))
        return results

    def _remaining(self, deadline: float | None, done: int) -> float | None:
        """Return the seconds until the deadline."""
        if deadline is None:
            return None
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise Timeout(
                f"The timeout of {self._timeout} s passed after {done} texts.",
                model=self._target.model,
                address=self._address,
            )
        return remaining

    def _call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        try:
            return self._transport.call(method, request, timeout)
        except CallError as error:
            raise calls.explained(error, self._target) from error.__cause__
