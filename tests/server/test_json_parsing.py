import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfllm.errors import InvalidInput
from tfllm.server.json_parsing import _Parser, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES, st.booleans())
def test_both_parsers_read_what_python_writes(value, ascii_only):
    try:
        body = json.dumps(value, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    assert parse_json(body) == value
    assert _Parser(body).parse() == value


@given(st.binary())
def test_any_bytes_are_read_or_refused(body):
    try:
        parse_json(body)
    except InvalidInput as error:
        assert error.details.startswith("JSON Parse error: ")


@pytest.mark.parametrize(
    "body, message",
    [
        (b"", "The document is empty"),
        (b"  ", "The document is empty. at offset: 2"),
        (b"{} x", "The document root must not be followed by other values. at offset: 3"),
        (b"{oops", "Missing a name for object member. at offset: 1"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a": 1 "b"}', "Missing a comma or } after an object member. at offset: 8"),
        (b'{"a": 1,}', "Missing a name for object member. at offset: 8"),
        (b"[1 2]", "Missing a comma or ] after an array element. at offset: 3"),
        (b"[1,]", "Invalid value. at offset: 3"),
        (b"x", "Invalid value. at offset: 0"),
        (b"[truth]", "Invalid value. at offset: 4"),
        (b'"\\x"', "Invalid escape character in string. at offset: 1"),
        (b'"\\u12G4"', "Incorrect hex digit after \\u escape in string. at offset: 1"),
        (b'"\\ud800x"', "The surrogate pair in string is invalid. at offset: 1"),
        (b'"abc', "Missing a closing quotation mark in string. at offset: 4"),
        (b'"a\tb"', "Invalid encoding in string. at offset: 2"),
        (b"[1.]", "Miss fraction part in number. at offset: 3"),
        (b"[1e]", "Miss exponent in number. at offset: 3"),
        (b"[" + b"1" * 400 + b"]", "Number too big to be stored in double. at offset: 1"),
        (b"[1e999]", "Number too big to be stored in double. at offset: 1"),
    ],
)
def test_what_is_no_json(body, message):
    with pytest.raises(InvalidInput) as caught:
        parse_json(body)
    assert caught.value.details == f"JSON Parse error: {message}"


def test_what_python_alone_would_not_read():
    assert parse_json(b"\xef\xbb\xbf[1]") == [1]
    assert parse_json(b"[Inf, -Infinity]") == [math.inf, -math.inf]
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"
    assert parse_json(b'"\xff"').encode("utf-8", "surrogateescape") == b"\xff"
    assert parse_json(b"1" * 40) == pytest.approx(1.1111e39, rel=1e-3)


def test_deep_nesting_is_refused():
    with pytest.raises(InvalidInput, match="Nested too deeply"):
        parse_json(b"[" * 100_000)
