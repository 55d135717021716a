import string
import subprocess
import sys

import keras_hub
import pytest
import tensorflow as tf

from tfllm.data.vocabulary import SPECIAL_TOKENS, read_vocabulary, train_vocabulary
from tfllm.errors import ConfigError, DataError
from tfllm.tasks.tokenizers.word_piece import WordPiece

CORPUS = ["The cats' café was good, the cat said; it was 42 good cats.", "Good food was eaten by good cats."] * 3


def tokens_of(vocabulary, texts, *, lowercase):
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=vocabulary, lowercase=lowercase)
    ids = WordPiece(tokenizer).tokenize(tf.constant(texts)).to_list()
    return [[vocabulary[index] for index in row] for row in ids]


@pytest.mark.parametrize("lowercase", [True, False])
def test_the_tokenizer_of_the_graph_reads_it(tmp_path, lowercase):
    from tokenizers import BertWordPieceTokenizer

    vocabulary = train_vocabulary(CORPUS, tmp_path / "new" / "vocab.txt", vocabulary_size=240, lowercase=lowercase)
    assert read_vocabulary(tmp_path / "new" / "vocab.txt") == vocabulary
    assert vocabulary[:5] == list(SPECIAL_TOKENS)
    assert len(set(vocabulary)) == len(vocabulary) <= 240
    assert {"good", "was"} <= set(vocabulary)
    theirs = BertWordPieceTokenizer(str(tmp_path / "new" / "vocab.txt"), lowercase=lowercase)
    ours = tokens_of(vocabulary, CORPUS, lowercase=lowercase)
    assert ours == [theirs.encode(text, add_special_tokens=False).tokens for text in CORPUS]
    assert not any("[UNK]" in row for row in ours)


@pytest.mark.parametrize("lowercase", [True, False])
def test_ascii_text_has_no_unknown_token(lowercase):
    vocabulary = train_vocabulary(["a few words only"], vocabulary_size=220, lowercase=lowercase)
    texts = [string.printable, "".join(reversed(string.ascii_letters)), "qzxj!qzxj 0a1b_Z"]
    assert not any("[UNK]" in row for row in tokens_of(vocabulary, texts, lowercase=lowercase))
    assert len(vocabulary) <= 220


def test_pieces_come_in_the_order_of_what_they_are_worth():
    vocabulary = train_vocabulary(["aaaa bbbb " * 9, "cccc"], vocabulary_size=250, min_frequency=2)
    assert {"aaaa", "bbbb"} <= set(vocabulary)
    assert "cccc" not in vocabulary


def test_another_process_makes_the_same():
    code = f"from tfllm.data.vocabulary import train_vocabulary; print(train_vocabulary({CORPUS}, vocabulary_size=240))"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert {run.stdout for run in runs} == {f"{train_vocabulary(CORPUS, vocabulary_size=240)}\n"}


def test_what_does_not_fit(tmp_path):
    with pytest.raises(ConfigError, match="at least 141"):
        train_vocabulary(CORPUS, vocabulary_size=140)
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"\[PAD\]"):
        read_vocabulary(tmp_path / "vocab.txt")
    with pytest.raises(DataError, match="not there"):
        read_vocabulary(tmp_path / "absent.txt")


def test_real_books(measuring_data):
    """Every ASCII text of the corpus is tokenized without `[UNK]`."""
    books = measuring_data / "text_gutenberg"
    vocabulary = train_vocabulary(books, vocabulary_size=4_000)
    assert len(vocabulary) == 4_000
    lines = [line for book in books.glob("*.txt") for line in book.read_text("utf-8").splitlines() if line.isascii()]
    assert len(lines) > 30_000
    assert not any("[UNK]" in row for row in tokens_of(vocabulary, lines, lowercase=True))
