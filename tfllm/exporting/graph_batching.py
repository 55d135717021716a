"""Batching built into the exported graph, for servers that are started without batching of their own."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import tensorflow as tf

from tfllm.errors import ConfigError, ExportError
from tfllm.tasks.signature import Outputs, Signature

_LARGEST_REQUEST = 65_536
"""Rows of one request; more than `max_batch_size` run as several batches."""


@dataclass(frozen=True)
class GraphBatching:
    """How requests that come at once share a run of the graph.

    It is TensorFlow Serving's own scheduler (`tf.nondifferentiable_batch_function`), inside the graph: it works with
    any server, and needs no batching file. Use either this or the server's batching, not both.

    Args:
        max_batch_size: the most rows of a run; a larger request runs in parts.
        timeout: how many seconds a request waits at most for others to come.
        threads: how many runs there are at once.
        max_queue: how many batches may wait; further requests fail with UNAVAILABLE.

    Raises:
        ConfigError: a number is too small.

    Example:
        >>> GraphBatching(max_batch_size=64).max_batch_size
        64
    """

    max_batch_size: int = 32
    timeout: float = 0.001
    threads: int = 2
    max_queue: int = 100

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < (0 if name == "timeout" else 1):
                least = "0 seconds" if name == "timeout" else "1"
                raise ConfigError(f"Expected {name} of at least {least}. Received: {name}={value}.")


def batch_in_graph(name: str, signature: Signature, batching: GraphBatching) -> Callable[..., Outputs]:
    """Return what answers for a signature, with batching around it.

    Only signatures of texts are batched: rows of token ids have no common length.

    Raises:
        ExportError: the width of an output depends on the batch, so that parts of a request could not be put together.
    """
    if any(spec.dtype != tf.string for spec in signature.inputs.values()):
        return signature.answer
    if loose := [alias for alias, spec in signature.outputs.items() if None in spec.shape[1:].as_list()]:
        raise ExportError(
            f"Expected outputs of one width for batching in the graph. Received: signature '{name}' with "
            f"{', '.join(loose)}, as wide as the batch needs. Export without batching, and let the server batch."
        )
    outputs = list(signature.outputs)

    def run(**texts: tf.Tensor) -> Outputs:
        @tf.nondifferentiable_batch_function(
            num_batch_threads=batching.threads,
            max_batch_size=max(_LARGEST_REQUEST, batching.max_batch_size),
            batch_timeout_micros=round(batching.timeout * 1e6),
            allowed_batch_sizes=list(range(1, batching.max_batch_size + 1)),  # each of them, so that no row is made up
            max_enqueued_batches=batching.max_queue,
            autograph=False,
            enable_large_batch_splitting=True,
        )
        def run_batch(*columns: tf.Tensor) -> list[tf.Tensor]:
            found = signature.answer(**dict(zip(texts, columns, strict=True)))
            return [found[alias] for alias in outputs]

        found: Mapping[str, tf.Tensor] = dict(zip(outputs, run_batch(*texts.values()), strict=True))
        return {alias: tf.ensure_shape(value, signature.outputs[alias].shape) for alias, value in found.items()}

    return run
