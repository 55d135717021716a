"""A corpus as token ids on disk, of which rows are read in an order of its own for each pass: the `TokenStore`."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.data.corpus import Corpus
from tfllm.errors import EmptyDataset

_CHARACTERS_A_BATCH = 1 << 19
_DTYPE = np.dtype("<i4")
_ROUNDS = 4
_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class TokenStore:
    """Token ids of all documents, one after the other, in one file.

    Attributes:
        file: the ids, int32, little endian.
        tokens: how many there are.
        row_length: the ids of a row.
    """

    file: Path
    tokens: int
    row_length: int

    @property
    def rows(self) -> int:
        """How many rows there are; ids that do not fill one are left out."""
        return self.tokens // self.row_length

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return rows by their numbers, int32 `(rows, row_length)`; nothing else is held in memory."""
        found = np.empty((len(rows), self.row_length), np.int32)
        with self.file.open("rb") as stream:
            for place, row in enumerate(rows.tolist()):
                stream.seek(row * self.row_length * _DTYPE.itemsize)
                found[place] = np.frombuffer(stream.read(self.row_length * _DTYPE.itemsize), _DTYPE)
        return found

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Yield all ids in their order, int32, `size` at a time; the last block may have fewer."""
        with self.file.open("rb") as stream:
            while data := stream.read(size * _DTYPE.itemsize):
                yield np.frombuffer(data, _DTYPE)


def shuffled(numbers: np.ndarray, size: int, seed: int, pass_number: int) -> np.ndarray:
    """Return where numbers come in a random order of `range(size)`, which is never made as a whole.

    A Feistel network over the next power of four is a permutation of it; a number that falls out of the range is sent
    through again until it falls within (Black and Rogaway, 2002, "Ciphers with arbitrary finite domains", section 4).

    Args:
        numbers: int `(n,)`, each of 0 to under `size`.
        size: how many numbers there are.
        seed: with `pass_number`, fixes the order.
        pass_number: which pass over the numbers it is.

    Example:
        >>> sorted(shuffled(np.arange(5), 5, seed=0, pass_number=1).tolist())
        [0, 1, 2, 3, 4]
    """
    half = max((int(size - 1).bit_length() + 1) // 2, 1)
    mask = np.uint64((1 << half) - 1)
    keys = np.random.default_rng([seed, pass_number]).integers(1 << 63, size=_ROUNDS, dtype=np.uint64)
    found = numbers.astype(np.uint64)
    outside = np.ones(len(found), bool)
    while outside.any():
        left, right = found[outside] >> np.uint64(half), found[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right + key) & mask)
        found[outside] = (left << np.uint64(half)) | right
        outside = found >= size
    return found.astype(np.int64)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Mix the bits of numbers, as SplitMix64 does (Steele et al., 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def write_stores(
    folder: Path,
    corpus: Corpus,
    tokenize: Callable[[tf.Tensor], tf.RaggedTensor],
    *,
    identity: dict[str, Any],
    separator: int,
    row_length: int,
    held_out: float = 0.0,
    writes: bool = True,
) -> tuple[TokenStore, TokenStore]:
    """Tokenize a corpus into a folder, or take what is there already.

    Args:
        folder: where to; made if it is not there.
        corpus: the documents.
        tokenize: string `(batch,)` -> ids `(batch, (tokens))`.
        identity: what the ids depend on; with another identity they are written anew.
        separator: the id that is put after each document.
        row_length: the ids of a row.
        held_out: the share of pieces to keep apart, evenly spread over the corpus.
        writes: whether this process writes; another one waits until the first worker has written.

    Returns:
        The store to train on, and the one held out.

    Raises:
        EmptyDataset: there is not one row to train on, or, with `held_out`, none held out.
        DataError: the corpus cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "corpus.json"
    while (known := _read_note(note)) is None or known["identity"] != identity:
        if writes:
            counts = _write(folder, corpus, tokenize, separator, held_out)
            partial = folder / ".corpus.json.partial"
            partial.write_text(json.dumps({"identity": identity, "tokens": counts}) + "\n", "utf-8")
            partial.replace(note)
        else:
            time.sleep(_WAIT_SECONDS)
    stores = [TokenStore(folder / f"{n}.ids", known["tokens"][n], row_length) for n in ("training", "held_out")]
    wanted = stores if held_out else stores[:1]
    if any(store.rows == 0 for store in wanted):
        raise EmptyDataset(
            f"Expected at least one row of {row_length} tokens{' on each side' if held_out else ''} in the corpus. "
            f"Received: {' and '.join(str(store.tokens) for store in wanted)} tokens. Give more text, or a shorter "
            "max_length of the model."
        )
    return stores[0], stores[1]


def _read_note(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _write(
    folder: Path, corpus: Corpus, tokenize: Callable[[tf.Tensor], tf.RaggedTensor], separator: int, held_out: float
) -> dict[str, int]:
    names = ("training", "held_out")
    counts = dict.fromkeys(names, 0)
    with (folder / "training.ids").open("wb") as training, (folder / "held_out.ids").open("wb") as apart:
        streams = dict(zip(names, (training, apart), strict=True))
        for pieces, ends in _batches(corpus):
            ids = tokenize(tf.constant(list(pieces.values()), tf.string))
            splits, flat = ids.row_splits.numpy(), ids.flat_values.numpy()
            for place, number in enumerate(pieces):
                part = flat[splits[place] : splits[place + 1]]
                if ends[place]:
                    part = np.append(part, separator)
                # The piece at which another whole piece is due.
                name = names[int((number + 1) * held_out) > int(number * held_out)]
                streams[name].write(part.astype(_DTYPE).tobytes())
                counts[name] += len(part)
    return counts


def _batches(corpus: Corpus) -> Iterator[tuple[dict[int, str], list[bool]]]:
    """Yield pieces by their numbers, and whether each ends its document, some 500,000 characters at a time."""
    pieces: dict[int, str] = {}
    ends: list[bool] = []
    size = number = 0
    for document in corpus:
        for piece in document:
            pieces[number], size, number = piece, size + len(piece), number + 1
            ends.append(False)
            if size >= _CHARACTERS_A_BATCH:
                last = pieces.popitem()
                if pieces:
                    yield pieces, ends[:-1]
                pieces, ends, size = dict([last]), [False], len(last[1])
        if ends:
            ends[-1] = True
    if pieces:
        yield pieces, ends
