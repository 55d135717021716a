"""The operators that a TensorFlow registers, as data: what a server of that version can run.

    python tfllm/exporting/operators.py > tensorflow-2.20.json
    python tfllm/exporting/operators.py tensorflow-2.17.json tensorflow-2.18.json > tfllm/exporting/operator_lists.json

Run so in the environment of another version (TensorFlow and TensorFlow Text are all that it needs), it writes the list
that `tfllm preflight --operators` compares with; given such lists, it joins them to the file that `--server-version`
reads. TensorFlow Serving links TensorFlow's operators and TensorFlow Text's, of the version whose number it has.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LISTS = Path(__file__).with_name("operator_lists.json")


@dataclass(frozen=True)
class Operators:
    """What one version registers.

    Attributes:
        version: TensorFlow's version.
        text_version: TensorFlow Text's version.
        attributes: operator -> the names of its attributes.
    """

    version: str
    text_version: str
    attributes: dict[str, frozenset[str]]


def installed_operators() -> Operators:
    """Return what the installed TensorFlow and TensorFlow Text register, from their own definitions."""
    import tensorflow as tf
    import tensorflow_text
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    buffer = pywrap_tf_session.TF_GetAllOpList()
    found: Any = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(buffer))
    attributes = {definition.name: frozenset(attr.name for attr in definition.attr) for definition in found.op}
    return Operators(tf.__version__, tensorflow_text.__version__, attributes)


def read_operators(file: Path) -> Operators:
    """Read a list that this module wrote."""
    stored = json.loads(file.read_text("utf-8"))
    attributes = {name: frozenset(names) for name, names in stored["operators"].items()}
    return Operators(stored["tensorflow"], stored["tensorflow_text"], attributes)


def write_operators(operators: Operators) -> str:
    """Return a list as JSON."""
    named = {name: sorted(names) for name, names in sorted(operators.attributes.items())}
    stored = {"tensorflow": operators.version, "tensorflow_text": operators.text_version, "operators": named}
    return json.dumps(stored)


def listed_versions() -> list[str]:
    """Return the versions whose lists come with the project, such as "2.19"."""
    return list(_lists()["versions"])


def listed_operators(version: str) -> Operators:
    """Return what a version registers, from the lists that come with the project.

    Raises:
        ExportError: there is no list of this version.

    Example:
        >>> "MatMul" in listed_operators("2.19").attributes
        True
    """
    lists = _lists()
    if version not in lists["versions"]:
        from tfllm.errors import ExportError

        raise ExportError(
            f"Expected a version of TensorFlow Serving whose operators are listed: {', '.join(lists['versions'])}. "
            f"Received: '{version}'. Write its list with tfllm/exporting/operators.py, and name the file."
        )
    found = lists["versions"][version]
    lacks: dict[str, list[str] | None] = found["lacks"]
    attributes = {
        name: frozenset(names).difference(lacks.get(name) or ())
        for name, names in lists["operators"].items()
        if lacks.get(name, ()) is not None
    }
    return Operators(found["tensorflow"], found["tensorflow_text"], attributes)


def join_lists(lists: Sequence[Operators]) -> str:
    """Return several versions' lists as JSON: all operators, and what each version lacks of them."""
    joined: dict[str, frozenset[str]] = {}
    for operators in lists:
        for name, names in operators.attributes.items():
            joined[name] = joined.get(name, frozenset()) | names
    versions = {}
    for operators in lists:
        lacks = {
            name: sorted(names - operators.attributes[name]) if name in operators.attributes else None
            for name, names in sorted(joined.items())
            if operators.attributes.get(name) != names
        }
        versions[operators.version.rpartition(".")[0]] = {
            "tensorflow": operators.version,
            "tensorflow_text": operators.text_version,
            "lacks": lacks,
        }
    named = {name: sorted(names) for name, names in sorted(joined.items())}
    return json.dumps({"versions": versions, "operators": named}, separators=(",", ":"))


def _lists() -> dict[str, Any]:
    lists: dict[str, Any] = json.loads(_LISTS.read_text("utf-8"))
    return lists


if __name__ == "__main__":
    files = [Path(name) for name in sys.argv[1:]]
    print(join_lists([read_operators(file) for file in files]) if files else write_operators(installed_operators()))
