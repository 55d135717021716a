"""Tiny SavedModels to serve: one of TensorFlow 2 with many signatures, one of TensorFlow 1."""

import tensorflow as tf

v1 = tf.compat.v1


def vector(name, dtype=tf.float32):
    return tf.TensorSpec([None], dtype, name=name)


class Toy(tf.Module):
    def __init__(self, shift):
        super().__init__()
        self.shift = tf.Variable(float(shift))

    @tf.function(input_signature=[vector("x")])
    def half(self, x):
        return {"y": x / 2.0 + self.shift}

    @tf.function(input_signature=[vector("a"), vector("b")])
    def pair(self, a, b):
        return {"plus": a + b, "minus": a - b}

    @tf.function(input_signature=[vector("text", tf.string)])
    def text(self, text):
        return {"same": text, "letters": tf.strings.length(text, unit="UTF8_CHAR")}

    @tf.function(input_signature=[vector("text", tf.string)])
    def blob(self, text):
        return {"copy_bytes": text, "copy": text}

    @tf.function(input_signature=[vector("x", tf.float64)])
    def uneven(self, x):
        return {"all": x / 0.0, "first": x[:1]}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="m")])
    def rows(self, m):
        return {"double": m * 2.0}

    @tf.function(
        input_signature=[
            vector("flag", tf.bool),
            vector("half", tf.float16),
            vector("long", tf.int64),
            vector("small", tf.uint8),
            vector("brain", tf.bfloat16),
        ]
    )
    def kinds(self, flag, half, long, small, brain):
        return {
            "flag": tf.logical_not(flag),
            "half": half * 2,
            "long": long + 1,
            "small": small,
            "brain": brain * 2,
        }

    @tf.function(input_signature=[vector("x")])
    def scalar(self, x):
        return {"sum": tf.reduce_sum(x), "name": tf.constant(b"all\0")}

    @tf.function(input_signature=[vector("x")])
    def picky(self, x):
        with tf.control_dependencies([tf.debugging.assert_positive(x, message="must be above zero")]):
            return {"y": tf.identity(x)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float64, name="seconds")])
    def slow(self, seconds):
        """Keep busy for some seconds."""
        end = tf.timestamp() + seconds
        turns = tf.while_loop(lambda turn: tf.timestamp() < end, lambda turn: [turn + 1], [tf.constant(0)])
        return {"turns": turns[0]}


def write_toy(folder, version, shift):
    toy = Toy(shift)
    signatures = {
        "serving_default": toy.half,
        "pair": toy.pair,
        "text": toy.text,
        "blob": toy.blob,
        "uneven": toy.uneven,
        "rows": toy.rows,
        "kinds": toy.kinds,
        "scalar": toy.scalar,
        "picky": toy.picky,
        "slow": toy.slow,
    }
    tf.saved_model.save(toy, str(folder / "toy" / str(version)), signatures=signatures)


def write_classic(folder):
    """Write a model of the TensorFlow 1 kind, with a variable and a tf.Example signature."""
    define = v1.saved_model.signature_def_utils
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], name="examples")
        parsed = v1.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        x = tf.identity(parsed["x"], name="x")
        weight = v1.get_variable("weight", initializer=3.0)
        y = tf.multiply(x, weight, name="y")
        labels = tf.tile(tf.constant([["no", "yes"]]), [tf.shape(x)[0], 1])
        scores = tf.concat([y, -y], axis=1)
        first = scores[:1]
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder / "classic" / "7"))
        signatures = {
            "serving_default": define.predict_signature_def({"x": x}, {"y": y}),
            "regress": define.regression_signature_def(examples, y),
            "classify": define.classification_signature_def(examples, labels, scores),
            "labels_only": define.classification_signature_def(examples, labels, None),
            "scores_only": define.classification_signature_def(examples, None, scores),
            "too_few": define.classification_signature_def(examples, None, first),
            "too_wide": define.regression_signature_def(examples, scores),
        }
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


def write_all(folder):
    write_toy(folder, 1, 1.0)
    write_toy(folder, 2, 100.0)
    write_classic(folder)
