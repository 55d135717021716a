"""Ask SavedModels with TensorFlow and the operators of TensorFlow Text alone, every request from 16 threads at once.

    python -I -S ask_alone.py PACKAGES FOLDER...

PACKAGES has all packages. Each FOLDER holds a SavedModel and `requests.npz`, an array of pairs of signature
and inputs. Its answers go to `answers.npz`: loader -> the answers of each thread. The Python half of TensorFlow Text is
left out, since it asks for Keras.
"""

import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.append(sys.argv[1])

import numpy as np
import tensorflow as tf

THREADS = 16


def python_loader(folder):
    signatures = tf.saved_model.load(folder).signatures

    def ask(name, inputs):
        outputs = signatures[name](**{alias: tf.constant(value) for alias, value in inputs.items()})
        return {alias: value.numpy() for alias, value in outputs.items()}

    return ask


def session_loader(folder):
    """Load as TensorFlow Serving does: a graph, and a session that restores its variables."""
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        definitions = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def

    def ask(name, inputs):
        signature = definitions[name]
        fetches = {alias: info.name for alias, info in signature.outputs.items()}
        return session.run(fetches, {signature.inputs[alias].name: value for alias, value in inputs.items()})

    return ask


def answers_of(ask, requests):
    """Return the answers of each thread."""
    with ThreadPoolExecutor(THREADS) as pool:
        every = [pool.submit(lambda: [ask(*request) for request in requests]) for _ in range(THREADS)]
        return [future.result() for future in every]


def main(folders):
    for library in Path(sys.argv[1], "tensorflow_text", "python", "ops").glob("_*.so"):
        tf.load_op_library(str(library))
    assert importlib.util.find_spec("keras") is None and importlib.util.find_spec("tfllm") is None
    for folder in folders:
        requests = np.load(Path(folder, "requests.npz"), allow_pickle=True)["requests"].tolist()
        answers = {load.__name__: answers_of(load(folder), requests) for load in (python_loader, session_loader)}
        np.savez(Path(folder, "answers.npz"), answers=np.array([answers], dtype=object))


if __name__ == "__main__":
    main(sys.argv[2:])
