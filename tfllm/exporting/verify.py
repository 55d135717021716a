"""Repeat an export's proof on any host: ask the golden requests of the contract, and compare the answers."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfllm import repository
from tfllm.errors import ExportError, ParityError
from tfllm.exporting.reload import LOADERS, Arrays, run_in_fresh_process

Answer = Callable[[Arrays], Mapping[str, np.ndarray]]
"""Inputs by name -> outputs by name: a served model."""


def verify(folder: str | os.PathLike[str]) -> dict[str, float]:
    """Load a version by both loaders in a fresh process and ask its golden requests.

    Args:
        folder: the version's folder.

    Returns:
        loader name -> the largest difference from the answers in the contract.

    Raises:
        ExportError: the folder has no contract, or the SavedModel does not load or run.
        ParityError: an answer differs.
    """
    contract = read_contract(folder)
    asked = _golden(contract)
    answers = run_in_fresh_process(Path(folder), [("serving_default", inputs) for inputs, _ in asked])
    return {loader: _compare(contract, asked, answers[loader], f"the {loader} loader") for loader in LOADERS}


def verify_answers(folder: str | os.PathLike[str], answer: Answer, who: str) -> float:
    """Ask the golden requests of a version of anyone who answers for it, such as a running server.

    Args:
        folder: the version's folder.
        answer: asks the model's default signature.
        who: who answers, for the error message.

    Returns:
        the largest difference from the answers in the contract.

    Raises:
        ExportError: the folder has no contract.
        ParityError: an answer differs.
    """
    contract = read_contract(folder)
    asked = _golden(contract)
    return _compare(contract, asked, [answer(inputs) for inputs, _ in asked], who)


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


def _golden(contract: Mapping[str, Any]) -> list[tuple[Arrays, dict[str, Any]]]:
    names = contract["input_names"]
    return [
        ({name: np.array([text.encode()], object) for name, text in zip(names, golden["request"], strict=True)}, golden)
        for golden in contract["golden"]
    ]


def _compare(contract: Mapping[str, Any], asked: list, answers: Sequence[Mapping[str, np.ndarray]], who: str) -> float:
    tolerance = contract["parity"]["tolerance"]
    largest = 0.0
    for (_, golden), got in zip(asked, answers, strict=True):
        for name, value in golden["answer"].items():
            difference = _difference(value, got.get(name))
            largest = max(largest, difference)
            if not difference <= tolerance:
                raise ParityError(
                    f"Expected {name}={value!r} for {golden['request']!r}, within {tolerance:g}. "
                    f"Received from {who}: {got.get(name)!r}. The model or its host is not the one that was proved."
                )
    return largest


def _difference(value: Any, got: np.ndarray | None) -> float:
    if got is None:
        return float("inf")
    want = np.asarray(value)
    row = np.asarray(got)[0]
    if want.shape != np.shape(row):
        return float("inf")
    if want.dtype.kind in "US":
        texts = [text.decode() if isinstance(text, bytes) else text for text in np.ravel(row)]
        return 0.0 if texts == np.ravel(want).tolist() else float("inf")
    return float(np.max(np.abs(want - row), initial=0.0))
