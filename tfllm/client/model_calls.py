"""The calls that any served model knows, for both clients: arrays, examples, status, metadata, reload."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy.typing as npt

from tfllm.client import calls, inference
from tfllm.client.calls import Arrays
from tfllm.client.flows import Flow, shared
from tfllm.client.inference import Kind, ServedModel
from tfllm.client.metadata import ModelMetadata, VersionStatus
from tfllm.client.readiness import wait_until_ready
from tfllm.client.session import Session
from tfllm.errors import ConfigError, call_error
from tfllm.wire import messages
from tfllm.wire.examples import Classes, Features

_CODE_NAMES = {number: name for name, number in messages.CODES.items()}


class ModelCalls:
    """The calls that any model of TensorFlow Serving takes. With an `AsyncClient`, await them."""

    _session: Session

    @shared
    def predict_arrays(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        signature: str | None = None,
        outputs: Iterable[str] | None = None,
    ) -> Flow[Arrays]:
        """Return a signature's outputs for named arrays, for any model.

        Args:
            inputs: input name -> array, of the dtype that the signature takes; text as `str` or `bytes`.
            signature: the signature to call, instead of the client's.
            outputs: the outputs to answer with; all without it.

        Returns:
            Output name -> array; text comes as `bytes` in an object array.

        Raises:
            InvalidInput: an array does not fit; the message names the model's inputs and outputs.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.predict_arrays({"x": np.float32([1, 2])}, outputs=["y"])
            {'y': array([2.5, 3. ], dtype=float32)}
        """
        session = self._session
        target = session.target if signature is None else replace(session.target, signature=signature)
        request = calls.arrays_request(target, inputs, outputs)
        response = yield from session.send_to_signature(messages.PREDICT, target, request, session.deadline())
        return session.read(target, lambda: calls.outputs_of(response))

    @shared
    def classify(
        self, rows: Iterable[Features], signature: str | None = None, *, context: Features | None = None
    ) -> Flow[list[Classes]]:
        """Return the classes of each row, by TensorFlow Serving's Classify (a signature that takes `tf.Example`).

        Args:
            rows: feature name -> value or values, a row each. Rows may lack features and differ in the number of
                values, where the model allows it (`VarLenFeature`, sparse).
            signature: the signature to call, instead of the client's.
            context: features that belong to every row.

        Returns:
            For each row its classes: `(label, score)`, in the model's order.

        Raises:
            InvalidInput: a row is no example, or does not fit the signature.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.classify([{"x": 1.0}, {"x": [2.0]}], signature="classify")
            [[('no', 3.0), ('yes', -3.0)], [('no', 6.0), ('yes', -6.0)]]
        """
        response = yield from self._examples("classify", rows, signature, context)
        return self._session.read(self._session.target, lambda: inference.classes_of(response))

    @shared
    def regress(
        self, rows: Iterable[Features], signature: str | None = None, *, context: Features | None = None
    ) -> Flow[list[float]]:
        """Return one value a row, by TensorFlow Serving's Regress (a signature that takes `tf.Example`).

        Args:
            rows: feature name -> value or values, a row each; see `classify`.
            signature: the signature to call, instead of the client's.
            context: features that belong to every row.

        Returns:
            The value of each row.

        Raises:
            InvalidInput: a row is no example, or does not fit the signature.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.regress([{"x": 1.0}, {"x": 2.0}], signature="regress")
            [3.0, 6.0]
        """
        response = yield from self._examples("regress", rows, signature, context)
        return self._session.read(self._session.target, lambda: inference.values_of(response))

    @shared
    def multi_inference(
        self, rows: Iterable[Features], signatures: Mapping[str, Kind], *, context: Features | None = None
    ) -> Flow[dict[str, list[Classes] | list[float]]]:
        """Ask several signatures about the same rows in one request, by TensorFlow Serving's MultiInference.

        Args:
            rows: feature name -> value or values, a row each; see `classify`.
            signatures: signature name -> `"classify"` or `"regress"`.
            context: features that belong to every row.

        Returns:
            Signature name -> what `classify` or `regress` returns.

        Raises:
            InvalidInput: a row is no example, or does not fit a signature.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.multi_inference([{"x": 1.0}], {"classify": "classify", "regress": "regress"})
            {'classify': [[('no', 3.0), ('yes', -3.0)]], 'regress': [3.0]}
        """
        session = self._session
        request = inference.multi_request(session.target, rows, signatures, context)
        response = yield from session.send_to_signature(
            messages.MULTI_INFERENCE, session.target, request, session.deadline()
        )
        return session.read(session.target, lambda: inference.answers_of(response, signatures))

    @shared
    def status(self) -> Flow[list[VersionStatus]]:
        """Return the state of each version of the model, newest first.

        Raises:
            ModelNotFound: the server knows no version of the model.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.status()
            [VersionStatus(version=2, state='AVAILABLE', error_code='OK', error_message='')]
        """
        return (yield from self._session.status(self._session.timeout))

    @shared
    def metadata(self) -> Flow[ModelMetadata]:
        """Return the model's signatures: their inputs and outputs, with dtype and shape.

        Raises:
            ModelNotFound: the server has no such model or version.
            CallError: the call failed; see `predict`.

        Example:
            >>> client.metadata().signatures["serving_default"].inputs
            {'text': TensorSpec(dtype='string', shape=(None,))}
        """
        return (yield from self._session.metadata(self._session.target, self._session.timeout))

    @shared
    def wait_until_ready(self, timeout: float = 60.0) -> Flow[None]:
        """Wait until the server answers and has the version that is called; any version, for the newest.

        Args:
            timeout: the seconds to wait at most.

        Raises:
            Timeout: the server or the version was not there in time; the message has what was seen last.
            CallError: the server refuses to say; see `predict`.

        Example:
            >>> client.wait_until_ready(timeout=120)
        """
        yield from wait_until_ready(self._session, timeout)

    @shared
    def reload_config(self, models: Iterable[ServedModel]) -> Flow[None]:
        """Replace the server's list of models; it returns when the new ones are loaded.

        What is not in the list is no longer served. Give the client a timeout that loading fits into. As in
        TensorFlow Serving, a label may only be given to a version that is loaded: load it first, then reload with
        the label.

        Args:
            models: all models that the server shall have from now on.

        Raises:
            ConfigError: the client has several servers, of which only one would be told.
            CallError: the server refuses the list, or a model cannot be loaded.

        Example:
            >>> client.reload_config([ServedModel("reviews", "/models/reviews", labels={"stable": 3})])
        """
        session = self._session
        if "," in session.address:
            raise ConfigError(
                f"Expected one server to reload. Received: {session.address}. Open a client for each of them."
            )
        request = inference.reload_request(models)
        data = yield from session.send(messages.RELOAD_CONFIG, session.target, request, session.timeout)
        status = session.read(session.target, lambda: messages.ReloadConfigResponse.FromString(data).status)
        if status.error_code:
            code = _CODE_NAMES.get(status.error_code, "UNKNOWN")
            raise call_error(code, status.error_message, model=session.target.model, address=session.address)

    def _examples(
        self, kind: Kind, rows: Iterable[Features], signature: str | None, context: Features | None
    ) -> Flow[bytes]:
        session = self._session
        target = session.target if signature is None else replace(session.target, signature=signature)
        request = inference.examples_request(kind, target, rows, context)
        method = messages.CLASSIFY if kind == "classify" else messages.REGRESS
        return (yield from session.send_to_signature(method, target, request, session.deadline()))
