"""A search index on disk: `<path>/<version>/`, written whole or not at all.

index.json        format, kind, documents, size of the vectors
documents.jsonl   id and text of each document, in the order of the vectors
probes.npy        vectors of fixed texts, by which the encoder is known again
vectors.npy, or vectors.faiss
"""

import json
import os
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tfllm import repository
from tfllm.errors import ConfigError, DataError, RepositoryError
from tfllm.repository_paths import local_folder
from tfllm.search.encoders import Encoder
from tfllm.search.vectors import Floats, Vectors

FORMAT = 1

_PROBES = (
    "The parcel has not arrived yet.",
    "How do I change my password?",
    "A quiet village by the sea, seen from above.",
    "42 kg of flour, 7 eggs & a pinch of salt!",
)
_PROBE_TOLERANCE = 0.02
"""How far two vectors of one text may be apart: rounding on other machines and in bfloat16 is under it."""


@dataclass(frozen=True)
class Header:
    """What an index on disk is.

    Attributes:
        format: the number of the format.
        kind: the kind of index.
        documents: how many documents.
        dim: the size of a vector.
    """

    format: int
    kind: str
    documents: int
    dim: int


def write(
    path: str | os.PathLike[str], kind: str, documents: Sequence[tuple[str, str]], vectors: Vectors, encoder: Encoder
) -> repository.ModelVersion:
    """Write an index as the next version under a folder.

    Raises:
        RepositoryError: the folder cannot be written.
    """
    probes = _probe(encoder)
    with repository.publish(path) as publication:
        folder = publication.folder
        vectors.write(folder)
        np.save(folder / "probes.npy", probes, allow_pickle=False)
        with (folder / "documents.jsonl").open("w", encoding="utf-8") as stream:
            for name, text in documents:
                stream.write(json.dumps([name, text]) + "\n")  # ASCII: keeps even lone surrogates
        header = Header(FORMAT, kind, len(documents), probes.shape[1])
        (folder / "index.json").write_text(json.dumps(asdict(header)) + "\n", "utf-8")
    if publication.published is None:
        raise RepositoryError(f"Expected the index to be published under '{path}'. It was not.")
    return publication.published


def folder_of(path: str | os.PathLike[str], version: int | None) -> Path:
    """Return the folder of a version; see `repository.find_version`."""
    return repository.find_version(local_folder(path), version).path


def read_header(folder: Path, kinds: Container[str]) -> Header:
    """Return what an index is.

    Raises:
        DataError: it is none, is damaged, or of a newer format.
    """
    try:
        header = Header(**json.loads((folder / "index.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"Expected what SearchIndex.save wrote in '{folder}'. Received: {error}.") from error
    if header.format != FORMAT or header.kind not in kinds:
        raise DataError(
            f"Expected an index of format {FORMAT} in '{folder}'. Received: format {header.format}, kind "
            f"'{header.kind}'. Load it with the version of tfllm that wrote it, or make it anew."
        )
    return header


def check_encoder(folder: Path, encoder: Encoder) -> None:
    """Raise `ConfigError` unless an encoder gives the vectors that the index was made with."""
    stored, probes = _load(folder / "probes.npy"), _probe(encoder)
    if stored.shape != probes.shape:
        what = f"vectors of {probes.shape[1]} numbers instead of {stored.shape[1]}"
    elif np.abs(stored - probes).max() > _PROBE_TOLERANCE:
        what = f"other vectors for the same texts (up to {np.abs(stored - probes).max():.3f} apart)"
    else:
        return
    raise ConfigError(
        f"Expected the encoder that the index in '{folder}' was made with. Received: one that gives {what}. "
        "Load it with its own encoder, or make the index anew."
    )


def read_documents(folder: Path, header: Header) -> dict[str, str]:
    """Return id -> text.

    Raises:
        DataError: the file is damaged.
    """
    try:
        with (folder / "documents.jsonl").open(encoding="utf-8") as stream:
            documents = dict(json.loads(line) for line in stream)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"Expected documents in '{folder}'. Received: {error}.") from error
    if len(documents) != header.documents:
        raise DataError(f"Expected {header.documents} documents in '{folder}'. Received: {len(documents)}.")
    return documents


def read_vectors(folder: Path, header: Header, vectors: Vectors) -> None:
    """Read the vectors of an index into an empty one.

    Raises:
        DataError: the file is damaged.
    """
    try:
        vectors.read(folder)
    except (OSError, ValueError, EOFError, RuntimeError) as error:  # faiss raises RuntimeError
        raise DataError(f"Expected vectors in '{folder}'. Received: {error}.") from error
    if len(vectors) != header.documents:
        raise DataError(f"Expected {header.documents} vectors in '{folder}'. Received: {len(vectors)}.")


def _probe(encoder: Encoder) -> Floats:
    both = [encoder.encode(_PROBES, kind) for kind in ("document", "query")]
    return np.asarray(np.concatenate(both), np.float32)


def _load(file: Path) -> Floats:
    try:
        return np.asarray(np.load(file, allow_pickle=False), np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"Expected vectors at '{file}'. Received: {error}.") from error
