"""Decode HTML entities with TensorFlow ops."""

import html.entities

import tensorflow as tf
import tensorflow_text as tf_text

_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,7});"
_NAMES = sorted([*html.entities.name2codepoint, "apos"])  # the 252 of HTML 4, and the one that XML adds
_CODE_POINTS = [ord(html.entities.html5[f"{name};"]) for name in _NAMES]
# Pages in Windows-1252 write its bytes as numbers (&#146; is an apostrophe), and HTML 5 reads them so.
_WINDOWS_1252 = [ord(bytes([code]).decode("cp1252", "replace")) for code in range(0x80, 0xA0)]
_REPLACEMENT = 0xFFFD
_LAST_CODE_POINT = 0x10FFFF


def decode_entities(text: tf.Tensor) -> tf.Tensor:
    """Replace `&name;`, `&#decimal;` and `&#xhex;` by the characters they stand for.

    Args:
        text: string `(batch,)`, valid UTF-8 without NUL, which `regex_split` takes for the end.

    Returns:
        string `(batch,)`. An unknown name stays as it is; a number that is no character becomes U+FFFD, numbers from
        128 to 159 are bytes of Windows-1252 as in HTML 5, and `&nbsp;` becomes a no-break space. What an entity
        decodes to is not decoded again.
    """
    pieces = tf_text.regex_split(text, delim_regex_pattern=_ENTITY, keep_delim_regex_pattern=_ENTITY)
    flat = pieces.flat_values  # (pieces,)
    is_entity = tf.strings.regex_full_match(flat, _ENTITY)
    entities = tf.boolean_mask(flat, is_entity)  # (entities,)
    decoded = _decode(entities)
    flat = tf.tensor_scatter_nd_update(flat, tf.where(is_entity), decoded)
    return tf.strings.reduce_join(pieces.with_flat_values(flat), axis=-1)


def _decode(entities: tf.Tensor) -> tf.Tensor:
    """string `(entities,)`, each one whole entity -> string `(entities,)`."""
    inner = tf.strings.regex_replace(entities, "^&|;$", "")
    is_hex = tf.strings.regex_full_match(inner, "#[xX].*")
    is_decimal = tf.strings.regex_full_match(inner, "#[0-9]+")
    number = tf.where(is_hex, _parse_hex(inner, is_hex), _parse_decimal(inner, is_decimal))
    match = inner[:, tf.newaxis] == tf.constant(_NAMES)[tf.newaxis, :]  # (entities, names)
    known = tf.reduce_any(match, axis=-1)
    named = tf.gather(tf.constant(_CODE_POINTS), tf.argmax(tf.cast(match, tf.int32), axis=-1))
    is_number = tf.logical_or(is_hex, is_decimal)
    code = tf.where(is_number, _valid(number), named)
    character = tf.strings.unicode_encode(code[:, tf.newaxis], "UTF-8", errors="replace")
    return tf.where(tf.logical_or(is_number, known), character, entities)


def _parse_decimal(inner: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    digits = tf.where(mask, tf.strings.regex_replace(inner, "^#", ""), "0")
    return tf.strings.to_number(digits, tf.int32)


def _parse_hex(inner: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    digits = tf.strings.upper(tf.where(mask, tf.strings.regex_replace(inner, "^#[xX]", ""), "0"))
    codes = tf.strings.unicode_decode(digits, "UTF-8").to_tensor(default_value=-1)  # (entities, digits)
    values = tf.where(codes >= ord("A"), codes - ord("A") + 10, codes - ord("0"))
    total = tf.zeros_like(tf.strings.length(inner))
    for place in range(6):
        column = tf.pad(values, [[0, 0], [0, 6]])[:, place]
        present = tf.pad(codes, [[0, 0], [0, 6]], constant_values=-1)[:, place] >= 0
        total = tf.where(present, total * 16 + column, total)
    return total


def _valid(code: tf.Tensor) -> tf.Tensor:
    is_surrogate = tf.logical_and(code >= 0xD800, code <= 0xDFFF)
    wrong = tf.logical_or(tf.logical_or(code < 1, code > _LAST_CODE_POINT), is_surrogate)
    is_byte = tf.logical_and(code >= 0x80, code <= 0x9F)
    from_byte = tf.gather(tf.constant(_WINDOWS_1252), tf.clip_by_value(code - 0x80, 0, len(_WINDOWS_1252) - 1))
    return tf.where(wrong, _REPLACEMENT, tf.where(is_byte, from_byte, code))
