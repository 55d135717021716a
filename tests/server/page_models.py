"""Tiny SavedModels with the outputs of each task, to show on the page: their answers are constants."""

import json

import tensorflow as tf

TEXT = [tf.TensorSpec([None], tf.string, name="text")]
PAIR = [tf.TensorSpec([None], tf.string, name=name) for name in ("question", "context")]


def repeated(values, like, dtype=None):
    """Return the values once for each row."""
    row = tf.constant(values, dtype)[tf.newaxis]
    return tf.repeat(row, tf.shape(like)[0], axis=0)


class Classifier(tf.Module):
    @tf.function(input_signature=TEXT)
    def answer(self, text):
        label = repeated("billing", text)
        return {"label": label, "score": repeated(0.7, text), "scores": repeated([0.2, 0.7, 0.1], text)}


class Tagger(tf.Module):
    """Finds `Ada` and `London` in "Ada 😀 London", whatever it is given."""

    @tf.function(input_signature=TEXT)
    def answer(self, text):
        return {
            "entity": repeated(["PER", "LOC", ""], text),
            "word": repeated(["Ada", "London", ""], text),
            "start": repeated([0, 6, 0], text),
            "end": repeated([3, 12, 0], text),
            "score": repeated([0.9, 0.8, 0.0], text),
            "count": repeated(2, text),
        }


class Answerer(tf.Module):
    @tf.function(input_signature=PAIR)
    def answer(self, question, context):
        return {
            "answer": repeated("in May", context),
            "start": repeated(12, context),
            "end": repeated(18, context),
            "score": repeated(0.6, context),
        }


class Embedder(tf.Module):
    @tf.function(input_signature=TEXT)
    def answer(self, text):
        return {"embedding": repeated([0.6, -0.8, 0.0, 0.1], text)}


class Regressor(tf.Module):
    @tf.function(input_signature=TEXT)
    def answer(self, text):
        return {"value": repeated(3.25, text)}


class MultiLabeller(tf.Module):
    @tf.function(input_signature=TEXT)
    def answer(self, text):
        labels, scores = repeated(["price", "", "service"], text), repeated([0.9, 0.2, 0.6], text)
        return {"labels": labels, "scores": scores, "count": repeated(2, text)}


class Filler(tf.Module):
    """Fills one mask; the second place is empty."""

    @tf.function(input_signature=TEXT)
    def answer(self, text):
        return {
            "token": repeated([["paris", "rome"], ["", ""]], text),
            "score": repeated([[0.8, 0.1], [0.0, 0.0]], text),
        }


MODELS = {
    "fillers": Filler,
    "reasons": MultiLabeller,
    "topics": Classifier,
    "names": Tagger,
    "answers": Answerer,
    "vectors": Embedder,
    "stars": Regressor,
}
CONTRACTS = {
    "reasons": {"task": "TextClassifier", "labels": ["price", "colour", "service"]},
    "topics": {"task": "TextClassifier", "labels": ["delivery", "billing", "thanks"]},
}


def write_all(folder):
    for name, model in MODELS.items():
        write(folder, name, model())


def write(folder, name, model, version=1):
    path = folder / name / str(version)
    tf.saved_model.save(model, str(path), signatures={"serving_default": model.answer})
    if name in CONTRACTS:
        (path / "assets.extra").mkdir(exist_ok=True)
        (path / "assets.extra" / "tfllm.json").write_text(json.dumps(CONTRACTS[name]))
