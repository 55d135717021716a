"""Clean text with TensorFlow string ops: the `TextCleaner`, the same code in training and inside the SavedModel."""

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.data.entities import decode_entities
from tfllm.errors import ConfigError, DataError, UnknownSetting, choices_hint

_NORMALIZATIONS = ("NFC", "NFD", "NFKC", "NFKD")
_HTML_BLOCKS = r"(?is)<(?:script|style)\b[^>]*>.*?</(?:script|style)\s*>|<!--.*?-->"
_HTML_INSIDE_WORDS = (
    r"(?i)</?(?:a|abbr|b|bdi|bdo|big|cite|code|del|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|tt"
    r"|u|var|wbr)(?:\s[^<>]*)?/?>"
)
_HTML_TAG = r"(?i)</?[a-z][^<>]*>|<![a-z][^<>]*>"
_URL = r"(?i)\b(?:https?://|www\.)[^\s<>\"']*[^\s<>\"'.,;:!?)\]]"
_CONTROL = r"[\x{0}-\x{8}\x{E}-\x{1F}\x{7F}-\x{84}\x{86}-\x{9F}]"
_SPACE = r"[\s\x{B}\x{85}\p{Z}]+"
_STEMMED = re.compile(r"[\w'’]+")


@dataclass(frozen=True)
class TextCleaner:
    r"""A fixed series of cleaning steps, each of them a setting.

    The steps run in the order of the settings below. All but `stem` are TensorFlow ops, so that training, evaluation
    and the exported model clean in the same way. Whatever the settings, bytes that are not UTF-8 become U+FFFD, and NUL
    characters go. By default only what never carries meaning is touched: control characters and runs of white space.

    Args:
        html_tags: remove tags, comments, and the content of `<script>` and `<style>`; a space takes their place, but
            for tags that may stand inside a word, such as `<b>` and `<a>`.
        html_entities: decode `&amp;`, `&#8217;`, `&#x1F600;` and the named entities of HTML 4.
        unicode_form: "NFC", "NFD", "NFKC" or "NFKD" normalisation (Unicode Standard Annex 15), or None.
        urls: replace URLs by a space.
        control_characters: remove control characters that are not white space.
        lowercase: lower-case, for all of Unicode.
        max_repeats: the longest run of one character to keep (2 turns "soooo" into "soo"), or None.
        stop_words: whole words to remove, in any case. `sklearn.feature_extraction.text.ENGLISH_STOP_WORDS` is a list.
        whitespace: turn runs of white space into one space, and strip the ends.
        stem: a language of the Snowball stemmers (such as "english"), or None. They expect lower case. Stemming runs
            in Python, so a model with it can be trained and judged but not exported.

    Raises:
        ConfigError: a setting has a value that does not exist.

    Example:
        >>> clean = TextCleaner(html_tags=True, html_entities=True, urls=True, lowercase=True)
        >>> clean.clean(["<b>Fish &amp; chips</b>:  see https://example.org/menu."])
        ['fish & chips: see .']
    """

    html_tags: bool = False
    html_entities: bool = False
    unicode_form: str | None = None
    urls: bool = False
    control_characters: bool = True
    lowercase: bool = False
    max_repeats: int | None = None
    stop_words: tuple[str, ...] = ()
    whitespace: bool = True
    stem: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stop_words, str) or not all(word.strip() for word in self.stop_words):
            raise ConfigError(f"Expected stop_words to be a list of words. Received: stop_words={self.stop_words!r}.")
        object.__setattr__(self, "stop_words", tuple(sorted({word.lower() for word in self.stop_words})))
        if self.unicode_form is not None and self.unicode_form not in _NORMALIZATIONS:
            raise ConfigError(
                f"Expected a Unicode normalisation form. Received: unicode_form={self.unicode_form!r}. "
                + choices_hint(self.unicode_form, _NORMALIZATIONS)
            )
        if self.max_repeats is not None and self.max_repeats < 1:
            raise ConfigError(f"Expected max_repeats of at least 1, or None. Received: max_repeats={self.max_repeats}.")
        if self.stem is not None:
            _stemmer(self.stem)

    @property
    def exportable(self) -> bool:
        """Whether every step is a TensorFlow op."""
        return self.stem is None

    @property
    def without_offsets(self) -> tuple[str, ...]:
        """The settings in use that look at more than one character, so that a place in the text is lost."""
        plain = TextCleaner(control_characters=self.control_characters, whitespace=self.whitespace)
        names = (field.name for field in dataclasses.fields(self))
        return tuple(name for name in names if getattr(self, name) != getattr(plain, name))

    def clean_characters(self, characters: tf.Tensor) -> tf.Tensor:
        """Clean single characters, for a cleaner without steps that look at more than one of them.

        Runs of white space stay; `__call__` makes one space of each.

        Args:
            characters: string `(characters,)`, each one character.

        Returns:
            string `(characters,)`, each one character or empty.
        """
        characters = self._clean_characters(tf.strings.regex_replace(characters, r"\x00", ""))
        return tf.strings.regex_replace(characters, _SPACE, " ") if self.whitespace else characters

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Clean a tensor of texts.

        Args:
            text: string `(batch,)`, in UTF-8.

        Returns:
            string `(batch,)`.
        """
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        text = tf.strings.regex_replace(text, r"\x00", "")  # several ops take NUL for the end of the text
        text = self._clean_characters(self._clean_markup(text))
        if self.stop_words:
            text = _remove_words(text, self.stop_words)
        if self.whitespace:
            text = tf.strings.strip(tf.strings.regex_replace(text, _SPACE, " "))
        if self.stem is not None:
            shape = text.shape
            text = tf.numpy_function(_stem_in(self.stem), [text], tf.string)
            text.set_shape(shape)
        return text

    def _clean_markup(self, text: tf.Tensor) -> tf.Tensor:
        if self.html_tags:
            text = tf.strings.regex_replace(text, _HTML_BLOCKS, " ")
            text = tf.strings.regex_replace(text, _HTML_INSIDE_WORDS, "")
            text = tf.strings.regex_replace(text, _HTML_TAG, " ")
        if self.html_entities:
            text = decode_entities(text)
        if self.unicode_form is not None:
            text = tf_text.normalize_utf8(text, self.unicode_form)
        if self.urls:
            text = tf.strings.regex_replace(text, _URL, " ")
        return text

    def _clean_characters(self, text: tf.Tensor) -> tf.Tensor:
        if self.control_characters:
            text = tf.strings.regex_replace(text, _CONTROL, "")
        if self.lowercase:
            text = tf.strings.lower(text, encoding="utf-8")
        if self.max_repeats is not None:
            text = _limit_repeats(text, self.max_repeats)
        return text

    def clean(self, texts: Iterable[str | bytes]) -> list[str]:
        """Clean Python strings, for looking at what the settings do.

        Raises:
            DataError: `texts` is one text instead of a list.
        """
        if isinstance(texts, str | bytes):
            raise DataError(f"Expected a list of texts. Received: one text, {texts[:40]!r}.")
        data = [text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text for text in texts]
        return [text.decode("utf-8") for text in self(tf.constant(data, tf.string)).numpy()]

    def get_config(self) -> dict[str, object]:
        """Return the settings as plain data."""
        return {**dataclasses.asdict(self), "stop_words": list(self.stop_words)}

    @classmethod
    def from_config(cls, config: dict[str, object]) -> "TextCleaner":
        """Make a cleaner from `get_config`.

        Raises:
            UnknownSetting: there is no such setting.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in config:
            if name not in known:
                choices = choices_hint(name, known)
                raise UnknownSetting(f"Expected a setting of TextCleaner. Received: {name}. {choices}")
        return cls(**config)


def _limit_repeats(text: tf.Tensor, most: int) -> tf.Tensor:
    """Cut runs of one character; regular expressions of TensorFlow have no back references."""
    characters = tf.strings.unicode_split(text, "UTF-8")  # (batch, (characters))
    flat, rows = characters.flat_values, tf.cast(characters.value_rowids(), tf.int32)
    run_so_far = tf.ones_like(flat, dtype=tf.bool)
    for back in range(1, most + 1):  # is the character equal to each of the `most` before it, in the same text?
        same = tf.logical_and(flat[back:] == flat[:-back], rows[back:] == rows[:-back])
        start = tf.zeros([tf.minimum(back, tf.size(flat))], tf.bool)
        run_so_far = tf.logical_and(run_so_far, tf.concat([start, same], axis=0))
    kept = tf.ragged.boolean_mask(characters, characters.with_flat_values(tf.logical_not(run_so_far)))
    return tf.strings.reduce_join(kept, axis=-1)


def _remove_words(text: tf.Tensor, words: tuple[str, ...]) -> tf.Tensor:
    """Remove whole words; \\b of RE2 knows ASCII only, so word ends are spelt out (accents belong to the word)."""
    escaped = "|".join(_escape(word) for word in sorted(words, key=len, reverse=True))
    pattern = rf"(?i)(^|[^\pL\pM\pN'’])(?:{escaped})($|[^\pL\pM\pN'’])"
    for _ in range(2):  # twice: two stop words in a row share the space between them
        text = tf.strings.regex_replace(text, pattern, r"\1 \2")
    return text


def _escape(word: str) -> str:
    return "".join(character if character.isalnum() else f"\\x{{{ord(character):X}}}" for character in word)


def _stemmer(language: str):
    import snowballstemmer

    try:
        return snowballstemmer.stemmer(language)
    except KeyError:
        raise ConfigError(
            f"Expected a language of the Snowball stemmers. Received: stem={language!r}. "
            + choices_hint(language, snowballstemmer.algorithms())
        ) from None


def _stem_in(language: str):
    def stem(texts):  # bytes (batch,) -> bytes (batch,)
        stemmer = _stemmer(language)
        stemmed = [_STEMMED.sub(lambda word: stemmer.stemWord(word[0]), text.decode("utf-8")) for text in texts]
        return np.array([text.encode("utf-8") for text in stemmed], dtype=object)

    return stem
