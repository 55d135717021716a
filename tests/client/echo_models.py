"""Models whose answers are what they are asked, for the tests of the client."""

import tensorflow as tf


class Echo(tf.Module):
    """A classifier whose label is the text itself, so that order and bytes can be checked."""

    def __init__(self):
        super().__init__()
        self.unit = tf.Variable(1.0)

    def classify(self, label):
        letters = tf.cast(tf.strings.length(label), tf.float32) * self.unit
        return {"label": label, "score": letters, "scores": tf.stack([letters, -letters], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def single(self, text):
        return self.classify(text)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="text"),
            tf.TensorSpec([None], tf.string, name="text_pair"),
        ]
    )
    def pairs(self, text, text_pair):
        return self.classify(tf.strings.join([text, "|", text_pair]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def first_only(self, text):
        return self.classify(text[:1])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def embed(self, text):
        return {"embedding": tf.ones([tf.size(text), 1000]) * self.unit}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def slow(self, text):
        """Take a tenth of a second a request."""
        end = tf.timestamp() + 0.1
        turns = tf.while_loop(lambda turn: tf.timestamp() < end, lambda turn: [turn + 1], [tf.constant(0)])
        with tf.control_dependencies(turns):
            return self.classify(tf.identity(text))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def picky(self, text):
        """Refuse requests with the text `bad`."""
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(text != "bad"), ["no bad texts"])]):
            return self.classify(tf.identity(text))

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def numbers(self, x):
        return {"double": x * 2.0, "sum": tf.reduce_sum(x, axis=1)}


DTYPES = (
    *(tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.complex64, tf.complex128, tf.bool, tf.string),
    *(tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64),
)


class Mirror(tf.Module):
    """A signature for each dtype, which answers with what it is given, doubled in number."""

    @staticmethod
    def of(dtype):
        spec = tf.TensorSpec(None, dtype, name="x")
        return tf.function(lambda x: {"y": tf.stack([x, x])}, input_signature=[spec])

    def __init__(self):
        super().__init__()
        self.functions = {dtype.name: self.of(dtype) for dtype in DTYPES}


def write_all(folder):
    """Write `echo`, versions 1 and 4, and `mirror` into a folder."""
    for version in (1, 4):
        echo = Echo()
        signatures = {
            "serving_default": echo.single,
            "pairs": echo.pairs,
            "first_only": echo.first_only,
            "embed": echo.embed,
            "slow": echo.slow,
            "picky": echo.picky,
            "numbers": echo.numbers,
        }
        tf.saved_model.save(echo, str(folder / "echo" / str(version)), signatures=signatures)
    mirror = Mirror()
    tf.saved_model.save(mirror, str(folder / "mirror" / "1"), signatures=mirror.functions)
