"""Prove that an exported model answers as the model in Keras does."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.errors import ParityError
from tfllm.exporting.reload import LOADERS, Arrays, Request, run_in_fresh_process
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

_BATCH = 64
_ALONE = 8
"""How many samples are asked one at a time, beside the odd texts."""

_SAMPLE_TEXTS: tuple[bytes, ...] = (
    b"Great, thank you!",
    b"It stopped working on the second day, and nobody answers the phone.",
    b"I am not sure what to make of this. The first half was slow and the second half, though livelier, left me with "
    b"more questions than answers; still, I would see it again with a friend who likes that sort of thing.",
)

_TIE = 1e-5
"""Scores that are so close are equal but for rounding."""

_CANDIDATE_TIE = 1e-4
"""The same for the candidates of a mask, as a share of their scores, which may all be small."""


def check_parity(
    task: Task,
    folder: Path,
    samples: Sequence[tuple[bytes, ...]],
    *,
    pairs: bool,
    tolerance: float,
    run_too: Sequence[Request] = (),
) -> dict[str, Any]:
    """Compare the task with its SavedModel, reloaded in a fresh process by both loaders.

    Texts are compared in one batch, in a batch of 64 in another order, and some one at a time, so that an answer that
    depends on its neighbours shows too. The numbers of `tokens` are compared at tokens, not at padding, and by their
    size where they are over 1.

    Args:
        task: the task in Keras.
        folder: the SavedModel.
        samples: real texts (or pairs) beside the odd ones; some of the module's own where there are none.
        pairs: whether the signature takes pairs.
        tolerance: the largest difference allowed.
        run_too: further requests that have to run, whatever the answer.

    Returns:
        `largest_difference`: loader name -> the largest difference of any number that was seen; `same_words`: the
        fraction of rows whose texts (labels) are the same, over all requests and both loaders.

    Raises:
        ParityError: a difference is over the tolerance, or a shape or name differs.
    """
    signatures = task.signatures(pairs=pairs)
    requests = _requests(task, samples, pairs, signatures)
    expected = [_in_keras(signatures[signature], inputs) for signature, inputs in requests]
    answers = run_in_fresh_process(folder, [*requests, *run_too])
    differences = dict.fromkeys(LOADERS, 0.0)
    rows, same = 0, 0
    for loader in LOADERS:
        for request, want, got in zip(requests, expected, answers[loader], strict=False):
            difference = _largest_difference(request, want, got)
            differences[loader] = max(differences[loader], difference)
            equal = _same_words(want, got)
            rows, same = rows + len(equal), same + int(equal.sum())
            clear = ~equal & ~_are_ties(want, tolerance) & ~_tied_spans(want, got) & ~_tied_candidates(want, got)
            if not difference <= tolerance or clear.any():
                raise ParityError(
                    f"Expected the exported model to differ by at most {tolerance:g} from Keras. "
                    f"Received: {difference:g} and {clear.sum()} other labels through the {loader} loader, "
                    f"for {_shown(request)}. Nothing was published."
                )
    return {"largest_difference": differences, "same_words": same / rows}


def golden_requests(task: Task, samples: Sequence[tuple[bytes, ...]], *, pairs: bool) -> list[dict[str, object]]:
    """Return a few requests with their answers, as plain data: anyone can ask them again, of any server."""
    golden = []
    for row in real_rows(samples, pairs)[:8]:
        outputs = task.answer(*(tf.constant([text]) for text in row))
        answer = {name: _plain(value.numpy()[0]) for name, value in outputs.items()}
        golden.append({"request": [text.decode("utf-8", "replace") for text in row], "answer": answer})
    return golden


def _requests(
    task: Task, samples: Sequence[tuple[bytes, ...]], pairs: bool, signatures: Mapping[str, Signature]
) -> list[Request]:
    """All rows as one batch, each odd row and a few samples alone; all rows, or their tokens, of each signature."""
    odd = [(text, text[::-1] if text.isascii() else text) if pairs else (text,) for text in ODD_TEXTS]
    rows = [*odd, *real_rows(samples, pairs)]
    names = task.input_names(pairs=pairs)
    batches = [rows, (rows * _BATCH)[_BATCH - 1 :: -1], *([row] for row in rows[: len(odd) + _ALONE])]
    texts = [{name: _texts(row[i] for row in batch) for i, name in enumerate(names)} for batch in batches]
    others = {name: signature for name, signature in signatures.items() if name != "serving_default"}
    return [
        *(("serving_default", inputs) for inputs in texts),
        *((name, request_inputs(task, signature, texts[0])) for name, signature in others.items()),
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
        return {EXAMPLES: _texts(row.SerializeToString(deterministic=True) for row in rows.example_list.examples)}
    tokens = task.preprocess(*map(tf.constant, texts.values()))
    return {name: tokens[name].numpy() for name in signature.inputs}


def _texts(texts: Iterable[bytes]) -> np.ndarray:
    return np.array([*texts, None], dtype=object)[:-1]  # an object array, since a bytes array drops trailing NULs


def _in_keras(signature: Signature, inputs: Arrays) -> Arrays:
    outputs = signature.function(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def real_rows(samples: Sequence[tuple[bytes, ...]], pairs: bool) -> list[tuple[bytes, ...]]:
    """Return the samples, or rows of this module's own where there are none."""
    if samples:
        return list(samples)
    return [(text, _SAMPLE_TEXTS[0]) if pairs else (text,) for text in _SAMPLE_TEXTS]


def _largest_difference(request: Request, want: Arrays, got: Arrays) -> float:
    if want.keys() != got.keys() or any(want[name].shape != got[name].shape for name in want):
        return float("inf")
    differences = [0.0]
    for name, expected in want.items():
        if not np.issubdtype(expected.dtype, np.number):
            continue
        difference = np.abs(expected.astype("float64") - got[name])
        if name in ("start", "end"):
            difference = difference[~_tied_spans(want, got)]
        if request[0] == "tokens":
            mask = request[1]["padding_mask"]
            if expected.shape[:2] == mask.shape:
                difference = difference * (mask != 0)[(...,) + (np.newaxis,) * (expected.ndim - 2)]
            difference = difference / max(1.0, np.abs(expected).max(initial=0.0))
        differences.append(np.max(difference, initial=0.0))
    return float(np.max(differences))


def _same_words(want: Arrays, got: Arrays) -> np.ndarray:
    """Whether the texts of each row are the same, bool `(batch,)`."""
    same = np.ones(len(next(iter(want.values()))), bool)
    for name, expected in want.items():
        if expected.dtype == object and got.get(name, expected).shape == expected.shape:
            same &= (expected == got[name]).reshape(len(same), -1).all(axis=1)
    return same


def _tied_spans(want: Arrays, got: Arrays) -> np.ndarray:
    """Whether each row's answer stands elsewhere with the same score, as in a text of equal words, bool `(batch,)`."""
    rows = len(next(iter(want.values())))
    if "start" not in want or want["score"].ndim != 1:
        return np.zeros(rows, bool)
    moved = (want["start"] != got["start"]) | (want["end"] != got["end"])
    return moved & (np.abs(want["score"] - got["score"]) <= _TIE)


def _tied_candidates(want: Arrays, got: Arrays) -> np.ndarray:
    """Whether each row's candidates for masks have changed places only where their scores tie, bool `(batch,)`."""
    tokens, scores = want.get("token"), want.get("score")
    if tokens is None or scores is None or got["token"].shape != tokens.shape:
        return np.zeros(len(next(iter(want.values()))), bool)
    other, close = got["token"], -np.diff(scores, axis=-1) <= _CANDIDATE_TIE * scores[..., :-1]  # (batch, masks, k - 1)
    fine = tokens == other
    fine[..., 1:] |= close & (other[..., 1:] == tokens[..., :-1])
    fine[..., :-1] |= close & (other[..., :-1] == tokens[..., 1:])
    fine[..., -1] |= (other[..., -1:] != tokens).all(axis=-1)  # what it ties with was left out
    return fine.reshape(len(tokens), -1).all(axis=1)


def _are_ties(answers: Arrays, tolerance: float) -> np.ndarray:
    """Whether the two best scores of each row are so close that rounding may choose between them, bool `(batch,)`."""
    scores = answers.get("scores")
    if scores is None or scores.ndim != 2 or scores.shape[1] < 2:
        return np.zeros(len(next(iter(answers.values()))), bool)
    best = np.sort(scores, axis=1)[:, -2:]
    return best[:, 1] - best[:, 0] <= max(2 * tolerance, 0.0)


def _shown(request: Request) -> str:
    signature, inputs = request
    first = next(iter(inputs.values()))
    what = f"a batch of {len(first)}" if len(first) > 1 else repr(first[0][:40])
    return f"signature '{signature}', {what}"


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value
