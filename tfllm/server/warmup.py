"""Warm-up: the recorded requests of a version, run before it answers, so that no caller meets a cold model.

File, limit and messages are TensorFlow Serving's: `assets.extra/tf_serving_warmup_requests` is a TFRecord file of
PredictionLog messages, and a record that fails makes the version fail to load.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (  # type: ignore[import-untyped]
    classification_pb2,
    inference_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from tfllm.errors import CallError, InvalidInput, ServerError, Unimplemented, call_error
from tfllm.repository import ModelVersion
from tfllm.server.inference import classify, infer_all, regress
from tfllm.server.servable import Servable

logger = logging.getLogger(__name__)
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
"""The recorded requests of a version, relative to its folder."""

_MAX_RECORDS = 1000
_REST = 1  # times as long as a warm-up request took is left to the requests that are served meanwhile
_EAGER = re.compile(r"\{\{function_node [^}]*\}\} | \[Op:\w+\] name: ")  # which operator read the file


@dataclass
class WarmupEvent:
    """How far the warm-up of a version is.

    Attributes:
        source: the version.
        state: `running`, `done`, `failed`, or `none` for a version without requests.
        records: how many requests have been run.
        seconds: how long it took.
        status: the gRPC status name of the failure, `OK` without one.
    """

    source: ModelVersion
    state: str = "running"
    records: int = 0
    seconds: float = 0.0
    status: str = "OK"


def warm_up(
    servable: Servable,
    source: ModelVersion,
    *,
    iterations: int = 1,
    tell: Callable[[WarmupEvent], None] = lambda event: None,
    busy: Callable[[], bool] = lambda: False,
) -> None:
    """Run the requests that came with a version.

    Args:
        servable: the version, loaded.
        source: the version on disk.
        iterations: how often each request is run.
        tell: called at the beginning and at the end.
        busy: says whether others are served meanwhile; then half of the time is left to them.

    Raises:
        CallError: the file cannot be read, has over 1000 records, or a request failed.
    """
    path = source.path / WARMUP_FILE
    event, start = WarmupEvent(source), time.monotonic()
    if not path.is_file():
        event.state = "none"
        tell(event)
        return
    tell(event)
    try:
        for log in _read(str(path)):
            event.records += 1
            if event.records > _MAX_RECORDS:
                raise InvalidInput(f"Number of warmup records exceeds the maximum ({_MAX_RECORDS}) at {path}")
            for _ in range(iterations):
                began = time.monotonic()
                _replay(servable, log)
                if busy():
                    time.sleep(_REST * (time.monotonic() - began))
        event.state = "done"
    except Exception as error:
        event.state, event.status = "failed", error.code if isinstance(error, CallError) else ServerError.code
        raise
    finally:
        event.seconds = time.monotonic() - start
        tell(event)
        logger.info("Warm-up of '%s' version %d: %s", source.name, source.version, event)


def _read(path: str) -> Iterator[Any]:
    try:
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            yield prediction_log_pb2.PredictionLog.FromString(record)
    except tf.errors.DataLossError as error:
        raise call_error(
            "DATA_LOSS", f"{_EAGER.sub('', error.message)}. Please verify your warmup data is in TFRecord format."
        ) from error
    except tf.errors.OpError as error:
        raise call_error("UNKNOWN", _EAGER.sub("", error.message)) from error
    except DecodeError as error:
        raise InvalidInput(f"Failed to parse warmup record: {error} from {path}") from error


def _replay(servable: Servable, log: Any) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        signature = servable.signature(request.model_spec.signature_name)
        servable.run(signature, signature.read_inputs(request.inputs), request.output_filter)
    elif kind == "classify_log":
        request = log.classify_log.request
        classify(servable, request.model_spec.signature_name, request.input, classification_pb2.ClassificationResult())
    elif kind == "regress_log":
        request = log.regress_log.request
        regress(servable, request.model_spec.signature_name, request.input, regression_pb2.RegressionResult())
    elif kind == "multi_inference_log":
        infer_all(servable, log.multi_inference_log.request, inference_pb2.MultiInferenceResponse())
    elif kind is not None:  # a log without a request is skipped there too
        field = prediction_log_pb2.PredictionLog.DESCRIPTOR.fields_by_name[kind]
        raise Unimplemented(f"Unsupported log_type for warmup: {field.number}")
