import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfllm.data import readers
from tfllm.data.readers import read_table

CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS.filter(str.strip)), min_size=1, max_size=6))
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("text", "label"), *rows])
    path.write_bytes(stream.getvalue().encode())
    table = read_table(path)
    assert list(table.frame.itertuples(index=False, name=None)) == rows
    assert table.problems == []


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t")])
def test_each_row_has_the_line_where_it_starts(tmp_path, name, separator):
    path = tmp_path / name
    path.write_text(f'a{separator}b\n\n1{separator}2\n"x\n\ny"{separator}3\n4{separator}5{separator}6\n7{separator}8')
    table = read_table(path)
    assert (table.unit, table.numbers) == ("line", [3, 4, 8])
    assert [place for place, _ in table.problems] == [7]


def test_rows_of_parquet_have_no_lines(tmp_path):
    import pandas as pd

    pd.DataFrame({"a": [1, 2]}, index=[9, 8]).to_parquet(tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert (table.unit, table.numbers, table.frame.index.tolist()) == ("row", [0, 1], [0, 1])


def test_progress_is_shown_for_a_large_file_only(tmp_path, monkeypatch):
    import rich.progress

    shown = []
    monkeypatch.setattr(rich.progress.Progress, "update", lambda self, task, description: shown.append(description))
    path = tmp_path / "rows.csv"
    path.write_text("a\n" + "x\n" * 5)
    read_table(path)
    assert shown == []
    monkeypatch.setattr(readers, "_PROGRESS_BYTES", 5)
    monkeypatch.setattr(readers, "_CHUNK_ROWS", 2)
    read_table(path)
    assert shown == [f"Reading rows.csv: {rows} rows" for rows in (2, 4, 5)]
