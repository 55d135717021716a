import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfllm.data.schema import TextDataset
from tfllm.errors import DataError, EmptyDataset, MissingColumn, SingleClass


def make(labels, **columns):
    frame = pd.DataFrame({"text": [f"text {n}" for n in range(len(labels))], "label": labels, **columns})
    return TextDataset(frame, source="the reviews")


def rows_of(data):
    return [int(text.split()[1]) for text in data.texts]


def test_what_a_data_set_says_of_itself():
    data = make(["b", "a", "b"])
    assert repr(data) == "TextDataset(3 rows of the reviews, text='text', label='label')"
    assert data.labels.names == ("a", "b")
    assert data.class_counts == {"a": 1, "b": 2}


def test_counts_and_description_of_one_class_still_work():
    data = make(["a", "a"])
    assert data.class_counts == {"a": 2}
    assert data.describe().loc["a", "rows"] == 2
    with pytest.raises(SingleClass, match="column 'label' of the reviews. Received: only 'a'"):
        data.labels  # noqa: B018


def test_pairs():
    frame = pd.DataFrame({"a": ["x", "y"], "b": ["1", "2"], "label": [0, 1]})
    data = TextDataset(frame, text="a", text_pair="b")
    assert data.texts == [("x", "1"), ("y", "2")]
    assert "text_pair='b'" in repr(data)


@pytest.mark.parametrize("missing", ["text", "text_pair", "label"])
def test_a_missing_column_names_the_close_match(missing):
    columns = {"text": "review", "text_pair": "reply", "label": "stars"}
    frame = pd.DataFrame({column + "s" * (role == missing): ["x"] for role, column in columns.items()})
    column = columns[missing]
    with pytest.raises(MissingColumn, match=rf"column '{column}' in the file. Did you mean '{column}s'\?"):
        TextDataset(frame, **columns, source="the file")


def test_no_rows():
    with pytest.raises(EmptyDataset, match="the reviews with none"):
        make([])


def test_a_column_that_is_there_twice():
    frame = pd.DataFrame([["a", "b", "1"]], columns=["text", "text", "label"])
    with pytest.raises(MissingColumn, match="Expected one column 'text' in the table. Received: 2"):
        TextDataset(frame)


LABELS = st.lists(st.sampled_from("abc"), min_size=2, max_size=60)


@settings(max_examples=150, deadline=None)
@given(LABELS, st.floats(0.05, 0.95), st.integers(0, 5))
def test_a_split_is_complete_disjoint_ordered_and_stratified(labels, fraction, seed):
    data = make(labels)
    counts = data.class_counts
    if max(counts.values()) < 2:
        with pytest.raises(DataError, match="at least two rows"):
            data.split(fraction, seed=seed)
        return
    first, second = data.split(fraction, seed=seed)
    assert sorted(rows_of(first) + rows_of(second)) == list(range(len(labels)))
    assert rows_of(first) == sorted(rows_of(first))
    assert rows_of(second) == sorted(rows_of(second))
    for label, count in counts.items():
        held_out = second.label_values.count(label)
        assert abs(held_out - fraction * count) < 1
        assert 0 < held_out < count or (count == 1 and held_out == 0)
    again = data.split(fraction, seed=seed)
    assert [rows_of(part) for part in again] == [rows_of(first), rows_of(second)]


def test_another_seed_holds_out_other_rows():
    data = make(["a", "b"] * 50)
    assert len({tuple(rows_of(data.split(0.2, seed=seed)[1])) for seed in range(5)}) == 5


def test_a_split_keeps_columns_and_source():
    data = make(["a", "b"] * 5, user=list("abcdefghij"))
    for part in data.split(0.2):
        assert part.source == data.source
        assert part.frame["user"].tolist() == [list("abcdefghij")[row] for row in rows_of(part)]
        assert part.frame.index.tolist() == list(range(len(part)))


def test_a_split_without_labels():
    data = TextDataset(pd.DataFrame({"text": [f"text {n}" for n in range(10)]}), label=None)
    first, second = data.split(0.3)
    assert (len(first), len(second), second.label) == (7, 3, None)
    with pytest.raises(DataError, match="at least two rows"):
        TextDataset(pd.DataFrame({"text": ["x"]}), label=None).split()


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 20, float("nan")])
def test_a_fraction_out_of_range(fraction):
    with pytest.raises(DataError, match="fraction over 0 and under 1. Received: fraction="):
        make(["a", "b"] * 5).split(fraction)


def test_split_by():
    data = make(["a", "b", "a", "b"], part=["train", "dev", "train", "train"])
    parts = data.split_by("part")
    assert {name: rows_of(part) for name, part in parts.items()} == {"train": [0, 2, 3], "dev": [1]}
    with pytest.raises(MissingColumn, match="Did you mean 'part'"):
        data.split_by("parts")


def test_describe():
    frame = pd.DataFrame({"text": ["one", "one two", "one two three four", "one two"], "label": [1, 1, 2, 1]})
    table = TextDataset(frame).describe()
    assert table.to_dict("index") == {
        "1": {"rows": 3, "share": 0.75, "words_median": 2.0, "words_max": 2},
        "2": {"rows": 1, "share": 0.25, "words_median": 4.0, "words_max": 4},
        "all": {"rows": 4, "share": 1.0, "words_median": 2.0, "words_max": 4},
    }


def test_describe_with_a_label_called_all_and_without_labels():
    table = make(["all", "some", "some"]).describe()
    assert list(zip(table.index, table["rows"], strict=True)) == [("all", 1), ("some", 2), ("all", 3)]
    unlabelled = TextDataset(pd.DataFrame({"text": ["a b"]}), label=None).describe()
    assert unlabelled["words_max"].to_dict() == {"all": 2}


WORDS = st.lists(st.tuples(st.text("ab", max_size=3), st.sampled_from("xy")), min_size=1, max_size=4)


def fingerprint(rows):
    return TextDataset(pd.DataFrame(rows, columns=["text", "label"])).fingerprint


@settings(max_examples=200, deadline=None)
@given(WORDS, WORDS)
def test_the_fingerprint_changes_exactly_when_the_rows_do(rows, others):
    assert (fingerprint(rows) == fingerprint(others)) == (rows == others)


def test_the_fingerprint_sees_where_cells_and_columns_end():
    pairs = TextDataset(pd.DataFrame({"text": ["a", "b"], "more": ["c", "d"]}), text_pair="more", label=None)
    single = TextDataset(pd.DataFrame({"text": ["a", "b", "c", "d"]}), label=None)
    labelled = TextDataset(pd.DataFrame({"text": ["a", "b"], "label": ["c", "d"]}))
    assert len({pairs.fingerprint, single.fingerprint, labelled.fingerprint}) == 3
    assert fingerprint([("ab", "x"), ("c", "x")]) != fingerprint([("a", "x"), ("bc", "x")])


def test_the_fingerprint_does_not_see_names_types_of_labels_or_further_columns():
    data = make([5, 6])
    renamed = TextDataset(data.frame.rename(columns={"text": "t", "label": "l"}), text="t", label="l", source="x")
    assert data.fingerprint == renamed.fingerprint == make(["5", "6"], user=["x", "y"]).fingerprint
    assert data.fingerprint == make([5.0, 6.0]).fingerprint
