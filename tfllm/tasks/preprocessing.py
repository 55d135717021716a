"""Strings to token tensors, in TensorFlow: the `TextPreprocessor` that every task uses."""

import functools
from collections.abc import Callable, Sequence

import keras_hub
import tensorflow as tf

from tfllm.data.cleaning import TextCleaner
from tfllm.errors import ConfigError
from tfllm.tasks.added_tokens import AddedTokens
from tfllm.tasks.tokenizers.characters import CharacterMap, decode
from tfllm.tasks.tokenizers.choice import graph_tokenizer
from tfllm.tasks.tokenizers.spans import TokenSpans

Tokens = dict[str, tf.Tensor]

_DOUBLE_SEPARATOR = ("RobertaTokenizer", "XLMRobertaTokenizer")


class TextPreprocessor(tf.Module):
    """Cleans, tokenizes, truncates and packs texts, padded to the longest of the batch.

    WordPiece, SentencePiece and byte-pair vocabularies are tokenized by ops of TensorFlow and TensorFlow Text, which
    TensorFlow Serving links: the same in training and inside the exported model, with Hugging Face's ids.

    Args:
        tokenizer: a KerasHub tokenizer.
        max_length: the most tokens of a row, special tokens included. A longer text loses its end; of a pair, the
            longer one loses its end first.
        cleaner: a `TextCleaner`; by default only control characters and white space are cleaned.
        segment_ids: whether the backbone takes them.

    Raises:
        ConfigError: `max_length` leaves no room for a token, or the tokenizer is of none of these kinds.

    Example:
        >>> from tfllm.presets import load_encoder
        >>> tokenizer = load_encoder("micro_bert").tokenizer
        >>> tokens = TextPreprocessor(tokenizer, max_length=8)(["good film", "bad"])
        >>> tokens["token_ids"].shape, tokens["padding_mask"].numpy().sum(axis=1).tolist()
        (TensorShape([2, 4]), [4, 3])
    """

    def __init__(
        self,
        tokenizer: keras_hub.tokenizers.Tokenizer,
        *,
        max_length: int = 128,
        cleaner: TextCleaner | None = None,
        segment_ids: bool = True,
    ) -> None:
        super().__init__(name="text_preprocessor")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.cleaner = cleaner or TextCleaner()
        self.segment_ids = segment_ids
        self._separators = 2 if type(tokenizer).__name__ in _DOUBLE_SEPARATOR else 1
        if max_length < 3 + self._separators + 1:
            raise ConfigError(f"Expected max_length of at least {4 + self._separators}. Received: {max_length}.")
        self.graph_tokenizer = graph_tokenizer(tokenizer)
        self._added: AddedTokens | None = None
        self._compile()
        self._compiled_spans = tf.function(self._locate, [tf.TensorSpec([None], tf.string)], autograph=False)

    def add_tokens(self, words: Sequence[str], *, first_id: int | None = None) -> int:
        """Make words tokens of their own, which are neither split nor lower-cased.

        Args:
            words: the words, written exactly so in the texts.
            first_id: the id of the first one; by default the ids follow those of the tokenizer.

        Returns:
            How many token ids there are now; the embeddings of the backbone must have as many rows.

        Raises:
            ConfigError: the cleaner changes such a word.
        """
        cleaned = [text.decode("utf-8") for text in self.cleaner(tf.constant(list(words))).numpy()]
        if cleaned != list(words):
            raise ConfigError(
                f"Expected a cleaner that leaves {', '.join(words)} as they are. Received: {self.cleaner}. Leave out "
                "the step that changes them, such as html_tags."
            )
        first_id = self.tokenizer.vocabulary_size() if first_id is None else first_id
        self._added = AddedTokens(words, first_id=first_id)
        self._compile()
        return self._added.first_id + len(words)

    def _compile(self) -> None:
        self._compiled = tf.function(self._preprocess, reduce_retracing=True, autograph=False)
        self._compiled_tokenize = tf.function(self._tokenize, [tf.TensorSpec([None], tf.string)], autograph=False)

    @tf.autograph.experimental.do_not_convert
    def __call__(self, inputs: tf.Tensor | tuple[tf.Tensor, tf.Tensor]) -> Tokens:
        """Turn strings into token tensors.

        Args:
            inputs: string `(batch,)`, or two of them as a tuple.

        Returns:
            `token_ids` int32, `padding_mask` int32 (1 = token) and, if the backbone takes them, `segment_ids` int32,
            all `(batch, sequence)`, where sequence is the length of the longest row.
        """
        text, text_pair = inputs if isinstance(inputs, tuple) else (inputs, None)
        text = tf.convert_to_tensor(text, tf.string)
        text_pair = None if text_pair is None else tf.convert_to_tensor(text_pair, tf.string)
        return self._compiled(text, text_pair)

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Turn strings `(batch,)` into token ids, int32 `(batch, (tokens))`: all of them, without special tokens."""
        return self._compiled_tokenize(tf.convert_to_tensor(text, tf.string))

    def require_offsets(self) -> None:
        """Check that tokens can be found in the text as it was sent.

        Raises:
            ConfigError: the cleaner has a step that moves text in a way that cannot be followed back.
        """
        if steps := self.cleaner.without_offsets:
            raise ConfigError(
                "Expected a cleaner whose steps can be followed back to the text as it was sent (control_characters, "
                f"whitespace). Received: {', '.join(steps)}. Clean the texts before, or leave these steps out."
            )

    def tokenize_with_offsets(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Tokenize texts and say where each token stands, without special tokens and without truncation.

        Args:
            text: string `(batch,)`.

        Returns:
            ids, starts, ends: the first three of `locate_tokens`.

        Raises:
            ConfigError: as `require_offsets`.

        Example:
            >>> from tfllm.presets import load_encoder
            >>> preprocess = TextPreprocessor(load_encoder("micro_bert").tokenizer)
            >>> ids, starts, ends = preprocess.tokenize_with_offsets(["The  FILM!"])
            >>> starts.to_list(), ends.to_list()
            ([[0, 5, 9]], [[3, 9, 10]])
        """
        return self.locate_tokens(text)[:3]

    def locate_tokens(self, text: tf.Tensor) -> TokenSpans:
        """Tokenize texts and say where each token stands, without special tokens and without truncation.

        Args:
            text: string `(batch,)`. Bytes that are not UTF-8 count as Python's `decode("utf-8", "replace")` has them.

        Returns:
            ids, starts, ends, word_starts, space_starts: see `TokenSpans`. The ids are those of `__call__`.

        Raises:
            ConfigError: as `require_offsets`.
        """
        self.require_offsets()
        return self._compiled_spans(tf.convert_to_tensor(text, tf.string))

    def _locate(self, text: tf.Tensor) -> TokenSpans:
        normalize = _character_map(self.cleaner, self.graph_tokenizer.normalize)
        characters = normalize(decode(text))
        if self.cleaner.whitespace:
            characters = characters.collapse_spaces()
        return self.graph_tokenizer.tokenize_characters(characters)

    def room(self, *, pairs: bool = False) -> int:
        """Return how many tokens of `max_length` special tokens leave to texts."""
        return self.max_length - 2 - (self._separators if pairs else 0)

    def second_begins(self, first: tf.RaggedTensor) -> tf.Tensor:
        """Return where the second text of a packed pair begins, int32 `(batch,)`, after `first`, as `pack` has it."""
        return tf.cast(first.row_lengths(), tf.int32) + 1 + self._separators

    def pack(self, first: tf.RaggedTensor, second: tf.RaggedTensor | None = None) -> Tokens:
        """Put special tokens around token ids, without truncation.

        Args:
            first: int32 ragged `(batch, (tokens))`.
            second: the second text of each pair, the same.

        Returns:
            Token tensors, as `__call__` gives them.
        """
        start, end = self.tokenizer.start_token_id, self.tokenizer.end_token_id
        if second is None:
            return self._pack([start, first, end], [0, 0, 0], first.nrows(tf.int32))
        parts = [start, first, *[end] * self._separators, second, end]
        return self._pack(parts, [0] * (2 + self._separators) + [1, 1], first.nrows(tf.int32))

    def _preprocess(self, text: tf.Tensor, text_pair: tf.Tensor | None) -> Tokens:
        first = self._tokenize(text)
        if text_pair is None:
            return self.pack(first[:, : self.room()])
        return self.pack(*_truncate_pair(first, self._tokenize(text_pair), self.room(pairs=True)))

    def _tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        text, tokenize = self.cleaner(text), self.graph_tokenizer.tokenize
        return tokenize(text) if self._added is None else self._added.tokenize(text, tokenize)

    def _pack(self, parts: list, segments: list[int], rows: tf.Tensor) -> Tokens:
        ragged = [part if isinstance(part, tf.RaggedTensor) else _column(part, rows) for part in parts]
        token_ids = tf.concat(ragged, axis=1)  # (batch, (sequence))
        width = tf.cast(tf.reduce_max(token_ids.row_lengths()), tf.int32)
        lengths = tf.cast(token_ids.row_lengths(), tf.int32)
        tokens = {
            "token_ids": token_ids.to_tensor(default_value=self.tokenizer.pad_token_id),
            "padding_mask": tf.sequence_mask(lengths, width, dtype=tf.int32),
        }
        if self.segment_ids:
            ids = tf.concat([tf.zeros_like(p) + s for p, s in zip(ragged, segments, strict=True)], axis=1)
            tokens["segment_ids"] = ids.to_tensor()
        return tokens


@functools.lru_cache(maxsize=16)
def _character_map(cleaner: TextCleaner, normalize: Callable[[tf.Tensor], tf.Tensor]) -> CharacterMap:
    return CharacterMap(lambda characters: normalize(cleaner.clean_characters(characters)))


def _column(token_id: int, rows: tf.Tensor) -> tf.RaggedTensor:
    return tf.RaggedTensor.from_tensor(tf.fill([rows, 1], tf.constant(token_id, tf.int32)))


def _truncate_pair(first: tf.RaggedTensor, second: tf.RaggedTensor, room: int) -> tuple:
    """Cut the longer text first, until both fit."""
    first_length, second_length = first.row_lengths(), second.row_lengths()
    room = tf.constant(room, first_length.dtype)
    first_kept = tf.minimum(first_length, tf.maximum(room - second_length, room - room // 2))
    second_kept = tf.minimum(second_length, room - first_kept)
    return _keep(first, first_kept), _keep(second, second_kept)


def _keep(tokens: tf.RaggedTensor, lengths: tf.Tensor) -> tf.RaggedTensor:
    """Return the first `lengths[row]` tokens of each row."""
    position = tf.ragged.range(tokens.row_lengths())
    return tf.ragged.boolean_mask(tokens, position < lengths[:, tf.newaxis])
