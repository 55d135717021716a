import html
import html.entities

import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfllm.data.entities import decode_entities

NAMES = sorted(html.entities.name2codepoint)
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="&\0")
# HTML 5 drops these code points, or reads them as something that only Python's table knows.
DROPPED = [*range(1, 9), 0xB, *range(0xE, 0x20), *range(0x7F, 0xA0), 0xD, *range(0xFDD0, 0xFDF0)]
NUMBERS = st.integers(0, 0x110010).filter(lambda code: code not in DROPPED and code & 0xFFFE != 0xFFFE)


COMPILED = tf.function(decode_entities, input_signature=[tf.TensorSpec([None], tf.string)])


def decode(*texts):
    return [text.decode() for text in COMPILED(tf.constant(texts, tf.string)).numpy()]


def test_every_named_entity_of_html_4():
    texts = [f"&{name};" for name in NAMES]
    assert decode(*texts) == [html.unescape(text) for text in texts]
    assert len(NAMES) == 252


PIECES = st.one_of(
    st.text(CHARACTERS, max_size=5),
    st.sampled_from([*NAMES, "apos"]).map("&{};".format),
    NUMBERS.map("&#{};".format),
    NUMBERS.map("&#x{:x};".format),
    NUMBERS.map("&#X{:X};".format),
    NUMBERS.map("&#{:07d};".format),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=6).map("".join))
@example("&#0;&#55296;&#x110000;&#x0041;")
@example("a&lt;&gt;b&amp;lt;")
def test_python_decodes_the_same(text):
    assert decode(text) == [html.unescape(text)]


@pytest.mark.parametrize("code", [code for code in range(0x80, 0xA0) if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)])
def test_bytes_of_windows_1252_are_read_as_html_5_does(code):
    assert decode(f"&#{code};", f"&#x{code:x};") == [html.unescape(f"&#{code};")] * 2


@pytest.mark.parametrize(
    "text",
    ["", "&", "&;", "&#;", "&#x;", "& amp;", "&amp", "&unknown;", "&AMPX;", "&#12345678;", "&#xg;", "AT&T", "&é;"],
)
def test_what_is_no_entity_stays(text):
    assert decode(text, f"x{text}y") == [text, f"x{text}y"]


def test_names_are_case_sensitive():
    assert decode("&Eacute;&eacute;&Alpha;&alpha;") == ["ÉéΑα"]


def test_what_was_decoded_is_not_decoded_again():
    assert decode("&amp;amp;lt;", "&#38;lt;") == ["&amp;lt;", "&lt;"]


def test_rows_stay_apart_and_a_batch_may_be_empty():
    assert decode("&lt;", "", "none", "&gt;&gt;") == ["<", "", "none", ">>"]
    assert decode() == []


def test_many_entities_in_one_text():
    assert decode("&amp;x" * 3000) == ["&x" * 3000]
