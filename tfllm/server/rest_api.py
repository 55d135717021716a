"""The REST face of the engine: TensorFlow Serving's paths, JSON bodies and statuses. It knows no web server."""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from google.protobuf import json_format
from tensorflow_serving.apis import (  # type: ignore[import-untyped]
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    regression_pb2,
)

from tfllm.errors import CallError, InvalidInput
from tfllm.server.engine import Engine, Target
from tfllm.server.grpc_api import fill_metadata, fill_status
from tfllm.server.inference import classify, regress
from tfllm.server.json_examples import read_examples
from tfllm.server.json_parsing import parse_json
from tfllm.server.json_tensors import body_error, read_predict
from tfllm.server.json_writing import write_classes, write_columns, write_error, write_rows, write_values
from tfllm.server.observers import RequestEvent, set_event
from tfllm.server.signatures import DEFAULT_SIGNATURE
from tfllm.server.tokens import Caller

if TYPE_CHECKING:
    from tfllm.server.page import Page

_MODEL = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_CALL = re.compile(rf"(?i:/v1/models/(?P<name>[^/:]+){_MODEL}:)(?P<verb>classify|regress|predict)")
_LOOK = re.compile(rf"(?i:/v1/models(?:/(?P<name>[^/:]+))?{_MODEL}(?P<metadata>/metadata)?)")
_OURS = re.compile("(?i:/v1/.*)", re.DOTALL)
_MAX_VERSION = 2**63 - 1
_METHODS = {"predict": "Predict", "classify": "Classify", "regress": "Regress"}
_LOOKS = ("GetModelStatus", "GetModelMetadata")
_STATUSES = {"OUT_OF_RANGE": 400, "ABORTED": 409, "ALREADY_EXISTS": 409}  # codes without a class of their own
_NOT_FOUND = "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"


class Answer(NamedTuple):
    """What a request is answered with."""

    status: int
    body: bytes
    content_type: str = "application/json"


class RestApi:
    """The REST calls of an engine.

    Args:
        engine: what answers.
        is_ready: whether the configured models are loaded.
        metrics_path: where the metrics are; empty for nowhere.
        metrics: gives them as text.
        page: what answers browsers.
    """

    def __init__(
        self,
        engine: Engine,
        is_ready: Callable[[], bool],
        metrics_path: str = "",
        metrics: Callable[[], str] = str,
        page: "Page | None" = None,
    ) -> None:
        self._metrics_path = metrics_path
        self._metrics = metrics
        self._engine = engine
        self._is_ready = is_ready
        self._page = page
        self._verbs = {"predict": self._predict, "classify": self._classify, "regress": self._regress}

    def probe(self, method: str, path: str, accept: str) -> Answer | None:
        """Answer what everybody may ask: liveness, readiness, and the page, which has no figures in it."""
        if path == "/healthz":
            return _text(200, '{"alive": true}')
        if path == "/readyz":
            ready = self._is_ready()
            return _text(200 if ready else 503, json.dumps({"ready": ready}))
        return None if self._page is None else self._page.show(method, path, accept)

    def look(self, method: str, path: str, event: RequestEvent) -> Answer | None:
        """Answer what needs no model: metrics, the list of models, and unknown places."""
        if path == self._metrics_path and method == "GET":
            return Answer(200, self._metrics().encode(), "text/plain")
        if path == "/tfllm/models":
            return _text(200, json.dumps({"models": self._models(event.rights)}, indent=1))
        if self._page is not None and (found := self._page.tell(method, path, event.rights, self._is_ready())):
            return found
        if not _OURS.fullmatch(path):
            return Answer(404, _NOT_FOUND.encode(), "text/html")
        return None

    def answer(self, method: str, path: str, body: bytes, event: RequestEvent) -> Answer:
        """Answer a request to a model; it may take as long as the model does.

        Args:
            method: the HTTP method.
            path: the path, as it was sent.
            body: the body.
            event: what is filled in about the request.
        """
        set_event(event)
        try:
            answer = self._answer(method, path, body, event)
        except CallError as error:
            answer = refuse(error)
            event.status, event.message = error.code, error.details
        finally:
            set_event(None)
        return answer

    def _answer(self, method: str, path: str, body: bytes, event: RequestEvent) -> Answer:
        call = _CALL.fullmatch(path) if method == "POST" else None
        look = _LOOK.fullmatch(path) if method == "GET" else None
        found = call or look
        if found is None:
            raise InvalidInput(f"Malformed request: {method} {path}")
        event.method = _METHODS[call["verb"]] if call else _LOOKS[bool(found["metadata"])]
        if int((found["version"] or "").lstrip("0")[:20] or 0) > _MAX_VERSION:
            event.status = "INVALID_ARGUMENT"
            return Answer(400, b"")  # TensorFlow Serving says no more either
        return _text(200, self._call(call, body) if call else self._look(found))

    def _call(self, call: re.Match[str], body: bytes) -> str:
        document = parse_json(body)
        if not isinstance(document, dict):
            raise body_error(document, "Is not object")
        signature = document.get("signature_name", "")
        if not isinstance(signature, str):
            raise body_error(document, "not formatted correctly. 'signature_name' key must be a string value.")
        return self._verbs[call["verb"]](_target(call), signature, document)

    def _predict(self, target: Target, name: str, document: Any) -> str:
        with self._engine.use(target) as servable:
            signature = servable.signatures.get(name or DEFAULT_SIGNATURE)
            if signature is None:
                name = name or DEFAULT_SIGNATURE
                raise InvalidInput(f'Serving signature name: "{name}" not found in signature def')
            if not signature.feeds:
                raise InvalidInput(f"Failed to get input map for signature: {name or 'DEFAULT'}")
            inputs, rows = read_predict(document, signature)
            outputs = servable.run(signature, signature.read_inputs(inputs, read=lambda array: array))
        return write_rows(outputs) if rows else write_columns(outputs)

    def _classify(self, target: Target, name: str, document: Any) -> str:
        examples, result = read_examples(document), classification_pb2.ClassificationResult()
        with self._engine.use(target) as servable:
            classify(servable, name, examples, result)
        return write_classes(result)

    def _regress(self, target: Target, name: str, document: Any) -> str:
        examples, result = read_examples(document), regression_pb2.RegressionResult()
        with self._engine.use(target) as servable:
            regress(servable, name, examples, result)
        return write_values(result)

    def _look(self, found: re.Match[str]) -> str:
        if not found["name"]:
            raise InvalidInput("Missing model name in request.")
        target = _target(found)
        if found["metadata"]:
            return self._metadata(target)
        response = get_model_status_pb2.GetModelStatusResponse()
        fill_status(response, self._engine, target)
        return json.dumps(_plain(response), indent=1) + "\n"

    def _metadata(self, target: Target) -> str:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        fill_metadata(response, signatures, self._engine, target)
        spec = json.dumps({**_plain(response.model_spec), "signature_name": ""}, indent=1)
        return (
            f'{{\n"model_spec":{spec}\n,\n"metadata": '
            f'{{"signature_def": {json.dumps(_plain(signatures), indent=1)}\n}}\n}}\n'
        )

    def _models(self, rights: Caller | None) -> list[dict[str, Any]]:
        labels = self._engine.labels
        return [
            {
                "name": name,
                "versions": [
                    {"version": item.source.version, "state": item.state.name} for item in self._engine.status(name)
                ],
                "labels": dict(labels.get(name, {})),
            }
            for name in sorted(self._engine.models)
            if rights is None or rights.may_use(name)
        ]


def refuse(error: CallError) -> Answer:
    """Return the answer that an error is."""
    status = _STATUSES.get(error.code, error.http_status)
    return _text(status, write_error(error.details))


def _text(status: int, text: str) -> Answer:
    return Answer(status, text.encode("utf-8", "surrogateescape"))


def _target(found: re.Match[str]) -> Target:
    version = int(found["version"].lstrip("0") or 0) if found["version"] else None
    label = unquote(found["label"]) if found["label"] else None
    return Target(unquote(found["name"]), version, label)


def _plain(message: Any) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
