import pytest

from tfllm.data.tags import BadToken, join_tokens, read_tags, require_tag_scheme, tagged_entities, tags_to_entities
from tfllm.errors import ConfigError

FIVE = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("bio", ["B-x", "I-x", "B-x", "O", "B-y"]),
        ("iob1", ["I-x", "I-x", "B-x", "O", "I-y"]),
        ("bilou", ["B-x", "L-x", "U-x", "O", "U-y"]),
        ("bilou", ["B-x", "E-x", "S-x", "O", "S-y"]),
    ],
)
def test_every_scheme_says_the_same_entities(scheme, tags):
    assert tags_to_entities(tags, FIVE, scheme) == [(0, 3, "x"), (4, 5, "x"), (8, 9, "y")]


def test_types_change_without_an_outside_between():
    assert tags_to_entities(["I-x", "I-y"], FIVE[:2], "iob1") == [(0, 1, "x"), (2, 3, "y")]
    assert tags_to_entities(["B-x", "B-y"], FIVE[:2]) == [(0, 1, "x"), (2, 3, "y")]


def test_plain_tags_are_one_a_token():
    assert tags_to_entities(["DET", "", "I-odd"], FIVE[:3], "plain") == [(0, 1, "DET"), (4, 5, "I-odd")]


def test_a_type_may_have_a_hyphen():
    assert tags_to_entities(["B-creative-work"], FIVE[:1]) == [(0, 1, "creative-work")]


@pytest.mark.parametrize(
    ("scheme", "tags", "position", "problem"),
    [
        ("bio", ["O", "I-x"], 1, "tag_scheme='iob1'"),
        ("bio", ["B-x", "I-y"], 1, "'I-y' after 'B-x'"),
        ("bio", ["B-x", "x"], 1, "tag 'x'"),
        ("bio", ["B-"], 0, "tag 'B-'"),
        ("bio", ["U-x"], 0, "tag 'U-x'"),
        ("bilou", ["B-x", "O"], 1, "'O' after 'B-x'"),
        ("bilou", ["O", "B-x"], 1, "L-x should close it"),
        ("bilou", ["L-x"], 0, "'L-x' after 'O'"),
        ("bilou", ["B-x", "U-x"], 1, "'U-x' after 'B-x'"),
    ],
)
def test_tags_that_cannot_stand_there(scheme, tags, position, problem):
    with pytest.raises(BadToken, match=problem) as raised:
        tags_to_entities(tags, FIVE[: len(tags)], scheme)
    assert raised.value.position == position


@pytest.mark.parametrize(("scheme", "tag"), [("bio", "B-x"), ("iob1", "I-x"), ("bilou", "U-x"), ("plain", "O")])
def test_an_empty_token_has_no_tag(scheme, tag):
    with pytest.raises(BadToken, match=f"tag '{tag}' of an empty token") as raised:
        tags_to_entities(["", tag], [(0, 1), (2, 2)], scheme)
    assert raised.value.position == 1


def test_words_and_tags_must_be_as_many():
    assert tagged_entities(["O", "B-x"], ["a b", "c"], "bio") == [(4, 5, "x")]
    with pytest.raises(ValueError, match="2 tags for 3 words"):
        tagged_entities(["O", "O"], "a b c", "bio")
    with pytest.raises(ValueError, match="word 1: "):
        tagged_entities(["O", "I-x"], "a b", "bio")


def test_what_holds_tags_and_what_does_not():
    assert read_tags('["O", "B-x"]') == ["O", "B-x"]
    for cell in ("", "[", "[" * 100_000, "[[0, 1, 'x']]", "[]", [], None, [[0, 1, "x"]], [{"start": 0}]):
        assert read_tags(cell) is None


def test_joined_tokens_have_their_places():
    text, places = join_tokens(["日本", "", "😀!"])
    assert [text[start:end] for start, end in places] == ["日本", "", "😀!"]


def test_an_unknown_scheme_names_the_others():
    with pytest.raises(ConfigError, match="'iob1'"):
        require_tag_scheme("iob")
