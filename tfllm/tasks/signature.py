"""What an exported model takes and gives, as data: the `Signature`, and the kinds of it that tasks have."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import tensorflow as tf

from tfllm.tasks.preprocessing import Tokens

Outputs = dict[str, tf.Tensor]
Forward = Callable[[Tokens], tf.Tensor]
"""A forward pass: token tensors `(batch, sequence)` -> head outputs."""

PREDICT = "tensorflow/serving/predict"
METHODS = {"classify": "tensorflow/serving/classify", "regress": "tensorflow/serving/regress"}
"""Signature of rows as `tf.Example` -> the method name by which TensorFlow Serving knows it."""

EXAMPLES = "inputs"
"""The input of a signature of `tf.Example` rows, as TensorFlow Serving names it."""


def _as_they_are(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    return inputs


@dataclass(frozen=True)
class Signature:
    """One signature of a task: what an exported model takes and gives.

    Attributes:
        inputs: input name -> spec; the first dimension is the batch.
        outputs: output name -> spec; the first dimension is the batch.
        answer: the TensorFlow function, called with what `prepare` gives, by name; it never fails for a row.
        method: the method name in the SavedModel; Classify and Regress of TensorFlow Serving want their own.
        prepare: what comes before it, called with the inputs by name. It may refuse a row, so it must not see rows
            of other requests.
    """

    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]
    answer: Callable[..., Outputs]
    method: str = PREDICT
    prepare: Callable[..., dict[str, tf.Tensor]] = _as_they_are

    def function(self, **inputs: tf.Tensor) -> Outputs:
        """Return the outputs by name, in TensorFlow."""
        return self.answer(**self.prepare(**inputs))


def of_texts(names: Iterable[str], outputs: Mapping[str, tf.TensorSpec], answer: Callable[..., Outputs]) -> Signature:
    """Return the signature that takes texts, string `(batch,)` each.

    Args:
        names: the inputs, in the order in which `answer` takes them.
        outputs: output name -> spec.
        answer: texts -> outputs.
    """
    inputs = {name: tf.TensorSpec([None], tf.string, name) for name in names}
    return Signature(inputs, dict(outputs), lambda **texts: answer(*(texts[name] for name in inputs)))


def of_tokens(names: Iterable[str], shape: Iterable[int | None], forward: Forward, longest: int) -> Signature:
    """Return the signature from token tensors, int32 `(batch, sequence)` each, to float32 `logits` of a shape.

    Args:
        names: the inputs, `token_ids` among them.
        shape: of the logits.
        forward: tokens -> head outputs.
        longest: the most tokens of a row; longer ones are refused, since the encoder has no positions for them.
    """
    inputs = {name: tf.TensorSpec([None, None], tf.int32, name) for name in names}
    logits = {"logits": tf.TensorSpec(shape, tf.float32, "logits")}

    def prepare(**tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        width = tf.shape(tokens["token_ids"])[1]
        fits = tf.debugging.assert_less_equal(width, longest, f"Expected at most {longest} tokens a row.")
        with tf.control_dependencies([] if fits is None else [fits]):  # None where it was checked at once
            return {name: tf.identity(value) for name, value in tokens.items()}

    def answer(**tokens: tf.Tensor) -> Outputs:
        return {"logits": tf.cast(forward(tokens), tf.float32)}

    return Signature(inputs, logits, answer, prepare=prepare)


def of_examples(
    kind: str, served: Signature, outputs: Mapping[str, tf.TensorSpec], convert: Callable[[Outputs], Outputs]
) -> Signature:
    """Return the signature that takes rows as serialized `tf.Example`, whose features are the texts by name.

    TensorFlow Serving's calls Classify, Regress and MultiInference take rows so, and want these names of outputs:
    `classes` and `scores`, or `outputs`.

    Args:
        kind: "classify" or "regress".
        served: the signature of texts that answers.
        outputs: output name -> spec.
        convert: the answers of `served` -> outputs.
    """
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in served.inputs}

    def answer(**texts: tf.Tensor) -> Outputs:
        return convert(served.function(**texts))

    def parse(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        texts: dict[str, tf.Tensor] = tf.io.parse_example(inputs, features)
        return texts

    rows = {EXAMPLES: tf.TensorSpec([None], tf.string, EXAMPLES)}
    return Signature(rows, dict(outputs), answer, METHODS[kind], parse)
