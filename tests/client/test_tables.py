"""Tables of each format, read and written in pieces."""

import gzip
import json
from pathlib import Path

import pytest

from tfllm.client.tables import count_rows, format_of, join_parts, read_rows, write_part
from tfllm.errors import BadRow, ConfigError, DataError

ROWS = [{"text": f'line "{number}"\nand é, more', "note": "a\tb", "many": [number, 2]} for number in range(7)]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.csv.gz", "a.jsonl.gz"])
def test_parts_are_joined_to_what_is_read_back(tmp_path, name):
    out = tmp_path / name
    parts = [tmp_path / f"{number}.part" for number in range(3)]
    for number, part in enumerate(parts):
        write_part(part, format_of(out), ROWS[3 * number : 3 * number + 3], list(ROWS[0]))
    join_parts(parts, out, list(ROWS[0]))
    found = list(read_rows(out))
    if format_of(out) in (".csv", ".tsv"):
        found = [{**row, "many": json.loads(row["many"])} for row in found]
    assert found == ROWS
    assert count_rows(out) == (7 if name.endswith("parquet") else None)
    before = out.read_bytes()
    join_parts(parts, out, list(ROWS[0]))
    assert out.read_bytes() == before
    assert not list(tmp_path.glob("*unfinished*"))


def test_parquet_parts_of_other_types_are_joined(tmp_path):
    parts = [tmp_path / "0", tmp_path / "1"]
    write_part(parts[0], ".parquet", [{"a": None, "b": 1}], [])
    write_part(parts[1], ".parquet", [{"a": "x", "b": 1.5, "c": [1]}], [])
    join_parts(parts, tmp_path / "out.parquet", [])
    assert list(read_rows(tmp_path / "out.parquet")) == [
        {"a": None, "b": 1.0, "c": None},
        {"a": "x", "b": 1.5, "c": [1]},
    ]


def test_parquet_has_the_columns_of_any_row(tmp_path):
    parts = [tmp_path / "0", tmp_path / "1"]
    write_part(parts[0], ".parquet", [{"a": 1}, {"a": 2, "b": "x"}], [])
    write_part(parts[1], ".parquet", [{"b": "y"}, {"c": 0.5}], [])
    join_parts(parts, tmp_path / "out.parquet", [])
    assert list(read_rows(tmp_path / "out.parquet")) == [
        {"a": 1, "b": None, "c": None},
        {"a": 2, "b": "x", "c": None},
        {"a": None, "b": "y", "c": None},
        {"a": None, "b": None, "c": 0.5},
    ]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([[{"a": 1}, {"a": "x"}]], "one type in column 'a'. Received: .*'x'.* Write to .jsonl"),
        ([[{"a": "x"}, {"a": 1}]], "one type in column 'a'. Received: .* Write to .jsonl"),
        ([[{"a": 2**70}]], "one type in column 'a'"),
        ([[{"a": {}}]], "values that parquet can hold. Received: .*'a'"),
        ([[{"a": 1}], [{"a": "x"}]], "in all parts. Received: .*Field a has incompatible types: int64 vs string"),
        ([[{"a": 2**60}], [{"a": 0.5}]], "in all parts. Received: .*1152921504606846976"),
    ],
)
def test_parquet_has_one_type_a_column(tmp_path, parts, message):
    with pytest.raises(DataError, match=message):
        files = [tmp_path / str(number) for number in range(len(parts))]
        for file, rows in zip(files, parts, strict=True):
            write_part(file, ".parquet", rows, [])
        join_parts(files, tmp_path / "out.parquet", [])
    assert not (tmp_path / "out.parquet").exists()


def test_a_mark_at_the_start_and_empty_lines_do_not_matter(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext\r\nabc\r\n\r\ndef\r\n")
    assert list(read_rows(tmp_path / "a.csv")) == [{"text": "abc"}, {"text": "def"}]
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": "b"}')
    assert list(read_rows(tmp_path / "a.jsonl")) == [{"text": "a"}, {"text": "b"}]


def test_columns_without_names(tmp_path):
    (tmp_path / "a.csv").write_text(",text\n0,abc\n")  # pandas writes its index so
    assert list(read_rows(tmp_path / "a.csv")) == [{"": "0", "text": "abc"}]
    (tmp_path / "b.csv").write_text("text,,\nabc,,\n")  # spreadsheets leave such
    assert list(read_rows(tmp_path / "b.csv")) == [{"text": "abc"}]


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.csv", b"", DataError, "empty"),
        ("a.csv", b"a,b,a\n1,2,3\n", DataError, "different names. Received: .*'a'. more than once"),
        ("a.csv", b"a,,\n1,,2\n", BadRow, "a name for each column. Received: none, in .*line 2"),
        ("a.csv", b"a,b\n1\n", BadRow, "Expected 2 columns. Received: 1 in .*line 2"),
        ("a.csv", b'a\n"open\n', BadRow, "line 2"),
        ("a.csv", b"a\n\xff\n", BadRow, "UTF-8"),
        ("a.jsonl", b'{"a": 1}\n{"a"\n', BadRow, "line 2"),
        ("a.jsonl", b"[1]\n", BadRow, "a list"),
        ("a.csv.gz", b"no gzip", DataError, "can be read"),
        ("a.csv.gz", gzip.compress(b"a\n" * 1000, mtime=0)[:-10], DataError, "can be read"),
        ("a.parquet", b"no parquet", DataError, "can be read"),
        ("a.txt", b"", ConfigError, "ends in .csv"),
        ("a.parquet.gz", b"", ConfigError, "ends in .csv"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, error, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        list(read_rows(tmp_path / name))


def test_a_file_that_is_not_there():
    with pytest.raises(DataError, match="can be read"):
        list(read_rows(Path("/nowhere/a.csv")))


def test_csv_has_no_place_for_further_columns(tmp_path):
    with pytest.raises(DataError, match="Received: a row with b. Write to .jsonl"):
        write_part(tmp_path / "a", ".csv", [{"a": 1}, {"b": 2}], ["a"])
