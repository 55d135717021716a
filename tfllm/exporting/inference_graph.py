"""The forward pass of an exported model: packed tokens, fused products, only the work that an answer needs.

Padding is left out: products and normalisations see one row a real token (the "effective transformer" of ByteDance,
FasterTransformer's padding removal, Text Embeddings Inference's padding-free batches). Texts are sorted by length and
taken in steps of a bounded number of tokens, so that texts of like length share a step, activations stay in the cache,
and memory does not grow with the batch. `packed_encoder` runs a step; of the last layer it runs what the head reads.
"""

import tensorflow as tf

from tfllm.errors import ExportError
from tfllm.exporting.encoder_weights import EncoderWeights, read_head
from tfllm.exporting.late_constants import LateConstants
from tfllm.exporting.packed_encoder import PackedEncoder
from tfllm.tasks.heads import Head
from tfllm.tasks.preprocessing import Tokens

TOKENS_PER_STEP = 1024
"""As many rows as keep the products at full speed; more would only fill memory (measured on two cores)."""


class InferenceGraph(tf.Module):
    """An encoder with its head, as one TensorFlow function of token tensors.

    Args:
        encoder: the encoder's weights.
        head: the pooling and the dense layers after it.
        dtype: of the products: "float32", "bfloat16" or "float16".
        tokens_per_step: the most tokens, padding within the step included, that are in work at once. A single longer
            text is a step of its own.
        constants: how weights become constants; by default the graph has them at once and runs here. With late ones it
            runs only as a SavedModel that they were written into.

    Called with `token_ids`, `padding_mask` and, where there are segments, `segment_ids`, int32 `(batch, sequence)`, it
    returns the head's outputs, float32: `(batch, ...)`, or `(batch, sequence, ...)` with zeros at padding for a head
    that pools "tokens".

    Example:
        >>> from tfllm.exporting.encoder_weights import read_encoder
        >>> from tfllm.tasks.text_classifier import TextClassifier
        >>> model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
        >>> graph = InferenceGraph(read_encoder(model.backbone), model.head)
        >>> graph(model.preprocess(tf.constant(["a good film", "bad"]))).shape
        TensorShape([2, 2])
    """

    def __init__(
        self,
        encoder: EncoderWeights,
        head: Head,
        *,
        dtype: str = "float32",
        tokens_per_step: int = TOKENS_PER_STEP,
        constants: LateConstants | None = None,
    ) -> None:
        super().__init__(name="inference_graph")
        self.constants = constants or LateConstants(late=False)
        self._encoder = PackedEncoder(encoder, read_head(head), tf.as_dtype(dtype), self.constants)
        self._length = encoder.length
        self._per_token = head.pooling == "tokens"
        self._limit = tokens_per_step
        size = head.layers[-1].units if head.layers else encoder.layers[-1].output.bias.shape[0]
        self._shape = [None, size]
        # Tables are only looked up: as variables they stay out of the graph, which may have 2 GB at most.
        self.tokens = tf.Variable(encoder.tokens, trainable=False, name="tokens")
        self.positions = tf.Variable(encoder.positions, trainable=False, name="positions")
        # One concrete function: a `tf.function` would be traced, with all its constants, once for each signature.
        run = tf.function(self._run, autograph=False, input_signature=[_TOKENS] * 3)
        self._compiled = run.get_concrete_function()

    def __call__(self, tokens: Tokens) -> tf.Tensor:
        """Run the encoder and the head.

        Raises:
            ExportError: the graph's constants are late, so it cannot run here.
        """
        if self.constants.late and tf.executing_eagerly():
            raise ExportError("Expected a graph with its constants to run. Received: one that is to be saved.")
        ids, mask = tf.convert_to_tensor(tokens["token_ids"]), tf.convert_to_tensor(tokens["padding_mask"])
        segments = tokens.get("segment_ids")
        return self._compiled(ids, mask, tf.zeros_like(ids) if segments is None else tf.convert_to_tensor(segments))

    def _run(self, ids: tf.Tensor, mask: tf.Tensor, segments: tf.Tensor) -> tf.Tensor:
        batch, width = tf.shape(ids)[0], tf.shape(ids)[1]
        mask = tf.cast(mask != 0, tf.int32)
        mask = tf.concat([tf.ones_like(mask[:, :1]), mask[:, 1:]], axis=1)  # a text has at least its first token
        lengths = tf.reduce_max(mask * tf.range(1, width + 1), axis=1)
        order = tf.argsort(lengths, stable=True)
        lengths = tf.gather(lengths, order)
        positions = tf.range(width) + segments * self._length
        rows = tf.gather(tf.stack([ids, positions, mask]), order, axis=1)  # (3, batch, sequence), the shortest first
        found = self._steps(rows, lengths, batch)
        if not self._per_token:
            return tf.gather(found, tf.argsort(order))
        places = tf.where(rows[2] != 0)  # (tokens, 2)
        places = tf.stack([tf.gather(order, places[:, 0]), tf.cast(places[:, 1], tf.int32)], axis=1)
        return tf.scatter_nd(places, found, [batch, width, self._shape[1]])

    def _steps(self, rows: tf.Tensor, lengths: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        def step(start: tf.Tensor, number: tf.Tensor, outputs: tf.TensorArray) -> tuple:
            area = tf.range(1, batch - start + 1) * lengths[start:]  # grows with each text
            end = start + tf.maximum(tf.reduce_sum(tf.cast(area <= self._limit, tf.int32)), 1)
            part = rows[:, start:end, : lengths[end - 1]]
            return end, number + 1, outputs.write(number, self._step(part[0], part[1], part[2]))

        outputs = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False, element_shape=self._shape)
        steps = tf.while_loop(lambda start, *_: start < batch, step, (0, 0, outputs), parallel_iterations=1)
        return tf.ensure_shape(steps[2].concat(), self._shape)

    def _step(self, ids: tf.Tensor, positions: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        real = tf.cast(tf.where(mask != 0), tf.int32)
        embedded = tf.gather(self.tokens, tf.gather_nd(ids, real))
        embedded += tf.gather(self.positions, tf.gather_nd(positions, real))
        return self._encoder(embedded, real, mask)


_TOKENS = tf.TensorSpec([None, None], tf.int32)
