"""The warm-up file: requests that a server runs before it serves a version, so that no user waits for the first run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfllm.exporting.parity import real_rows, request_inputs
from tfllm.exporting.reload import Arrays, Request
from tfllm.tasks.base import Task
from tfllm.tasks.signature import PREDICT
from tfllm.wire import messages, tensors

WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"
"""Where TensorFlow Serving looks for it, relative to the version folder."""

_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_SHORTEST = 8
_MOST_TOKENS = 512
"""Of one request: a server may warm a version up while it serves another, whose requests wait that long."""


def warm_up_requests(task: Task, samples: Sequence[tuple[bytes, ...]], *, pairs: bool) -> list[Request]:
    """Return requests over batch sizes x text lengths, made of the words of real texts.

    Signatures other than `serving_default` get two: each has a graph of its own, which its first request optimises.
    `classify` and `regress` get none: a graph takes about the memory of the weights again, and few ask these.

    Args:
        task: the task.
        samples: real texts or pairs; some of our own where there are none.
        pairs: whether the model takes pairs.
    """
    names = task.input_names(pairs=pairs)
    columns = [b" ".join(column).split() or [b"text"] for column in zip(*real_rows(samples, pairs), strict=True)]
    asks = None if task.asked_word is None else task.asked_word.encode()
    longest = task.preprocessor.max_length
    lengths = sorted({min(_SHORTEST << power, longest) for power in range(longest.bit_length())})
    requests = [
        ("serving_default", {n: _texts(words, batch, length, asks) for n, words in zip(names, columns, strict=True)})
        for batch in _BATCHES
        for length in lengths
        if batch * length <= _MOST_TOKENS or batch == 1
    ]
    texts = [
        inputs for _, inputs in (requests[0], requests[len(lengths) - 1])
    ]  # one text, the shortest and the longest
    return [*requests, *_of_other_signatures(task, texts, pairs)]


def _of_other_signatures(task: Task, texts: Sequence[Arrays], pairs: bool) -> list[Request]:
    return [
        (name, request_inputs(task, signature, inputs))
        for name, signature in task.signatures(pairs=pairs).items()
        if name != "serving_default" and signature.method == PREDICT
        for inputs in texts
    ]


def _texts(words: list[bytes], batch: int, length: int, first: bytes | None) -> np.ndarray:
    """Return texts of so many words, an object array `(batch,)`: each begins at another word, or with the one given."""
    texts = np.empty(batch, object)
    for row in range(batch):
        chosen = [words[(row * length + place) % len(words)] for place in range(length)]
        texts[row] = b" ".join(chosen if first is None else [first, *chosen[1:]])
    return texts


def write_warm_up(folder: Path, name: str, requests: Sequence[Request]) -> None:
    """Write the warm-up file of a version: a TFRecord of PredictionLog.

    Args:
        folder: the version.
        name: the model's name.
        requests: signature and inputs; each must have been run, since TensorFlow Serving does not load a version of
            which one warm-up request fails. Without any no file is written.
    """
    if not requests:
        return
    file = folder / WARM_UP_FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in requests:
            log = messages.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for alias, values in inputs.items():
                tensors.fill(request.inputs[alias], values)
            writer.write(log.SerializeToString(deterministic=True))


def read_warm_up(folder: Path) -> list[Request]:
    """Return the requests of a version's warm-up file; none if it has none."""
    file = folder / WARM_UP_FILE
    if not file.is_file():
        return []
    found = []
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        request = messages.PredictionLog.FromString(record).predict_log.request
        inputs = {alias: tensors.to_array(value) for alias, value in request.inputs.items()}
        found.append((request.model_spec.signature_name, inputs))
    return found
