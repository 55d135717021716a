"""The operators that a TensorFlow registers, as data: what a server of that version can run.

    python tfllm/exporting/operators.py > tensorflow-2.20.json

Run so in the environment of another version (TensorFlow and TensorFlow Text are all that it needs), it writes the list
that `tfllm preflight --operators` compares with. TensorFlow Serving links TensorFlow's operators and TensorFlow Text's.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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


if __name__ == "__main__":
    print(write_operators(installed_operators()))
