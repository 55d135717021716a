"""Request bodies: JSON as TensorFlow Serving reads it, with its messages for what is no JSON.

Python's own parser reads the good bodies, and is fast. What it refuses, or reads more kindly, goes through the parser
here, which knows at which byte a body goes wrong.
"""

import json
import re
from typing import Any

from tfllm.errors import InvalidInput

_SPACE = re.compile(rb"[ \t\n\r]*")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_FRACTION = re.compile(rb"\.([0-9]*)")
_EXPONENT = re.compile(rb"[eE][+-]?([0-9]*)")
_SPECIAL = re.compile(rb"-?(?:Infinity|Inf|NaN)")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX = re.compile(rb"[0-9a-fA-F]{4}")
_ESCAPES = {b'"': '"', b"\\": "\\", b"/": "/", b"b": "\b", b"f": "\f", b"n": "\n", b"r": "\r", b"t": "\t"}
_WORDS = {b"t": (b"true", True), b"f": (b"false", False), b"n": (b"null", None)}
_UNKIND = re.compile(
    r"\\u[dD]|[eE][+-]?[0-9]{3}|[0-9]{300}"
)  # halves of surrogate pairs, and numbers that may be too big


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text; text that is no UTF-8 is kept as surrogate escapes.

    Raises:
        InvalidInput: the body is no JSON.
    """
    if not body:
        raise InvalidInput("JSON Parse error: The document is empty")
    text = body.decode("utf-8", "surrogateescape")
    try:
        if not _UNKIND.search(text):
            return json.loads(text)
    except ValueError:
        pass  # the parser below says what is wrong
    except RecursionError as error:
        raise InvalidInput("JSON Parse error: Nested too deeply.") from error
    try:
        return _Parser(body).parse()
    except RecursionError as error:
        raise InvalidInput("JSON Parse error: Nested too deeply.") from error


class _Parser:
    """A strict parser over bytes; `at` is where it is."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 3 if body.startswith(b"\xef\xbb\xbf") else 0

    def parse(self) -> Any:
        self._skip_space()
        if self.at >= len(self.body):
            raise self._error("The document is empty.")
        value = self._value()
        self._skip_space()
        if self.at < len(self.body):
            raise self._error("The document root must not be followed by other values.")
        return value

    def _error(self, reason: str, at: int | None = None) -> InvalidInput:
        return InvalidInput(f"JSON Parse error: {reason} at offset: {self.at if at is None else at}")

    def _skip_space(self) -> None:
        found = _SPACE.match(self.body, self.at)
        self.at = found.end() if found else self.at

    def _next(self) -> bytes:
        return self.body[self.at : self.at + 1]

    def _value(self) -> Any:
        first = self._next()
        if first == b"{":
            return self._object()
        if first == b"[":
            return self._array()
        if first == b'"':
            return self._string()
        if first in _WORDS:
            word, value = _WORDS[first]
            if not self.body.startswith(word, self.at):
                matching = next(n for n in range(len(word) + 1) if not self.body.startswith(word[: n + 1], self.at))
                raise self._error("Invalid value.", self.at + matching)
            self.at += len(word)
            return value
        return self._number()

    def _object(self) -> dict[str, Any]:
        self.at += 1
        found: dict[str, Any] = {}
        self._skip_space()
        if self._next() == b"}":
            self.at += 1
            return found
        while True:
            if self._next() != b'"':
                raise self._error("Missing a name for object member.")
            name = self._string()
            self._skip_space()
            if self._next() != b":":
                raise self._error("Missing a colon after a name of object member.")
            self.at += 1
            self._skip_space()
            found[name] = self._value()
            self._skip_space()
            if self._next() == b"}":
                self.at += 1
                return found
            if self._next() != b",":
                raise self._error("Missing a comma or } after an object member.")
            self.at += 1
            self._skip_space()

    def _array(self) -> list[Any]:
        self.at += 1
        found: list[Any] = []
        self._skip_space()
        if self._next() == b"]":
            self.at += 1
            return found
        while True:
            found.append(self._value())
            self._skip_space()
            if self._next() == b"]":
                self.at += 1
                return found
            if self._next() != b",":
                raise self._error("Missing a comma or ] after an array element.")
            self.at += 1
            self._skip_space()

    def _string(self) -> str:
        self.at += 1
        parts = []
        while True:
            plain = _PLAIN.match(self.body, self.at)
            if plain:
                parts.append(plain[0].decode("utf-8", "surrogateescape"))
                self.at = plain.end()
            end = self._next()
            if end == b'"':
                self.at += 1
                return "".join(parts)
            if end == b"\\":
                parts.append(self._escape())
            elif end in (b"", b"\0"):
                raise self._error("Missing a closing quotation mark in string.")
            else:
                raise self._error("Invalid encoding in string.")

    def _escape(self) -> str:
        start = self.at
        kind = self.body[start + 1 : start + 2]
        if kind in _ESCAPES:
            self.at += 2
            return _ESCAPES[kind]
        if kind != b"u":
            raise self._error("Invalid escape character in string.")
        unit = self._unit(start)
        if not 0xD800 <= unit <= 0xDFFF:
            return chr(unit)
        if unit >= 0xDC00 or self.body[self.at : self.at + 2] != b"\\u":
            raise self._error("The surrogate pair in string is invalid.", start)
        low = self._unit(start)
        if not 0xDC00 <= low <= 0xDFFF:
            raise self._error("The surrogate pair in string is invalid.", start)
        return chr(0x10000 + ((unit - 0xD800) << 10) + low - 0xDC00)

    def _unit(self, start: int) -> int:
        digits = _HEX.match(self.body, self.at + 2)
        if not digits:
            raise self._error("Incorrect hex digit after \\u escape in string.", start)
        self.at = digits.end()
        return int(digits[0], 16)

    def _number(self) -> int | float:
        start = self.at
        special = _SPECIAL.match(self.body, start)
        if special:
            self.at = special.end()
            return float(special[0])
        whole = _NUMBER.match(self.body, start)
        if not whole:
            raise self._error("Invalid value.")
        self.at = whole.end()
        for pattern, reason in ((_FRACTION, "Miss fraction part in number."), (_EXPONENT, "Miss exponent in number.")):
            part = pattern.match(self.body, self.at)
            if part:
                self.at = part.end()
                if not part[1]:
                    raise self._error(reason)
        token = self.body[start : self.at]
        if token == whole[0] and len(token) < 30:
            return int(token)
        value = float(token)
        if value in (float("inf"), float("-inf")):
            raise self._error("Number too big to be stored in double.", start)
        return value
