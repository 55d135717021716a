import gzip
import json

import numpy as np
import pandas as pd
import pytest

from tfllm.data.sources import load_dataset
from tfllm.errors import BadRow, ConfigError, DataError, EmptyDataset, MissingColumn, SingleClass

ROWS = {"text": ["good film", "bad film", "Schön, 日本 😀"], "label": ["1", "0", "1"], "user": ["a", "b", "c"]}


def write(folder, kind, rows=ROWS):
    """Write the rows as a file of an ending such as `csv` or `jsonl.gz`."""
    path = folder / f"reviews.{kind}"
    frame = pd.DataFrame(rows)
    ending = kind.removesuffix(".gz")
    plain = folder / f"plain.{ending}"
    if ending == "jsonl":
        frame.to_json(plain, orient="records", lines=True, force_ascii=False)
    elif ending == "parquet":
        frame.to_parquet(plain)
    else:
        frame.to_csv(plain, index=False, sep="\t" if ending == "tsv" else ",")
    data = plain.read_bytes()
    path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)
    return path


def load(tmp_path, content, name="reviews.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_dataset(path, **options)


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, ending, packed):
    path = write(tmp_path, ending + packed)
    for source in (path, str(path)):
        data = load_dataset(source)
        assert data.texts == ROWS["text"]
        assert data.label_values == ROWS["label"]
        assert data.frame["user"].tolist() == ROWS["user"]
        assert data.source == f"'{path}'"


def test_the_ending_is_read_in_any_case(tmp_path):
    assert write(tmp_path, "csv.gz").rename(tmp_path / "R.CSV.GZ")
    assert load_dataset(tmp_path / "R.CSV.GZ").texts == ROWS["text"]


def test_a_data_frame_is_copied_and_its_index_does_not_matter():
    frame = pd.DataFrame(ROWS, index=[7, 7, 3])
    before = frame.copy()
    data = load_dataset(frame)
    data.frame.loc[0, "text"] = "changed"
    pd.testing.assert_frame_equal(frame, before)
    assert data.texts[1:] == ROWS["text"][1:]


def test_labels_of_any_type_become_text():
    labels = [5, 5.0, np.float32(5), "5", " 5 ", b"5", True]
    data = load_dataset(pd.DataFrame({"text": ["x"] * 7, "label": pd.Series(labels, dtype=object)}))
    assert data.label_values == ["5"] * 6 + ["True"]


def test_a_categorical_column():
    data = load_dataset(pd.DataFrame({"text": ["x", "y"], "label": pd.Categorical(["b", "a"])}))
    assert data.labels.names == ("a", "b")
    assert data.label_values == ["b", "a"]
    one = pd.DataFrame({"text": pd.Categorical(["x", "x"]), "label": ["a", "b"]})
    assert load_dataset(one).texts == ["x", "x"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("word", ["NA", "null", "None", "nan", "N/A", "true", "-", "007", "1e5"])
def test_words_that_other_readers_take_for_missing_or_numbers_stay_words(tmp_path, ending, word):
    rows = {"text": [word, "other"], "label": [word, "other"]}
    data = load_dataset(write(tmp_path, ending, rows))
    assert (data.texts[0], data.label_values[0]) == (word, word)


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t")])
def test_quoted_text_keeps_newlines_separators_and_quotation_marks(tmp_path, name, separator):
    content = f'text{separator}label\n"two\nlines{separator} ""so""\r\nthree"{separator}1\nx{separator}0\n'
    assert load(tmp_path, content, name).texts == [f'two\nlines{separator} "so"\r\nthree', "x"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"text,label\nx,1\ny,0\n"),
        ("a.csv", b"text,label\r\nx,1\r\ny,0"),
        ("a.csv", b"text,label\rx,1\ry,0\r"),
        ("a.csv", b"\n\ntext,label\n\nx,1\n   \ny,0\n\n"),
        ("a.csv", b"text,label\nx,1,,\ny,0, \n"),
        ("a.tsv", b"text\tlabel\nx\t1\ny\t0\n"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n\n{"text": "y", "label": 0}'),
        ("a.jsonl", b'{"text": "x", "label": 1}\r\n{"label": 0.0, "text": "y"}\r\n'),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_line_ends_blank_lines_and_byte_order_marks(tmp_path, name, content, mark):
    data = load(tmp_path, mark + content, name)
    assert (data.texts, data.label_values) == (["x", "y"], ["1", "0"])


def test_a_cell_may_be_longer_than_the_csv_module_allows(tmp_path):
    import csv

    before = csv.field_size_limit()
    text = "word " * 60_000 + "end"
    assert load(tmp_path, f"text,label\n{text},1\nx,0\n").texts == [text, "x"]
    assert csv.field_size_limit() == before


def test_a_nul_character_does_not_end_a_cell(tmp_path):
    assert load(tmp_path, b"text,label\na\0b,1\nx,0\n").texts == ["a\0b", "x"]


def test_columns_by_name_pairs_and_no_label(tmp_path):
    content = "id,premise,hypothesis,gold\n1,a,b,yes\n2,c,d,no\n"
    pairs = load(tmp_path, content, text="premise", text_pair="hypothesis", label="gold")
    assert pairs.texts == [("a", "b"), ("c", "d")]
    unlabelled = load(tmp_path, content, text="premise", label=None)
    assert unlabelled.texts == ["a", "c"]
    with pytest.raises(DataError, match="Expected labelled rows"):
        unlabelled.label_values  # noqa: B018


def test_half_a_surrogate_pair_in_json_becomes_a_replacement_character(tmp_path):
    content = r'{"text": "\ud83d\ude00 \ud83d x", "label": "a\udc00"}' + "\n" + '{"text": "y", "label": "b"}'
    data = load(tmp_path, content, "a.jsonl")
    assert data.texts == ["😀 \ufffd x", "y"]
    assert data.label_values[0] == "a\ufffd"


@pytest.mark.parametrize("ending", ["csv", "tsv.gz", "jsonl"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
def test_many_chunks_give_the_same_rows(tmp_path, monkeypatch, ending, chunk):
    monkeypatch.setattr("tfllm.data.readers._CHUNK_ROWS", chunk)
    monkeypatch.setattr("tfllm.data.readers._PROGRESS_BYTES", 1)  # and with the progress shown
    rows = {"text": [f"text {n}\nand more" for n in range(7)], "label": [str(n % 2) for n in range(7)]}
    data = load_dataset(write(tmp_path, ending, rows))
    assert data.texts == rows["text"]
    assert data.frame.index.tolist() == list(range(7))


def test_the_line_is_right_in_a_later_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr("tfllm.data.readers._CHUNK_ROWS", 2)
    with pytest.raises(BadRow, match="line 7: no value in column 'text'"):
        load(tmp_path, "text,label\na,1\nb,2\nc,1\nd,2\ne,1\n,2\n")


# === What cannot be used: each error names the file, and the line where there is one ===

BAD = {
    "no text, after a blank line": (
        "r.csv",
        'text,label\na,1\n\n"  ",0\n',
        BadRow,
        "line 4: no value in column 'text'",
    ),
    "no label": ("r.csv", "text,label\na,1\nb,\n", BadRow, "line 3: no value in column 'label'"),
    "no label, after a quoted newline": ("r.csv", 'text,label\n"a\nb\nc",1\nd,\n', BadRow, "line 5: no value"),
    "named by its first line": (
        "r.csv",
        'text,label\na,1\n"b\nc",\nd,1\n',
        BadRow,
        "line 3: no value",
    ),
    "too few fields": ("r.csv", "text,label\na,1\nb\n", BadRow, "line 3: no value in column 'label'"),
    "too many fields": ("r.csv", "text,label\na,1\nb, c,0\n", BadRow, "line 3: 3 fields for 2 columns"),
    "too many fields in the first row": ("r.csv", "text,label\na,b,1\nc,0\n", BadRow, "line 2: 3 fields for 2 columns"),
    "too many in every row": (
        "r.csv",
        "text,label\na,b,1\nc,d,0\n",
        BadRow,
        "2 bad of 2 rows: line 2: 3 fields",
    ),
    "open quotation mark": ("r.csv", 'text,label\na,1\n"b,0\nc,1\n', BadRow, "opens in the row of line 3 and never"),
    "not UTF-8": ("r.csv", b"text,label\na,1\nd\xc3\xa9j\xe0,0\n", BadRow, "byte 0xe0 at column 4 of line 3"),
    "not UTF-8 in the header": (
        "r.csv",
        b"\xef\xbb\xbft\xe9xt,label\n",
        BadRow,
        "byte 0xe9 at column 2 of line 1",
    ),
    "cut inside a character": ("r.csv", b"text,label\na,1\nb\xc3", BadRow, "byte 0xc3 at column 2 of line 3"),
    "UTF-16": ("r.csv", "text,label\n".encode("utf-16"), BadRow, "at column 1 of line 1"),
    "empty": ("r.csv", "", EmptyDataset, "which is empty"),
    "empty, packed": ("r.csv.gz", gzip.compress(b""), EmptyDataset, "with no columns"),
    "blank": ("r.csv", "\n\n", EmptyDataset, "with no columns"),
    "header only": ("r.csv", "text,label\n", EmptyDataset, "at least one row"),
    "blank, jsonl": ("r.jsonl", "\n\n", EmptyDataset, "at least one row"),
    "missing column": ("r.csv", "txt,label\na,1\n", MissingColumn, "column 'text' .* Did you mean 'txt'?"),
    "column twice": ("r.csv", "text,text,label\na,b,1\n", MissingColumn, "Received: 2 of this name"),
    "missing column, jsonl": ("r.jsonl", '{"text": "a", "lable": 1}\n', MissingColumn, "Did you mean 'lable'?"),
    "malformed JSON": ("r.jsonl", '{"text": "a", "label": 1}\n{"text": \n', BadRow, "line 2: not a JSON object: "),
    "malformed JSON, after a blank line": ("r.jsonl", '{"text": "a", "label": 1}\n\nx\n', BadRow, "line 3: not a JSON"),
    "JSON array": ("r.jsonl", '{"text": "a", "label": 1}\n["a", 1]\n', BadRow, r"line 2: expected a JSON object.*\["),
    "JSON file instead of lines": ("r.jsonl", '[\n{"text": "a", "label": 1}\n]', BadRow, "line 1: not a JSON object"),
    "JSON nested too deeply": ("r.jsonl", "[" * 200_000, BadRow, "line 1: not a JSON object"),
    "null": ("r.jsonl", '{"text": "a", "label": 1}\n{"text": null, "label": 2}\n', BadRow, "line 2: no value"),
    "key left out": (
        "r.jsonl",
        '{"text": "a", "label": 1}\n\n{"label": 2}\n',
        BadRow,
        "line 3: no value in column 'text'",
    ),
    "list as label": ("r.jsonl", '{"text": "a", "label": [1, 2]}\n', BadRow, "line 1: a list instead of one value"),
    "not UTF-8, jsonl": ("r.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', BadRow, "byte 0xff at column 11 of line 2"),
    "unknown ending": ("r.txt", "a", DataError, r"ends in .csv, .tsv, .jsonl"),
    "no ending": ("csv", "a", DataError, r"ends in .csv, .tsv, .jsonl"),
    "not gzip": ("r.csv.gz", "text,label\n", DataError, "cannot be unpacked: Not a gzipped file"),
    "not gzip, jsonl": ("r.jsonl.gz", "{}", DataError, "cannot be unpacked: Not a gzipped file"),
    "not gzip, parquet": ("r.parquet.gz", "PAR1", DataError, "cannot be unpacked: Not a gzipped file"),
    "half a gzip": ("r.csv.gz", gzip.compress(b"text,label\na,1\n" * 99)[:-20], DataError, "cannot be unpacked"),
    "wrong bytes in gzip": (
        "r.csv.gz",
        gzip.compress(b"text,label\n")[:12] + b"\xff" * 9,
        DataError,
        "cannot be unpacked: ",
    ),
    "not deflated": ("r.csv.gz", gzip.compress(b"a,b\n" * 999)[:12] + b"\xff" * 30, DataError, "unpacked: Error -3"),
    "not parquet": ("r.parquet", "text,label\na,1\n", DataError, "which cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_file_and_the_line(tmp_path, case):
    name, content, error, message = BAD[case]
    with pytest.raises(error, match=message) as raised:
        load(tmp_path, content, name)
    assert type(raised.value) is error
    assert name in str(raised.value)


def test_half_a_parquet_file(tmp_path):
    path = write(tmp_path, "parquet")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="reviews.parquet', which cannot be read"):
        load_dataset(path)


def test_damaged_pages_of_a_parquet_file(tmp_path):
    path = write(tmp_path, "parquet", {"text": [f"text {n}" for n in range(500)], "label": ["a", "b"] * 250})
    data = bytearray(path.read_bytes())
    data[4:400] = b"\xff" * 396
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"reviews.parquet', which cannot be read"):
        load_dataset(path)


def test_a_file_that_is_not_there_names_the_close_one(tmp_path):
    write(tmp_path, "csv")
    with pytest.raises(DataError, match=r"review.csv', which is not there. Did you mean 'reviews.csv'\?"):
        load_dataset(tmp_path / "review.csv")
    with pytest.raises(DataError, match="which is not there. Available: none"):
        load_dataset(tmp_path / "none" / "review.csv")
    with pytest.raises(DataError, match="which is a folder"):
        load_dataset(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = write(tmp_path, "csv")

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match="Expected a file that can be read.*Permission denied"):
        load_dataset(path)


def test_something_else_than_a_file_or_table():
    with pytest.raises(DataError, match=r"or a table with to_pandas\(\). Received: a list.*pandas.DataFrame\(rows\)"):
        load_dataset([{"text": "a", "label": 1}])


def test_a_table_of_another_library():
    import pyarrow

    table = pyarrow.table({**ROWS, "tokens": [["In", "Paris"]] * 3, "ner": [["O", "B-city"]] * 3})
    data = load_dataset(table)
    assert (data.texts, data.label_values, data.source) == (ROWS["text"], ROWS["label"], "the Table")
    entities = load_dataset(table, text="tokens", label="ner", label_kind="entities")
    assert (entities.texts[0], entities.targets[0]) == ("In Paris", [(3, 8, "city")])
    with pytest.raises(BadRow, match="every row of the Table.*row 1: no value in column 'text'"):
        load_dataset(pyarrow.table({"text": ["a", None], "label": ["x", "y"]}))


def test_named_columns_beside_a_table_are_refused():
    with pytest.raises(ConfigError, match=r"columns=\['token', 'ner'\] beside the DataFrame"):
        load_dataset(pd.DataFrame(ROWS), columns=["token", "ner"])


def test_rows_without_any_column(tmp_path):
    with pytest.raises(MissingColumn, match="column 'text' in .*r.jsonl'. Available: none"):
        load(tmp_path, "{}\n{}\n", "r.jsonl", skip_bad_rows=True)
    with pytest.raises(MissingColumn, match="column 'text' in the DataFrame"):
        load_dataset(pd.DataFrame(index=[0, 1]))


GLUE = 'text\tlabel\n"Hello there\t1\nplain\t0\nhe said "no"\t1\n'


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_a_mark_that_swallows_rows_is_an_error_with_its_line(tmp_path, name):
    content = GLUE if name == "a.tsv" else GLUE.replace("\t", ",")
    with pytest.raises(
        BadRow, match=f"{name}'.*opens in the row of line 2 and closes within a cell, at line 4"
    ) as raised:
        load(tmp_path, content, name)
    assert "write a quotation mark twice" in str(raised.value)
    assert ("quoting=3" in str(raised.value)) == (name == "a.tsv")


def test_the_way_out_for_a_table_without_quoting_works(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(GLUE)
    with pytest.raises(BadRow) as raised:
        load_dataset(path)
    advice = str(raised.value).partition("DataFrame of ")[2].removesuffix(".")
    frame = eval(advice, {"pandas": pd, "path": path})
    assert load_dataset(frame).texts == ['"Hello there', "plain", 'he said "no"']


def test_a_mark_that_never_closes_in_a_table_with_tabs(tmp_path):
    with pytest.raises(BadRow, match="opens in the row of line 3 and never closes.*If no cell is quoted, as in GLUE"):
        load(tmp_path, 'text\tlabel\na\t1\n"b\t0\nc\t1\n', "a.tsv")


def test_a_context_is_needed_for_answers():
    frame = pd.DataFrame({"text": ["when?"], "label": [[[0, 4]]]})
    with pytest.raises(ConfigError, match='text_pair= beside label_kind="answers"'):
        load_dataset(frame, label_kind="answers")
    assert load_dataset(frame, label=None, label_kind="answers").texts == ["when?"]


# === Tokens with tags ===


def tagged(tmp_path, *rows, **options):
    """Load rows of tokens and tags from a `.jsonl` file."""
    lines = "".join(json.dumps({"tokens": tokens, "ner": tags}) + "\n" for tokens, tags in rows)
    return load(tmp_path, lines, "r.jsonl", text="tokens", label="ner", label_kind="entities", **options)


@pytest.mark.parametrize(
    ("tokens", "tags", "problem"),
    [
        (None, ["O"], "line 2: no value in column 'tokens'"),
        (["In", 2024], ["O", "O"], "line 2: 2024 instead of text as token 1 in column 'tokens'"),
        ([], ["O"], "line 2: no value in column 'tokens'"),
        (["", "Paris"], ["B-city", "O"], "line 2: word 0: tag 'B-city' of an empty token in column 'ner'"),
        (["In", ""], ["B-city", "I-city"], "line 2: word 1: tag 'I-city' of an empty token in column 'ner'"),
        (["In"], ["O", "O"], "line 2: 2 tags for 1 words in column 'ner'"),
        ("a" * 9, "[" * 100_000, "line 2: '\\[.*instead of a JSON list in column 'ner'"),
    ],
)
def test_tokens_and_tags_that_cannot_be_read(tmp_path, tokens, tags, problem):
    rows = [(["Hi"], ["O"]), (tokens, tags)]
    with pytest.raises(BadRow, match=f"1 bad of 2 rows: {problem}"):
        tagged(tmp_path, *rows)
    assert tagged(tmp_path, *rows, skip_bad_rows=True).texts == ["Hi"]


def test_an_empty_token_may_stand_outside():
    frame = pd.DataFrame({"text": [["", "Paris"]], "label": [["O", "B-city"]]})
    assert load_dataset(frame, label_kind="entities").targets == [[(1, 6, "city")]]


def test_tags_count_the_words_of_the_text_that_is_loaded(tmp_path):
    numbers = pd.DataFrame({"text": [2024], "label": ["B-year"]})
    assert load_dataset(numbers, label_kind="entities").targets == [[(0, 4, "year")]]
    halves = tagged(tmp_path, (["\ud83d\ude00", "Paris"], ["O", "B-city"]))
    assert [halves.texts[0][start:end] for start, end, _ in halves.targets[0]] == ["Paris"]


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t")])
def test_tokens_and_tags_as_json_in_a_cell(tmp_path, name, separator):
    path = tmp_path / name
    rows = [[json.dumps(["In", "New York"]), json.dumps(["O", "B-city"])], ["[1] Hi", '["O", "O"]'], ["[1]", '["O"]']]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False, sep=separator)
    data = load_dataset(path, label_kind="entities")
    assert data.texts == ["In New York", "[1] Hi", "[1]"]
    assert data.targets == [[(3, 11, "city")], [], []]


def test_a_json_list_beside_places_stays_a_text():
    text = '["In", "Paris"]'
    frame = pd.DataFrame({"text": [text, text], "label": ['[[8, 13, "city"]]', "[]"]})
    data = load_dataset(frame, label_kind="entities")
    assert (data.texts, data.targets) == ([text, text], [[(8, 13, "city")], []])


@pytest.mark.parametrize("kind", ["entities", "answers"])
def test_an_empty_cell_is_no_empty_list(tmp_path, kind):
    options = {"text": "q", "text_pair": "text", "label_kind": kind}
    rows = "q,text,label\nwhen?,In Paris,[]\nwho?,In Rome,{}\n"
    with pytest.raises(BadRow, match=r"1 bad of 2 rows: line 3: no value; write \[\] for none in column 'label'"):
        load(tmp_path, rows.format(""), **options)
    assert load(tmp_path, rows.format("[]"), **options).targets == [[], []]


def test_an_empty_cell_is_no_label_where_a_row_has_any_number(tmp_path):
    assert load(tmp_path, "text,label\na,x|y\nb,\n", label_kind="labels").targets == [["x", "y"], []]


def test_bad_rows_of_a_data_frame_are_named_by_position():
    frame = pd.DataFrame({"text": ["a", None, "c"], "label": [1.0, 2.0, np.nan]}, index=[5, 6, 7])
    with pytest.raises(BadRow, match="2 bad of 3 rows: row 1: no value in column 'text'; row 2: .*'label'"):
        load_dataset(frame)
    with pytest.raises(EmptyDataset, match="the DataFrame"):
        load_dataset(pd.DataFrame({"text": [], "label": []}))


def test_bytes_in_a_table():
    assert load_dataset(pd.DataFrame({"text": ["é".encode(), "x"], "label": [1, 2]})).texts == ["é", "x"]
    with pytest.raises(BadRow, match="row 0: bytes that are not UTF-8 in column 'text'"):
        load_dataset(pd.DataFrame({"text": [b"\xff", "x"], "label": [1, 2]}))


def test_only_the_first_bad_rows_are_named_and_in_order(tmp_path):
    content = "text,label\n" + "a,\n" * 20 + ",1\n"
    with pytest.raises(BadRow, match="21 bad of 21 rows") as raised:
        load(tmp_path, content)
    assert [f"line {n}:" in str(raised.value) for n in range(2, 8)] == [True] * 5 + [False]


def test_skip_bad_rows_counts_them(tmp_path):
    content = "text,label\na,1\n,1\nb,\nc,0\nd,e,1\n,\n"
    data = load(tmp_path, content, skip_bad_rows=True)
    assert data.texts == ["a", "c"]
    assert data.source.endswith("reviews.csv' (without 4 bad rows)")
    lines = '{"text": "a", "label": 1}\n{"text"\n[]\n{"text": "b"}\n{"text": "c", "label": 0}\n'
    assert load(tmp_path, lines, "r.jsonl", skip_bad_rows=True).source.endswith("(without 3 bad rows)")


def test_skip_bad_rows_with_none_left(tmp_path):
    for name, content in (("r.csv", "text,label\n,1\n"), ("r.jsonl", "[]\n"), ("r.csv", "text,label\na,b,c\n")):
        with pytest.raises(EmptyDataset, match="at least one complete row.* Received: 1 bad rows"):
            load(tmp_path, content, name, skip_bad_rows=True)


def test_skip_bad_rows_without_any_keeps_the_name(tmp_path):
    assert load(tmp_path, "text,label\na,1\nb,0\n", skip_bad_rows=True).source.endswith("reviews.csv'")


def test_rows_of_one_class(tmp_path):
    data = load(tmp_path, "text,label\na,1\nb,1\n")
    with pytest.raises(SingleClass, match=r"column 'label' of '.*reviews.csv'. Received: only '1'"):
        data.labels  # noqa: B018
