"""A WordPiece vocabulary made from raw text: `train_vocabulary`."""

import os
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from tfllm.data.corpus import Corpus, CorpusSource
from tfllm.errors import ConfigError, DataError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ASCII = tuple(map(chr, range(0x21, 0x7F)))


def train_vocabulary(
    corpus: CorpusSource,
    path: str | os.PathLike[str] | None = None,
    *,
    vocabulary_size: int = 30_000,
    lowercase: bool = True,
    min_frequency: int = 2,
    limit_alphabet: int = 1_000,
) -> list[str]:
    """Make a WordPiece vocabulary for BERT, DistilBERT or ELECTRA from raw text.

    The corpus is read twice, as a stream; what is held in memory are the counts of its words. The same corpus gives the
    same vocabulary. Every ASCII character is in it, at the start of a word and within it, so ASCII text has no `[UNK]`
    (but for words of more than 100 characters, which WordPiece leaves out).

    Args:
        corpus: a folder of `.txt` files, one file, a list of files, or texts; see `tfllm.data.corpus.Corpus`.
        path: the `vocab.txt` to write, a token a line, as BERT has it; or None.
        vocabulary_size: the most tokens, special ones included.
        lowercase: whether texts are put in lower case and lose their accents; tell `MaskedLM.from_scratch` the same.
        min_frequency: how often a pair of pieces must be seen to become one piece.
        limit_alphabet: the most different characters; the rarest of a corpus beyond it become `[UNK]`.

    Returns:
        The tokens; a token's place is its id.

    Raises:
        ConfigError: the size leaves no room for the alphabet.
        DataError: the corpus cannot be read, or is empty.

    Reference:
        Schuster and Nakajima, 2012, "Japanese and Korean voice search"; trained by Hugging Face's `tokenizers`, which
        merges the most frequent pair.

    Example:
        >>> vocabulary = train_vocabulary(["the cat sat on the mat", "the cat ate"], vocabulary_size=250)
        >>> vocabulary[:5], "the" in vocabulary
        (['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'], True)
    """
    needed = [character for character in _ASCII if not (lowercase and character.isupper())]
    least = len(SPECIAL_TOKENS) + 2 * len(needed)
    if vocabulary_size < least:
        raise ConfigError(f"Expected vocabulary_size of at least {least}. Received: {vocabulary_size}.")
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    texts = Corpus(corpus)
    room = min(limit_alphabet, (vocabulary_size - len(SPECIAL_TOKENS)) // 2) - len(needed)
    alphabet = needed + _other_characters(texts, trained.normalizer, set(needed), max(room, 0))
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        show_progress=False,
        # Named here, they get their ids in this order; the trainer's own order differs from run to run.
        special_tokens=[*SPECIAL_TOKENS, *alphabet, *(f"##{character}" for character in alphabet)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        continuing_subword_prefix="##",
    )
    trained.train_from_iterator((piece for document in texts for piece in document), trainer)
    vocabulary = trained.get_vocab()
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    if path is not None:
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.partial")
        partial.write_text("".join(f"{token}\n" for token in tokens), "utf-8", newline="\n")
        partial.replace(file)
    return tokens


def _other_characters(texts: Corpus, normalizer: normalizers.Normalizer, known: set[str], room: int) -> list[str]:
    """Return the most frequent characters of a corpus beside the known ones."""
    counts: Counter[str] = Counter()
    for document in texts:
        for piece in document:
            counts.update(normalizer.normalize_str(piece))
    others = [character for character in counts if character not in known and not character.isspace()]
    return sorted(others, key=lambda character: (-counts[character], character))[:room]


def read_vocabulary(path: str | os.PathLike[str]) -> list[str]:
    """Read a `vocab.txt`: a token a line.

    Raises:
        DataError: the file is not there, or lacks one of BERT's special tokens.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"Expected a vocabulary file. Received: '{file}', which is not there.")
    tokens = file.read_text("utf-8").split("\n")
    tokens = tokens[:-1] if tokens[-1] == "" else tokens
    if missing := [token for token in SPECIAL_TOKENS if token not in tokens]:
        raise DataError(f"Expected BERT's special tokens in '{file}'. Received: none of {', '.join(missing)}.")
    return tokens
