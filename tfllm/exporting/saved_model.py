"""Export a task as one SavedModel that takes raw text and returns final answers: `export`."""

import importlib.metadata
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfllm import repository
from tfllm._version import __version__
from tfllm.errors import ExportError, SignatureMismatch
from tfllm.exporting.forward import ForwardPass, choose_forward
from tfllm.exporting.graph_batching import GraphBatching, batch_in_graph
from tfllm.exporting.inference_graph import TOKENS_PER_STEP
from tfllm.exporting.model_card import write_card
from tfllm.exporting.parity import TOLERANCES, check_parity
from tfllm.exporting.served_predict import Judge, judged
from tfllm.exporting.warmup import warm_up_requests, write_warm_up
from tfllm.repository_labels import refresh_config
from tfllm.tasks.base import Task
from tfllm.tasks.rows import as_rows
from tfllm.tasks.signature import Signature

logger = logging.getLogger(__name__)

_PACKAGES = ("tensorflow", "tensorflow-text", "keras", "keras-hub")
_SAMPLES = 64


def export(
    model: Task,
    path: str | os.PathLike[str],
    *,
    samples: Sequence[str | tuple[str, str]] = (),
    pairs: bool | None = None,
    evaluation: Mapping[str, float] | None = None,
    judge: Judge | None = None,
    data_hash: str | None = None,
    tolerance: float | None = None,
    precision: str = "float32",
    tokens_per_step: int = TOKENS_PER_STEP,
    batching: GraphBatching | None = None,
    warm_up: bool = True,
) -> repository.ModelVersion:
    """Export a task as the next version of a served model.

    The SavedModel has the signatures `serving_default` (texts to answers), `tokens` (token ids to logits); of a
    `TextClassifier` `classify`, of a `TextRegressor` or `Reranker` `regress` (`tf.Example` rows, for TensorFlow
    Serving's calls of these names); of an embedder whose queries have a prefix `query`. Its forward pass is
    `InferenceGraph`, which runs no padding; an encoder that it does not know keeps Keras's own, and the contract says
    so. Before it is published it is loaded again in a fresh process, by `tf.saved_model.load` and by the
    graph-and-session loader, which takes the path of TensorFlow Serving, and must answer there as the model does in
    Keras: for `samples` and for texts such as the empty one, 10,000 characters, emoji, right-to-left scripts and
    invalid UTF-8. It appears whole or not at all.

    Args:
        model: the task.
        path: the model's folder, such as `saved_models/reviews`; the version gets the next number under it.
        samples: real texts, or pairs of texts, to prove the export on; the first 64 are used. The first eight are
            stored in the contract, with their answers, and the first one in the model card: give none that are secret.
        pairs: whether the model takes pairs of texts; by default as the samples are, or as it was trained.
        evaluation: figures of the model in Keras to store in the contract, such as `{"accuracy": 0.93}`; by default
            what `judge` finds.
        judge: takes a function that predicts and returns figures, such as `lambda predict: tfllm.evaluate(predict,
            dev).metrics`. It judges the exported graph too, and the contract and the model card show both: what the
            precision costs.
        data_hash: the fingerprint of the training data, stored in the contract.
        tolerance: the largest difference from Keras that is allowed, in any number; by default 1e-4, and 1e-2 for the
            shorter precisions. Of a regressor's numbers, as a share of their range.
        precision: of the products: "float32", "bfloat16" or "float16". The short ones are faster on some processors
            with instructions for them, and slower elsewhere: compare.
        tokens_per_step: the most tokens that are in work at once: it bounds the memory of a request. Refused for a
            model that runs Keras's forward pass.
        batching: batching inside the graph, for a server that does none; by default there is none.
        warm_up: whether to write `assets.extra/tf_serving_warmup_requests`, which TensorFlow Serving and the embedded
            server run before they serve the version.

    Returns:
        The version: name, number and folder.

    Raises:
        ExportError: a part of the model cannot be put in a SavedModel, the samples are of the wrong kind, or the
            task's answers cannot be batched in the graph.
        DataError: a sample is not a text.
        ParityError: the exported model answers differently; nothing is published.

    Example:
        >>> import tempfile
        >>> from tfllm.tasks.text_classifier import TextClassifier
        >>> model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
        >>> export(model, tempfile.mkdtemp() + "/reviews").version
        1
    """
    _require_exportable(model)
    rows = as_rows(samples)[:_SAMPLES]
    pairs = _takes_pairs(model, rows, pairs)
    forward = choose_forward(model, precision, tokens_per_step)
    _warn_of_keras(forward, path)
    tolerance = TOLERANCES[precision] if tolerance is None else tolerance
    signatures = _batched(model.signatures(pairs=pairs, forward=forward.graph), batching)
    with repository.publish(path) as publication:
        write_saved_model(model, forward, signatures, publication.folder)
        warming = warm_up_requests(model, rows, pairs=pairs) if warm_up else []
        proof = check_parity(model, publication.folder, rows, pairs=pairs, tolerance=tolerance, run_too=warming)
        write_warm_up(publication.folder, Path(path).name, warming)
        contract = {
            **_described_model(model, forward, signatures, pairs=pairs),
            "data_sha256": data_hash,
            "batching": None if batching is None else asdict(batching),
            **judged(model, publication.folder, judge, pairs=pairs, evaluation=evaluation),
            **proof.described(tolerance),
            "warm_up_records": len(warming),
        }
        _write_contract(publication.folder, Path(path).name, contract)
    if publication.published is None:
        raise ExportError(f"Expected the version to be published under '{path}'. It was not.")
    refresh_config(path)
    return publication.published


def _warn_of_keras(forward: ForwardPass, path: str | os.PathLike[str]) -> None:
    if forward.note is not None:
        logger.warning("'%s': %s", path, forward.note)


def _write_contract(folder: Path, name: str, contract: Mapping[str, Any]) -> None:
    contract = {**contract, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    file = folder / repository.CONTRACT_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(contract, indent=2, ensure_ascii=False) + "\n", "utf-8")
    write_card(folder, name, contract)


def _batched(signatures: dict[str, Signature], batching: GraphBatching | None) -> dict[str, Signature]:
    if batching is None:
        return signatures
    return {
        name: replace(signature, answer=batch_in_graph(name, signature, batching))
        for name, signature in signatures.items()
    }


def _described_model(
    model: Task, forward: ForwardPass, signatures: Mapping[str, Signature], *, pairs: bool
) -> dict[str, Any]:
    """Return what the contract says of the model itself, before anything was measured."""
    return {
        "format": 1,
        "task": type(model).__name__,
        **model.head_config(),
        "pairs": pairs,
        "input_names": list(model.input_names(pairs=pairs)),
        "max_length": model.preprocessor.max_length,
        "cleaner": model.preprocessor.cleaner.get_config(),
        "signatures": {name: _described(signature) for name, signature in signatures.items()},
        "vocabulary_sha256": model.vocabulary_hash,
        "forward": forward.described(),
        "versions": {"tfllm": __version__, **{name: importlib.metadata.version(name) for name in _PACKAGES}},
    }


def _takes_pairs(model: Task, rows: list[tuple[bytes, ...]], pairs: bool | None) -> bool:
    if pairs is None:
        return len(rows[0]) == 2 if rows else model.pairs
    if rows and (len(rows[0]) == 2) != pairs:
        raise ExportError(
            f"Expected samples that are {'pairs of texts' if pairs else 'texts'}. Received: the other kind."
        )
    return pairs


class _Served(tf.Module):
    """The variables and functions of a task, without the Keras model around them.

    A SavedModel of a Keras 3 model holds its variables twice, and the graph loader restores only one of them; so only
    the variables themselves are tracked.
    """

    def __init__(self, model: Task, forward: ForwardPass, signatures: Mapping[str, Signature]) -> None:
        super().__init__()
        if forward.graph is None:
            self.variables_served = [variable.value for variable in model.variables]
        else:
            self.graph = forward.graph
        self.tokenizer = model.preprocessor.graph_tokenizer
        self.functions = {name: _bound(signature) for name, signature in signatures.items()}


def _bound(signature: Signature) -> Any:
    def run(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return signature.function(**inputs)

    return tf.function(run, autograph=False).get_concrete_function(**signature.inputs)


def write_saved_model(model: Task, forward: ForwardPass, signatures: Mapping[str, Signature], folder: Path) -> None:
    """Write a task as a SavedModel, without proof, contract and warm-up: `export` adds them.

    Raises:
        SignatureMismatch: the outputs are not those that the signatures say.
    """
    served = _Served(model, forward, signatures)
    tf.saved_model.save(served, str(folder), signatures=dict(served.functions))
    _name_methods(folder, signatures)
    if forward.graph is not None:
        forward.graph.constants.write_into(folder)
    for name, signature in signatures.items():
        outputs = served.functions[name].structured_outputs
        wrong = {
            key: outputs.get(key)
            for key, spec in signature.outputs.items()
            if key not in outputs
            or outputs[key].dtype != spec.dtype
            or not spec.shape.is_compatible_with(outputs[key].shape)
        }
        if wrong or outputs.keys() != signature.outputs.keys():
            raise SignatureMismatch(
                f"Expected outputs {_specs(signature.outputs)} of signature '{name}'. Received: {_specs(outputs)}."
            )


def _name_methods(folder: Path, signatures: Mapping[str, Signature]) -> None:
    """Give the signatures in the file the method names by which TensorFlow Serving knows them."""
    file = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for name, signature in signatures.items():
        saved.meta_graphs[0].signature_def[name].method_name = signature.method
    file.write_bytes(saved.SerializeToString(deterministic=True))
    (folder / "fingerprint.pb").unlink(missing_ok=True)  # of the file as it was


def _require_exportable(model: Task) -> None:
    if not model.preprocessor.cleaner.exportable:
        raise ExportError(
            "Expected cleaning that runs inside the graph. Received: a TextCleaner with "
            f"stem='{model.preprocessor.cleaner.stem}', which runs in Python. Train without stem to export."
        )


def _described(signature: Signature) -> dict[str, Any]:
    return {"method": signature.method, "inputs": _specs(signature.inputs), "outputs": _specs(signature.outputs)}


def _specs(specs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"dtype": spec.dtype.name, "shape": list(spec.shape)} for name, spec in sorted(specs.items())}
