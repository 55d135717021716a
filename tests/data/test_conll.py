import gzip

import pytest

from tfllm.data.sources import load_dataset
from tfllm.errors import BadRow, ConfigError, DataError

SIMPLE = (
    "-DOCSTART- -X- O O\n\nAnna NNP B-NP B-person\nlives VB O O\nin IN O O\nNew NNP B-NP B-city\nYork NNP I-NP I-city\n"
    ". . O O\n\n\nHi UH O O\n"
)


def load(tmp_path, content, name="a.conll", **options):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return load_dataset(path, **options)


def words(data):
    return [[(text[s:e], kind) for s, e, kind in found] for text, found in zip(data.texts, data.targets, strict=True)]


@pytest.mark.parametrize("name", ["a.conll", "a.bio", "a.iob2", "A.CONLL"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_token_stands_first_and_the_tag_last(tmp_path, name, end):
    data = load(tmp_path, SIMPLE.replace("\n", end), name)
    assert data.texts == ["Anna lives in New York .", "Hi"]
    assert data.label_kind == "entities"
    assert words(data) == [[("Anna", "person"), ("New York", "city")], []]


def test_named_columns_and_any_ending(tmp_path):
    names = ("token", "pos", "chunk", "ner")
    chunks = load(tmp_path, SIMPLE.replace("-DOCSTART- -X- O O", ""), "a.txt", columns=names, label="chunk")
    assert words(chunks)[0] == [("Anna", "NP"), ("New York", "NP")]
    last = load(tmp_path, SIMPLE, "a.txt", columns=names)
    assert words(last)[0] == [("Anna", "person"), ("New York", "city")]
    tags = load(tmp_path, SIMPLE, "a.txt", columns=names, label="pos", tag_scheme="plain")
    assert words(tags)[1] == [("Hi", "UH")]
    with pytest.raises(ConfigError, match="Did you mean 'chunk'"):
        load(tmp_path, SIMPLE, "a.txt", columns=names, label="chunks")


def test_tabs_keep_what_is_no_tab(tmp_path):
    data = load(tmp_path, "#tag\tB-x\n\u200d\tO\na\u00a0b\tO\n")
    assert data.texts == ["#tag \u200d a\u00a0b"]


def test_a_no_break_space_belongs_to_its_token(tmp_path):
    data = load(tmp_path, "10\u00a0km B-x\n\u2009 \na\u3000b O\n")
    assert data.texts == ["10\u00a0km", "a\u3000b"]


def test_the_start_of_a_document_in_any_column(tmp_path):
    content = "1 -DOCSTART- O\n1 Paris B-city\n"
    assert load(tmp_path, content, "a.txt", columns=("id", "token", "ner"), text="token").texts == ["Paris"]


def test_packed_and_unlabelled(tmp_path):
    path = tmp_path / "a.conll.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\n\nthree\n"))
    assert load_dataset(path, label=None).texts == ["one two", "three"]


def test_universal_dependencies(tmp_path):
    def line(number, form, upos):
        return "\t".join([number, form, "_", upos, *"______"])

    text = "\n".join(["# text = it's", line("1-2", "it's", "_"), line("1", "it", "PRON"), line("2", "'s", "AUX")])
    data = load(tmp_path, text, "a.conllu")
    assert data.texts == ["it 's"]
    assert words(data) == [[("it", "PRON"), ("'s", "AUX")]]


def test_tags_of_universal_dependencies_are_plain_unless_told(tmp_path):
    rows = "\n".join(
        "\t".join([str(n), form, *"_______", tag]) for n, form, tag in [(1, "New", "B-x"), (2, "York", "I-x")]
    )
    plain = load(tmp_path, rows, "a.conllu", label="misc")
    assert words(plain) == [[("New", "B-x"), ("York", "I-x")]]
    assert words(load(tmp_path, rows, "a.conllu", label="misc", tag_scheme="bio")) == [[("New York", "x")]]


@pytest.mark.parametrize(
    ("content", "options", "place"),
    [
        ("a O\nb B-x\n\nc O\nd I-x\n", {}, "line 5: 'I-x' after 'O'"),
        ("a O\n\nb B-x\nc I-y\n", {}, "line 4: 'I-y' after 'B-x'"),
        ("a O\nb\n", {}, "line 2: 1 columns"),
        ("a O\n\nb\n", {}, "line 3: 1 column instead of a token and a tag"),
        ("a X O\n\nb O\n", {"columns": ("token", "pos", "label")}, "line 3: 2 columns instead of 3"),
        ("a O\nb org\n", {}, "line 2: tag 'org'"),
        ("a\tO\n\tB-x\n", {}, "line 2: tag 'B-x' of an empty token"),
        ("a B-x\nb O\n", {"tag_scheme": "bilou"}, "line 2: 'O' after 'B-x'"),
    ],
)
def test_a_malformed_file_names_the_line(tmp_path, content, options, place):
    with pytest.raises(BadRow, match=place) as raised:
        load(tmp_path, content, **options)
    assert isinstance(raised.value, DataError)
    assert str(tmp_path) in str(raised.value)


def test_bad_texts_can_be_left_out(tmp_path):
    data = load(tmp_path, "a O\n\nb I-x\n\nc O\n", skip_bad_rows=True)
    assert data.texts == ["a", "c"]
    assert "without 1 bad rows" in data.source


def test_iob1_is_read_when_told(tmp_path):
    data = load(tmp_path, "a I-x\nb B-x\nc I-x\n", tag_scheme="iob1")
    assert words(data) == [[("a", "x"), ("b c", "x")]]
