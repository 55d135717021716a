"""Masking of personal data in texts: addresses, numbers and accounts, by their form.

A masked text has as many code points and bytes as before, and its punctuation: letters become x and digits 0. So the
offsets in an answer still fit, and a masked request costs a model about what the real one did. Names of people have no
form and are not masked.
"""

import ipaddress
import re
from collections.abc import Iterable

from stdnum import iban

_EMAIL = re.compile(r"[\w.+%'-]+@[\w-]+(?:\.[\w-]+)+")
_IBAN = re.compile(r"\b[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)")
_IPV6 = re.compile(r"(?<![\w:])[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*(?![\w:])")
_SECRET = re.compile(r"(?<=://)[^\s/@]+@|\b(?:sk|pk|ghp|gho|xox[abp]|eyJ)[-_A-Za-z0-9.]{16,}")
_NUMBER = re.compile(
    r"[+(]?\d(?:[ .()/\u00a0\u2009\u2011\u2013-]{0,2}\d){6,}"
)  # cards, phones, dates, customer numbers
_LETTERS = {1: "x", 2: "\u0436", 3: "\u5b57", 4: "\U00010400"}  # by bytes in UTF-8


def mask(text: str) -> str:
    """Return a text with e-mail and IP addresses, IBANs, secrets in URLs, tokens and all long numbers masked.

    A number counts as long from seven digits on, so cards, phones, dates of birth and customer numbers are masked.

    Example:
        >>> mask("Ada (ada@example.com, +44 20 7946 0958) paid with 4111-1111-1111-1111.")
        'Ada (xxx@xxxxxxx.xxx, +00 00 0000 0000) paid with 0000-0000-0000-0000.'
    """
    text = _IPV6.sub(lambda found: _blanked(found[0]) if _is_address(found[0]) else found[0], text)
    text = _IBAN.sub(_blank_account, text)
    for pattern in (_SECRET, _EMAIL, _IPV4, _NUMBER):
        text = pattern.sub(lambda found: _blanked(found[0]), text)
    return text


def mask_part(part: str, texts: Iterable[tuple[str, str]]) -> str:
    """Mask an answer that is a part of one of some texts: it shows nothing that is masked in its text.

    Args:
        part: the answer.
        texts: each text as it was, and masked; those that masking has not changed can be left out.

    Example:
        >>> text = "My card is 4111 1111 1111 1111."
        >>> mask_part("1111 1111", [(text, mask(text))])
        '0000 0000'
    """
    masked = mask(part)
    for before, after in texts:
        at = before.find(part) if part else -1
        while at >= 0:
            found = after[at : at + len(part)]
            if found != part:
                masked = _merged(masked, found)
            at = before.find(part, at + 1)
    return masked


def _merged(one: str, other: str) -> str:
    """Return what is masked in either of two maskings of one text."""
    blanks = {"0", *_LETTERS.values()}
    return "".join(second if second in blanks else first for first, second in zip(one, other, strict=True))


def _blanked(text: str) -> str:
    return "".join(map(_blank_letter, text))


def _blank_letter(letter: str) -> str:
    if not letter.isalnum():
        return letter
    if letter.isascii():
        return "0" if letter.isdigit() else "x"
    return _LETTERS[len(letter.encode())]


def _blank_account(found: re.Match[str]) -> str:
    """Mask the longest beginning that is an IBAN: the words after it have its form too."""
    text = found[0]
    ends = [len(text), *(place.start() for place in reversed(list(re.finditer("[ -]", text))))]
    for end in ends:
        if iban.is_valid(text[:end]):
            return _blanked(text[:end]) + text[end:]
    return text


def _is_address(text: str) -> bool:
    """Return whether a text is an IPv6 address of three groups or more: `a::b` is one too, but also a name in C++."""
    try:
        ipaddress.IPv6Address(text.rstrip("."))
    except ValueError:
        return False
    return len([group for group in text.split(":") if group]) > 2
