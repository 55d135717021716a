import re
from html.parser import HTMLParser

import numpy as np
import pytest

from tfllm.results import (
    Answer,
    Classification,
    Embedding,
    Entities,
    Entity,
    FilledMask,
    MultiLabel,
    Ranking,
    Regression,
    Relevance,
)


class Checker(HTMLParser):
    """Collects the text, and sees that tags close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def text_of(result):
    checker = Checker()
    checker.feed(result._repr_html_())
    checker.close()
    assert not checker.open
    return checker.text


EVIL = "<script>&"


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (Classification(EVIL, 0.5), f"{EVIL}0.5000"),
        (MultiLabel((EVIL, "b")), f"{EVIL} b "),
        (MultiLabel(()), "no label"),
        (Regression(2.5), "2.5000"),
        (Relevance(0.25), "0.2500"),
        (Ranking(3, 0.5, EVIL), f"#30.5000{EVIL}"),
        (Entity("city", EVIL, 0, 9, 0.5), f"{EVIL} city "),
        (Entities([Entity("x", "b", 2, 3, 0.5)], text="a b <c"), "a b x  <c"),
        (Entities([Entity("x", "b", 2, 3, 0.5)]), "b x "),
        (Answer("b", 2, 3, 0.5, context="a b <c"), "a b 0.5000  <c"),
        (Answer("b", 2, 3, 0.5), "b 0.5000 "),
        (Answer("", 0, 0, 0.5, context="a"), "no answer (0.5000)"),
        (Embedding(np.zeros(100, "float32")), " ... dim=100"),
        (FilledMask(("a", "b"), (0.5, 0.25)), "a0.5000b0.2500"),
    ],
)
def test_a_result_shows_itself_and_nothing_else(result, shown):
    assert text_of(result) == shown


@pytest.mark.parametrize(
    ("result", "marked"),
    [
        (Entities([Entity("city", "Rome", 3, 7, 0.5), Entity("day", "May", 11, 14, 0.5)], text="In Rome in May"), 2),
        (Answer("Rome", 3, 7, 0.5, context="In Rome"), 1),
    ],
)
def test_what_was_found_is_coloured_in_its_text(result, marked):
    found = re.findall(r'<mark style="background:(hsla\([^)]+\))[^"]*">(\w+)', result._repr_html_())
    assert [word for _, word in found] == ["Rome", "May"][:marked]
    assert len({colour for colour, _ in found}) == marked  # each type has a colour of its own
