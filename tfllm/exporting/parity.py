"""Prove that an exported model answers as the model in Keras does."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfllm.errors import ParityError
from tfllm.exporting.reload import LOADERS, Arrays, Request, run_in_fresh_process
from tfllm.tasks.base import Signature, Task

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

_TIE = 1e-5
_ALONE = 8
"""How many samples are asked one at a time, beside the odd texts."""

_SAMPLE_TEXTS: tuple[bytes, ...] = (
    b"Great, thank you!",
    b"It stopped working on the second day, and nobody answers the phone.",
    b"I am not sure what to make of this. The first half was slow and the second half, though livelier, left me with "
    b"more questions than answers; still, I would see it again with a friend who likes that sort of thing.",
)


def check_parity(
    task: Task, folder: Path, samples: Sequence[tuple[bytes, ...]], *, pairs: bool, tolerance: float
) -> dict[str, float]:
    """Compare the task with its SavedModel, reloaded in a fresh process by both loaders.

    Texts are compared in one batch, and some one at a time, so that an answer that depends on its neighbours shows too.

    Args:
        task: the task in Keras.
        folder: the SavedModel.
        samples: real texts (or pairs) beside the odd ones; some of the module's own where there are none.
        pairs: whether the signature takes pairs.
        tolerance: the largest difference allowed.

    Returns:
        loader name -> the largest difference of any number that was seen.

    Raises:
        ParityError: a difference is over the tolerance, or a shape or name differs.
    """
    requests = _requests(task, samples, pairs)
    signatures = task.signatures(pairs=pairs)
    expected = [_in_keras(signatures[signature], inputs) for signature, inputs in requests]
    answers = run_in_fresh_process(folder, requests)
    differences = {}
    for loader in LOADERS:
        differences[loader] = 0.0
        for request, want, got in zip(requests, expected, answers[loader], strict=True):
            difference = _largest_difference(want, got)
            differences[loader] = max(differences[loader], difference)
            if not difference <= tolerance:
                raise ParityError(
                    f"Expected the exported model to differ by at most {tolerance:g} from Keras. "
                    f"Received: {difference:g} through the {loader} loader, for {_shown(request)}. "
                    "Nothing was published."
                )
    return differences


def golden_requests(task: Task, samples: Sequence[tuple[bytes, ...]], *, pairs: bool) -> list[dict[str, object]]:
    """Return a few requests with their answers, as plain data: anyone can ask them again, of any server."""
    golden = []
    for row in _rows(samples, pairs)[:3]:
        outputs = task.answer(*(tf.constant([text]) for text in row))
        answer = {name: _plain(value.numpy()[0]) for name, value in outputs.items()}
        golden.append({"request": [text.decode("utf-8", "replace") for text in row], "answer": answer})
    return golden


def _requests(task: Task, samples: Sequence[tuple[bytes, ...]], pairs: bool) -> list[Request]:
    """All rows as one batch, each odd row and a few samples alone, and the tokens of all rows."""
    odd = [(text, text[::-1] if text.isascii() else text) if pairs else (text,) for text in ODD_TEXTS]
    rows = [*odd, *_rows(samples, pairs)]
    names = task.input_names(pairs=pairs)
    batches = [rows, *([row] for row in rows[: len(odd) + _ALONE])]
    texts = [{name: _texts(row[i] for row in batch) for i, name in enumerate(names)} for batch in batches]
    tokens = task.preprocess(*map(tf.constant, texts[0].values()))
    return [
        *(("serving_default", inputs) for inputs in texts),
        ("tokens", {name: value.numpy() for name, value in tokens.items()}),
    ]


def _texts(texts: Iterable[bytes]) -> np.ndarray:
    return np.array([*texts, None], dtype=object)[:-1]  # an object array, since a bytes array drops trailing NULs


def _in_keras(signature: Signature, inputs: Arrays) -> Arrays:
    outputs = signature.function(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def _rows(samples: Sequence[tuple[bytes, ...]], pairs: bool) -> list[tuple[bytes, ...]]:
    if samples:
        return list(samples)
    return [(text, _SAMPLE_TEXTS[0]) if pairs else (text,) for text in _SAMPLE_TEXTS]


def _largest_difference(want: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> float:
    if want.keys() != got.keys() or any(want[name].shape != got[name].shape for name in want):
        return float("inf")
    numbers = [name for name in want if np.issubdtype(want[name].dtype, np.number)]
    differences = [np.max(np.abs(want[name] - got[name]), initial=0.0) for name in numbers]
    words = [name for name in want if name not in numbers]
    if any((want[name] != got[name]).any() for name in words) and not _has_ties(want):
        return float("inf")
    return float(np.max(differences, initial=0.0))


def _has_ties(answers: Mapping[str, np.ndarray]) -> bool:
    """Whether the two best scores of a row are so close that rounding may choose between them."""
    scores = answers.get("scores")
    if scores is None or scores.ndim != 2:
        return False
    best = np.sort(scores, axis=1)[:, -2:]
    return bool((best[:, 1] - best[:, 0] < _TIE).any())


def _shown(request: Request) -> str:
    signature, inputs = request
    first = next(iter(inputs.values()))
    what = f"a batch of {len(first)}" if len(first) > 1 else repr(first[0][:40])
    return f"signature '{signature}', {what}"


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
