"""SentencePiece inside the graph, for ALBERT, XLM-RoBERTa and DeBERTa v3."""

import hashlib

import keras_hub
import sentencepiece
import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow_text.python.ops.sentencepiece_tokenizer import gen_sentencepiece_tokenizer

from tfllm.tasks.tokenizers.characters import Characters, place_in_run, shifted
from tfllm.tasks.tokenizers.spans import TokenSpans, locate

_QUOTES = "`'"


def unchanged(text: tf.Tensor) -> tf.Tensor:
    """Return the text: the normalisation is a part of the SentencePiece model."""
    return text


def normalize_albert(text: tf.Tensor) -> tf.Tensor:
    """Return texts without accents, in lower case; string `(batch,)`."""
    text = tf.strings.regex_replace(tf_text.normalize_utf8(text, "NFKD"), r"\p{Mn}", "")
    text = tf.strings.regex_replace(text, "Σ", "σ")  # each letter by itself: no other form at the end of a word
    return tf.strings.lower(text, encoding="utf-8")


class SentencePiece(tf.Module):
    """SentencePiece (Kudo and Richardson, 2018) as TensorFlow ops, with the ids of each family.

    XLM-RoBERTa counts its special tokens in another way than its SentencePiece model, so its ids are shifted by one.
    ALBERT without capital letters in its vocabulary takes texts as its released code makes them (Lan et al., 2020):
    without accents, in lower case, with one kind of double quotes.

    Args:
        tokenizer: a KerasHub SentencePiece tokenizer.
    """

    def __init__(self, tokenizer: keras_hub.tokenizers.SentencePieceTokenizer) -> None:
        super().__init__()
        self._tokenizer = tf_text.SentencepieceTokenizer(model=tokenizer.proto, out_type=tf.int32)
        self._tokenizer._model_resource = _SharedModel(tokenizer.proto)
        library = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.proto)
        pieces = [library.id_to_piece(index) for index in range(library.get_piece_size())]
        self._blank = [not piece.strip("▁") for piece in pieces]
        self._shifted = isinstance(tokenizer, keras_hub.tokenizers.XLMRobertaTokenizer)
        self._unknown = tokenizer.unk_token_id if self._shifted else None
        self._albert = isinstance(tokenizer, keras_hub.tokenizers.AlbertTokenizer) and _is_uncased(tokenizer)
        self.normalize = normalize_albert if self._albert else unchanged

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """string `(batch,)` -> int32 `(batch, (tokens))`."""
        text = self.normalize(text)
        if self._albert:
            text = tf.strings.regex_replace(text, "``|''", '"')
        return self._family_ids(self._tokenizer.tokenize(text))

    def tokenize_characters(self, characters: Characters) -> TokenSpans:
        """Tokenize texts that `normalize` has gone over, and say where the tokens stand."""
        if self._albert:
            characters = _join_quotes(characters)
        ids, begins, ends = self._tokenizer.tokenize_with_offsets(characters.encode())
        has_text = tf.logical_not(tf.gather(tf.constant(self._blank), ids.flat_values))
        return locate(characters, self._family_ids(ids), begins, ends, has_text)

    def _family_ids(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        if not self._shifted:
            return ids
        return ids.with_flat_values(tf.where(ids.flat_values == 0, self._unknown, ids.flat_values + 1))


class _SharedModel(tf.saved_model.experimental.TrackableResource):
    """A SentencePiece model that goes by a name of its own.

    TensorFlow Text leaves the name out: the model then belongs to a cached kernel, and is gone when a seed is set anew,
    and in a SavedModel several such models are mistaken for each other.
    """

    def __init__(self, proto: bytes) -> None:
        super().__init__()
        self._proto = proto
        _ = self.resource_handle  # made here, not inside of the first graph that asks

    def _create_resource(self) -> tf.Tensor:
        name = f"sentence_piece_{hashlib.sha256(self._proto).hexdigest()[:16]}"
        return gen_sentencepiece_tokenizer.sentencepiece_op(model=self._proto, shared_name=name)


def _is_uncased(tokenizer: keras_hub.tokenizers.SentencePieceTokenizer) -> bool:
    special = set(tokenizer.special_tokens)
    return not any(piece != piece.lower() for piece in tokenizer.get_vocabulary() if piece not in special)


def _join_quotes(characters: Characters) -> Characters:
    """Make one double quote of two like single ones, from the left."""
    codes = characters.codes.flat_values
    is_quote = tf.reduce_any(codes[:, tf.newaxis] == [ord(quote) for quote in _QUOTES], axis=1)
    place = place_in_run(codes, tf.cast(characters.codes.value_rowids(), tf.int32))
    is_second = tf.logical_and(is_quote, place % 2 == 1)
    is_first = shifted(is_second, -1, False)
    ends = tf.where(is_first, shifted(characters.ends.flat_values, -1, 0), characters.ends.flat_values)
    joined = Characters(
        characters.codes.with_flat_values(tf.where(is_first, ord('"'), codes)),
        characters.starts,
        characters.ends.with_flat_values(ends),
    )
    return joined.keep(tf.logical_not(is_second))
