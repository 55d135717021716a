"""Prove that an exported model answers as the model in Keras does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.errors import ParityError
from tfllm.exporting.comparison import compare
from tfllm.exporting.reload import LOADERS, Arrays, Request, run_in_fresh_process
from tfllm.exporting.verify import golden_signatures, plain, row_difference, scale_of, text_array
from tfllm.tasks.base import Task
from tfllm.tasks.signature import EXAMPLES, Signature
from tfllm.wire import messages
from tfllm.wire.examples import fill_input

ODD_TEXTS: tuple[bytes, ...] = (
    b"",
    b" ",
    b"a" * 10_000,
    "😀 👩‍👩‍👧 ok".encode(),
    "日本語のテスト".encode(),
    "שלום עולם".encode(),
    "مرحبا بالعالم".encode(),
    "e\u0301\u0301 café Ünïcode".encode(),
    b"zero\x00byte",
    b"not utf-8: \xff\xfe \xc3(",
    b"tab\tand\r\nline\xe2\x80\xa8end",
    b"<b>&amp;</b> https://example.org/?q=1 [SEP] [MASK]",
)
"""Texts that a served model must survive, each of them in every proof."""

TOLERANCES = {"float32": 1e-4, "bfloat16": 1e-2, "float16": 1e-2}
"""Precision -> the largest difference from Keras that is allowed."""

_BATCHES = 2
"""Requests of several rows; the rest are asked one at a time."""

_BATCH = 64
_ALONE = 8
"""How many samples are asked one at a time, beside the odd texts."""

_SAMPLE_TEXTS: tuple[bytes, ...] = (
    b"Great, thank you!",
    b"It stopped working on the second day, and nobody answers the phone.",
    b"I am not sure what to make of this. The first half was slow and the second half, though livelier, left me with "
    b"more questions than answers; still, I would see it again with a friend who likes that sort of thing.",
)


@dataclass(frozen=True)
class Proof:
    """What the comparison of a task with its SavedModel found.

    Attributes:
        report: `largest_difference`: loader name -> the largest difference of any number that was seen;
            `largest_difference_in_batches`: likewise, of a row alone from the same row in a batch; `same_words`: the
            fraction of rows that were decided alike, over all requests and both loaders; `scale`: numbers in the units
            of the training rows were divided by it.
        golden: a few requests with the answers of the SavedModel, as plain data: anyone can ask them again, of any
            server.
        golden_signatures: one request for each signature but the default one, likewise, unless its answer is long.
    """

    report: dict[str, Any]
    golden: list[dict[str, Any]]
    golden_signatures: list[dict[str, Any]]

    def described(self, tolerance: float) -> dict[str, Any]:
        """Return the proof as a contract has it."""
        parity = {"tolerance": tolerance, **self.report}
        return {"parity": parity, "golden": self.golden, "golden_signatures": self.golden_signatures}


def check_parity(
    task: Task,
    folder: Path,
    samples: Sequence[tuple[bytes, ...]],
    *,
    pairs: bool,
    tolerance: float,
    run_too: Sequence[Request] = (),
) -> Proof:
    """Compare the task with its SavedModel, reloaded in a fresh process by both loaders.

    Texts are compared in one batch, in a batch of 64 or more in another order, and some one at a time; `compare` says
    what is equal. Those that were asked alone are compared with themselves in the batches too, so that an answer that
    depends on its neighbours shows.

    Args:
        task: the task in Keras.
        folder: the SavedModel.
        samples: real texts (or pairs) beside the odd ones; some of the module's own where there are none.
        pairs: whether the signature takes pairs.
        tolerance: the largest difference allowed.
        run_too: further requests that have to run, whatever the answer.

    Raises:
        ParityError: a difference is over the tolerance, a shape or name differs, or a row is decided otherwise though
            its numbers leave no doubt, from Keras or from the same row in a batch.
    """
    signatures = task.signatures(pairs=pairs)
    requests = _requests(task, samples, pairs, signatures)
    expected = [_in_keras(signatures[signature], inputs) for signature, inputs in requests]
    answers = run_in_fresh_process(folder, [*requests, *run_too])
    differences, same = dict.fromkeys(LOADERS, 0.0), []
    for loader in LOADERS:
        for request, want, got in zip(requests, expected, answers[loader], strict=False):
            found = compare(task, request, want, got, tolerance)
            differences[loader] = max(differences[loader], found.difference)
            same.append(found.same)
            if not found.difference <= tolerance or found.wrong:
                raise ParityError(
                    f"Expected the exported model to differ by at most {tolerance:g} from Keras. "
                    f"Received: {found.difference:g} and {found.wrong} other labels through the {loader} loader, "
                    f"for {_shown(request)}. Nothing was published."
                )
    in_batches = {
        loader: _require_alone_as_in_batches(task, requests, answers[loader], tolerance, loader) for loader in LOADERS
    }
    report = {
        "largest_difference": differences,
        "largest_difference_in_batches": in_batches,
        "same_words": float(np.mean(np.concatenate(same))),
    }
    golden = _golden(len(real_rows(samples, pairs)), requests, answers[LOADERS[-1]], tolerance, task.answer_scale)
    alone = slice(len(requests) - len(signatures) + 1, len(requests))
    others = golden_signatures(requests[alone], answers[LOADERS[-1]][alone])
    return Proof({**report, "scale": task.answer_scale}, golden, others if golden else [])


def _require_alone_as_in_batches(
    task: Task, requests: Sequence[Request], answers: Sequence[Arrays], tolerance: float, loader: str
) -> float:
    """Return the largest difference of a row that was asked alone from the same row in the two batches.

    Raises:
        ParityError: it is over the tolerance.
    """
    names = list(requests[0][1])
    batches = [list(zip(*(inputs[name] for name in names), strict=True)) for _, inputs in requests[:_BATCHES]]
    largest = 0.0
    for request, alone in zip(requests[_BATCHES:], answers[_BATCHES:], strict=False):
        if request[0] != "serving_default" or len(request[1][names[0]]) > 1:
            break
        row = tuple(request[1][name][0] for name in names)
        for batch, answer in zip(batches, answers, strict=False):
            place = batch.index(row)
            there = {name: values[place : place + 1] for name, values in answer.items()}
            found = compare(task, request, alone, there, tolerance)
            largest = max(largest, found.difference)
            if not found.difference <= tolerance or found.wrong:
                raise ParityError(
                    f"Expected a row to be answered in a batch as alone, within {tolerance:g}. Received: "
                    f"{found.difference:g} apart in a batch of {len(batch)} through the {loader} loader, for "
                    f"{_shown(request)}. Nothing was published."
                )
    return largest


def _golden(
    rows: int, requests: Sequence[Request], answers: Sequence[Arrays], tolerance: float, scale: float
) -> list[dict[str, Any]]:
    """Return the samples that were asked one at a time, with their answers.

    Without those that rounding decided otherwise in the batch of all rows: a proof of them would not hold elsewhere.
    """
    first, golden = _BATCHES + len(ODD_TEXTS), []
    for sample, answer in enumerate(answers[first : first + min(rows, _ALONE)]):
        answered = {name: plain(values[0]) for name, values in answer.items()}
        in_batch = {name: values[len(ODD_TEXTS) + sample] for name, values in answers[0].items()}
        apart = max(
            row_difference(answered[name], row) / scale_of("serving_default", name, row, scale)
            for name, row in in_batch.items()
        )
        if apart <= tolerance / 2:
            texts = [column[0].decode("utf-8", "replace") for column in requests[first + sample][1].values()]
            golden.append({"request": texts, "answer": answered})
    return golden


def _requests(
    task: Task, samples: Sequence[tuple[bytes, ...]], pairs: bool, signatures: Mapping[str, Signature]
) -> list[Request]:
    """All rows as one batch and in another order, each odd row and a few samples alone.

    Of other signatures all rows, and a sample alone.
    """
    odd = [(text, text[::-1] if text.isascii() else text) if pairs else (text,) for text in ODD_TEXTS]
    rows = [*odd, *real_rows(samples, pairs)]
    names = task.input_names(pairs=pairs)
    order = np.random.default_rng(0).permutation(max(_BATCH, len(rows))) % len(rows)
    batches = [rows, [rows[number] for number in order], *([row] for row in rows[: len(odd) + _ALONE])]
    texts = [{name: text_array(row[i] for row in batch) for i, name in enumerate(names)} for batch in batches]
    others = {name: signature for name, signature in signatures.items() if name != "serving_default"}
    first = texts[_BATCHES + len(odd)]
    return [
        *(("serving_default", inputs) for inputs in texts),
        *((name, request_inputs(task, signature, texts[0])) for name, signature in others.items()),
        *((name, request_inputs(task, signature, first)) for name, signature in others.items()),
    ]


def request_inputs(task: Task, signature: Signature, texts: Arrays) -> Arrays:
    """Return the inputs of a request that asks a signature for the same rows as texts do.

    Args:
        task: the task.
        signature: takes the texts, `tf.Example` rows of them, or their tokens.
        texts: input name -> object array `(batch,)`.
    """
    if signature.inputs.keys() <= texts.keys():
        return {name: texts[name] for name in signature.inputs}
    if signature.inputs.keys() == {EXAMPLES}:
        rows = messages.Input()
        fill_input(rows, (dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)))
        return {EXAMPLES: text_array(row.SerializeToString(deterministic=True) for row in rows.example_list.examples)}
    tokens = task.preprocess(*map(tf.constant, texts.values()))
    return {name: tokens[name].numpy() for name in signature.inputs}


def _in_keras(signature: Signature, inputs: Arrays) -> Arrays:
    outputs = signature.function(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def real_rows(samples: Sequence[tuple[bytes, ...]], pairs: bool) -> list[tuple[bytes, ...]]:
    """Return the samples, or rows of this module's own where there are none."""
    if samples:
        return list(samples)
    return [(text, _SAMPLE_TEXTS[0]) if pairs else (text,) for text in _SAMPLE_TEXTS]


def _shown(request: Request) -> str:
    signature, inputs = request
    first = next(iter(inputs.values()))
    what = f"a batch of {len(first)}" if len(first) > 1 else repr(first[0][:40])
    return f"signature '{signature}', {what}"
