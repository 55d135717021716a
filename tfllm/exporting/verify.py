"""Repeat an export's proof on any host: ask the golden requests of the contract, and compare the answers."""

import base64
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfllm import repository
from tfllm.errors import ExportError, ParityError
from tfllm.exporting.reload import LOADERS, Arrays, Request, run_in_fresh_process

_MOST_NUMBERS = 10_000  # of a golden answer: the scores of all words of a vocabulary would make a contract of megabytes
_SHOWN = 300

Answer = Callable[[Arrays, str], Mapping[str, np.ndarray]]
"""Inputs by name, and a signature -> outputs by name: a served model."""


def verify(folder: str | os.PathLike[str]) -> dict[str, float]:
    """Load a version by both loaders in a fresh process and ask its golden requests, of each signature.

    Those of the default signature are asked one by one and as one batch.

    Args:
        folder: the version's folder.

    Returns:
        loader name -> the largest difference from the answers in the contract.

    Raises:
        ExportError: the folder has no contract, or the SavedModel does not load or run.
        ParityError: an answer differs.
    """
    golden = _Golden(read_contract(folder))
    answers = run_in_fresh_process(Path(folder), golden.requests)
    return {loader: golden.compare(answers[loader], f"the {loader} loader") for loader in LOADERS}


def verify_answers(folder: str | os.PathLike[str], answer: Answer, who: str) -> float:
    """Ask the golden requests of a version of anyone who answers for it, such as a running server, as `verify` does.

    Args:
        folder: the version's folder.
        answer: asks a signature of the model.
        who: who answers, for the error message.

    Returns:
        the largest difference from the answers in the contract.

    Raises:
        ExportError: the folder has no contract.
        ParityError: an answer differs.
    """
    golden = _Golden(read_contract(folder))
    return golden.compare([answer(inputs, signature) for signature, inputs in golden.requests], who)


def read_contract(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the contract of a version.

    Raises:
        ExportError: there is none, or none that can be read.
    """
    file = Path(folder) / repository.CONTRACT_FILE
    try:
        contract: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"Expected the contract of an exported version. Received: '{file}': {error}") from error
    return contract


def golden_signatures(requests: Sequence[Request], answers: Sequence[Arrays]) -> list[dict[str, Any]]:
    """Return requests of any signatures and their answers as plain data, for a contract; long answers are left out.

    Bytes that go in are `{"b64": ...}`, as in TensorFlow Serving's JSON: rows of `tf.Example` are not text.
    """
    return [
        {
            "signature": signature,
            "request": {name: _encoded(values) for name, values in inputs.items()},
            "answer": {name: plain(found) for name, found in answer.items()},
        }
        for (signature, inputs), answer in zip(requests, answers, strict=True)
        if sum(found.size for found in answer.values()) <= _MOST_NUMBERS
    ]


class _Golden:
    """The golden requests of a contract: each alone, and all of them as one batch, the last one first.

    So an answer that depends on its neighbours shows too. Then one of each other signature.
    """

    def __init__(self, contract: Mapping[str, Any]) -> None:
        self._tolerance = contract["parity"]["tolerance"]
        self._scale = contract["parity"].get("scale", 1.0)
        self._rows = [[golden] for golden in contract["golden"]]
        if len(self._rows) > 1:
            self._rows.append(contract["golden"][::-1])
        self._signatures = contract.get("golden_signatures", [])
        names = contract["input_names"]
        self.requests: list[Request] = [
            (
                "serving_default",
                {
                    name: text_array(golden["request"][place].encode() for golden in rows)
                    for place, name in enumerate(names)
                },
            )
            for rows in self._rows
        ]
        for golden in self._signatures:
            taken = contract["signatures"][golden["signature"]]["inputs"]
            asked = {name: _decoded(values, taken[name]["dtype"]) for name, values in golden["request"].items()}
            self.requests.append((golden["signature"], asked))

    def compare(self, answers: Sequence[Mapping[str, np.ndarray]], who: str) -> float:
        """Return the largest difference of answers, one for each of `requests`, from those in the contract.

        Raises:
            ParityError: one is over the tolerance.
        """
        largest = 0.0
        for rows, got in zip(self._rows, answers, strict=False):
            for place, golden in enumerate(rows):
                for name, value in golden["answer"].items():
                    found = got.get(name)
                    row = None if found is None or len(found) != len(rows) else found[place]
                    asked, where = f"for {golden['request']!r}", f"{who}, in a batch of {len(rows)}"
                    difference = self._difference("serving_default", name, value, row, asked, where)
                    largest = max(largest, difference)
        for golden, got in zip(self._signatures, answers[len(self._rows) :], strict=True):
            signature = golden["signature"]
            for name, value in golden["answer"].items():
                asked = f"of signature '{signature}'"
                largest = max(largest, self._difference(signature, name, value, got.get(name), asked, who))
        return largest

    def _difference(self, signature: str, name: str, value: Any, found: Any, asked: str, who: str) -> float:
        difference = row_difference(value, found) / scale_of(signature, name, value, self._scale)
        if not difference <= self._tolerance:
            raise ParityError(
                f"Expected {name}={_short(value)} {asked}, within {self._tolerance:g}. "
                f"Received from {who}: {_short(found)}. The model or its host is not the one that was proved."
            )
        return difference


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."


def _encoded(values: np.ndarray) -> list[Any]:
    if values.dtype != object:
        return values.tolist()
    return [{"b64": base64.b64encode(value).decode("ascii")} for value in values]


def _decoded(values: Sequence[Any], dtype: str) -> np.ndarray:
    if dtype != "string":
        return np.array(values, dtype)
    return text_array(base64.b64decode(value["b64"]) for value in values)


def plain(value: object) -> object:
    """Return a number, a text, or an array of them as plain data."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value


def text_array(texts: Iterable[bytes]) -> np.ndarray:
    """Return texts as an object array `(batch,)`: a bytes array drops trailing NULs."""
    return np.array([*texts, None], object)[:-1]


def scale_of(signature: str, name: str, expected: Any, answer_scale: float) -> float:
    """Return what counts as a difference of 1 in an output: large logits count by their size.

    Args:
        signature: the signature.
        name: the output's name.
        expected: its numbers; read for `tokens` alone.
        answer_scale: what counts as 1 in the units of the training rows.
    """
    if signature == "tokens":
        return max(1.0, float(np.abs(np.asarray(expected, "float64")).max(initial=0.0)))
    return answer_scale if name in ("value", "outputs") else 1.0


def row_difference(value: Any, row: Any) -> float:
    """Return how far a row's answer is from the plain value in the contract.

    A list of a batch is as long as the longest one, so what is missing at the end of either is empty, or 0.
    """
    if row is None:
        return float("inf")
    got = np.asarray(row, object if isinstance(row, str | bytes) else None)
    want = np.asarray(value)
    if (want.dtype.kind in "US") != (got.dtype == object) and want.size:
        return float("inf")
    want = want.astype(got.dtype if got.dtype == object else "float64")
    if want.size == 0:
        want = want.reshape((0,) * got.ndim)  # JSON has no shape for a list of nothing
    if want.ndim != got.ndim:
        return float("inf")
    if want.shape != got.shape:
        shape = np.maximum(want.shape, got.shape)
        want, got = filled(want, shape), filled(got, shape)
    if got.dtype == object:
        return 0.0 if [*map(_text, want.flat)] == [*map(_text, got.flat)] else float("inf")
    return float(np.max(np.abs(want - got), initial=0.0))


def filled(values: np.ndarray, shape: Iterable[int]) -> np.ndarray:
    """Return values in a larger shape, with what a batch has where one of its rows has fewer: empty texts, or 0."""
    ends = [(0, int(size) - have) for size, have in zip(shape, values.shape, strict=True)]
    return np.pad(values, ends, constant_values=b"" if values.dtype == object else 0)


def _text(item: Any) -> Any:
    return item.decode("utf-8") if isinstance(item, bytes) else item
