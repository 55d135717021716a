"""Run a SavedModel's signatures through both loaders, in a process of its own.

    python -m tfllm.exporting.reload FOLDER REQUESTS.npz ANSWERS.npz LOADER [LOADER]

This process knows no Keras model and no task: only TensorFlow, TensorFlow Text and the folder, as a server does. The
Python loader (`tf.saved_model.load`) and the graph-and-session loader, which follows the path of TensorFlow Serving's
C++ one, can differ: a SavedModel that saves Keras variables twice answers in the first and fails in the second.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfllm.errors import ExportError

LOADERS = ("saved_model", "session")
"""The two ways to load: `tf.saved_model.load`, and a graph with a session."""

Arrays = dict[str, np.ndarray]
Request = tuple[str, Arrays]
"""A signature's name and its inputs; texts are object arrays of bytes."""


def run_in_fresh_process(
    folder: Path, requests: Sequence[Request], loaders: Sequence[str] = LOADERS
) -> dict[str, list[Arrays]]:
    """Run requests through both loaders, or one of them, in a fresh process.

    Args:
        folder: the SavedModel.
        requests: signature and inputs of each request.
        loaders: which of `LOADERS`.

    Returns:
        loader name -> the outputs of each request.

    Raises:
        ExportError: the SavedModel does not load or does not run; the message ends with the process's own words.
    """
    with tempfile.TemporaryDirectory() as scratch:
        request_file, answer_file = Path(scratch, "requests.npz"), Path(scratch, "answers.npz")
        _store(request_file, list(requests))
        command = [sys.executable, "-m", "tfllm.exporting.reload", *map(str, (folder, request_file, answer_file))]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        status, words = _run([*command, *loaders], environment)
        if status:
            raise ExportError(
                f"Expected a SavedModel that loads and answers in a fresh process. Received: status {status}"
                + "\n".join(["", *words.strip().splitlines()[-12:]])
            )
        return {loader: _load(_part(answer_file, loader)) for loader in loaders}


def _run(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command in a session of its own, which ends with this call; return its status and what it complained."""
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, start_new_session=True, **streams) as process:
        try:
            words = process.communicate()[1]
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # with what it has forked
            raise
    return process.returncode, words


def _store(file: Path, items: list) -> None:
    stored = np.empty(len(items), dtype=object)
    stored[:] = items
    np.savez(file, items=stored)


def _load(file: Path) -> list:
    with np.load(file, allow_pickle=True) as stored:  # written by this module alone
        return stored["items"].tolist()


def _run_saved_model(folder: str, requests: list[Request]) -> list[Arrays]:
    """Run the graph as it was written: to rewrite it takes half as much memory again, and the session does that too."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    signatures = tf.saved_model.load(folder).signatures
    answers = []
    for signature, inputs in requests:
        outputs = signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        answers.append({name: value.numpy() for name, value in outputs.items()})
    return answers


def _run_session(folder: str, requests: list[Request]) -> list[Arrays]:
    import tensorflow as tf

    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        definitions = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def
        answers = []
        for signature, inputs in requests:
            definition = definitions[signature]
            fetches = {name: info.name for name, info in sorted(definition.outputs.items())}
            answers.append(session.run(fetches, {definition.inputs[name].name: inputs[name] for name in inputs}))
        return answers


def _part(answer_file: Path, loader: str) -> Path:
    return answer_file.with_suffix(f".{loader}.npz")


def _answer(loader: str, folder: str, requests: list[Request], answer_file: Path) -> None:
    run = {"saved_model": _run_saved_model, "session": _run_session}[loader]
    _store(_part(answer_file, loader), run(folder, requests))


def _main(folder: str, request_file: str, answer_file: str, *loaders: str) -> None:
    """Run each loader in a fork of its own: what one holds is gone before the next one needs as much."""
    import tensorflow_text  # noqa: F401 - registers the tokenizer's ops; nothing runs before the forks

    requests = _load(Path(request_file))
    for loader in loaders:
        arguments = (loader, folder, requests, Path(answer_file))
        process = multiprocessing.get_context("fork").Process(target=_answer, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            cause = ", as a rule for want of memory" if process.exitcode == -signal.SIGKILL else ""
            sys.exit(f"The {loader} loader ended with status {process.exitcode}{cause}.")


if __name__ == "__main__":
    _main(*sys.argv[1:])
