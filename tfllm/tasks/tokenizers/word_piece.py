"""WordPiece inside the graph, for BERT, DistilBERT and ELECTRA."""

import keras_hub
import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.tasks.tokenizers.characters import Characters
from tfllm.tasks.tokenizers.spans import TokenSpans, locate


def normalize_cased(text: tf.Tensor) -> tf.Tensor:
    """Return texts without control characters, as BERT's tokenization has it; string `(batch,)`."""
    text = tf.strings.regex_replace(text, r"[\t\n\r]", " ")
    return tf.strings.regex_replace(text, r"[\x{0}\x{FFFD}\p{Cc}\p{Cf}\p{Co}]", "")


def normalize_uncased(text: tf.Tensor) -> tf.Tensor:
    """Return texts without control characters and accents, in lower case; string `(batch,)`."""
    text = tf_text.normalize_utf8(normalize_cased(text), "NFD")
    text = tf.strings.regex_replace(text, r"\p{Mn}", "")
    text = tf.strings.regex_replace(text, "Σ", "σ")  # each letter by itself: no other form at the end of a word
    return tf.strings.lower(text, encoding="utf-8")


class WordPiece(tf.Module):
    """BERT's tokenization (Devlin et al., 2019, released code) as TensorFlow ops; equal to Hugging Face's ids.

    Args:
        tokenizer: a KerasHub WordPiece tokenizer.
    """

    def __init__(self, tokenizer: keras_hub.tokenizers.WordPieceTokenizer) -> None:
        super().__init__()
        self.normalize = normalize_uncased if tokenizer.lowercase else normalize_cased
        self._tokenizer = tf_text.FastBertTokenizer(
            vocab=tokenizer.get_vocabulary(),
            suffix_indicator=tokenizer.suffix_indicator,
            unknown_token=tokenizer.oov_token,
            token_out_type=tf.int32,
            lower_case_nfd_strip_accents=False,
            support_detokenization=False,
        )

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """string `(batch,)` -> int32 `(batch, (tokens))`."""
        return _flat(self._tokenizer.tokenize(self.normalize(text)))

    def tokenize_characters(self, characters: Characters) -> TokenSpans:
        """Tokenize texts that `normalize` has gone over, and say where the tokens stand."""
        ids, begins, ends = self._tokenizer.tokenize_with_offsets(characters.encode())
        return locate(characters, _flat(ids), _flat(begins), _flat(ends))


def _flat(tokens: tf.RaggedTensor) -> tf.RaggedTensor:
    return tokens.merge_dims(1, 2) if tokens.shape.rank == 3 else tokens
