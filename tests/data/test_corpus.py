import gzip

import pytest

from tfllm.data.corpus import Corpus
from tfllm.errors import ConfigError, DataError, EmptyDataset


def documents(source):
    return [[" ".join(piece.split()) for piece in document] for document in Corpus(source)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b.txt").write_text("\ufeffThird piece.\n", "utf-8")
    (tmp_path / "a.txt").write_text("First\npiece.\n\n\nSecond piece.", "utf-8")
    (tmp_path / "notes.md").write_text("not read")
    (tmp_path / "sub").mkdir()
    with gzip.open(tmp_path / "sub" / "c.txt.gz", "wt", encoding="utf-8") as stream:
        stream.write("Vierter Text, größer.")
    return tmp_path


def test_a_folder_is_read_in_the_order_of_names(folder):
    expected = [["First piece.", "Second piece."], ["Third piece."], ["Vierter Text, größer."]]
    assert documents(folder) == expected
    assert documents(str(folder)) == expected


def test_files_and_texts(folder):
    assert documents([folder / "b.txt", folder / "notes.md"]) == [["Third piece."], ["not read"]]
    assert documents(folder / "b.txt") == [["Third piece."]]
    assert documents(["one", "two"]) == [["one"], ["two"]]


def test_names_of_files_are_no_texts(folder):
    names = sorted(map(str, folder.glob("*.txt")))
    with pytest.raises(DataError, match=r"a\.txt' and the like, names of files.*pathlib\.Path"):
        Corpus(names)
    with pytest.raises(DataError, match="names of files"):
        Corpus(tuple(names[:1]))
    assert documents([names[0], "a text"]) == [[names[0]], ["a text"]]
    assert documents(["x" * 5000, "a\0b"]) == [["x" * 5000], ["a\0b"]]


def test_pieces_are_bounded_and_nothing_is_lost(tmp_path):
    text = "word " * 40_000
    (tmp_path / "long.txt").write_text(text + "\n" + "x\n" * 70_000)
    pieces = list(next(iter(Corpus(tmp_path / "long.txt"))))
    assert max(map(len, pieces)) <= 65_536
    assert "".join(pieces) == text + "\n" + "x\n" * 70_000
    assert "".join(next(iter(Corpus([text])))) == text


@pytest.mark.parametrize("as_file", [True, False])
def test_long_lines_are_cut_between_words(tmp_path, as_file):
    text = "longer words\u2003here " * 20_000
    (tmp_path / "long.txt").write_text(text, "utf-8")
    pieces = list(next(iter(Corpus(tmp_path / "long.txt" if as_file else [text]))))
    assert len(pieces) > 5 and max(map(len, pieces)) <= 65_536
    assert [word for piece in pieces for word in piece.split()] == text.split()


@pytest.mark.parametrize("as_file", [True, False])
def test_what_has_no_white_space_is_cut_anywhere(tmp_path, as_file):
    (tmp_path / "long.txt").write_text("日" * 150_000, "utf-8")
    pieces = list(next(iter(Corpus(tmp_path / "long.txt" if as_file else ["日" * 150_000]))))
    assert list(map(len, pieces)) == [65_536, 65_536, 18_928]


def test_texts_are_cut_at_line_ends():
    text = ("x" * 999 + " y\n") * 200
    assert all(piece.endswith("y\n") for piece in next(iter(Corpus([text]))))


@pytest.mark.parametrize("name", ["BOOK.TXT", "Book.Txt.GZ", "book.txt.gz", "book.txt"])
def test_endings_in_any_case_and_byte_order_marks(tmp_path, name):
    data = "\ufeffFirst piece.".encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
    assert documents(tmp_path) == [["First piece."]]


def test_the_fingerprint_follows_the_content(folder):
    before = Corpus(folder).fingerprint()
    assert Corpus(folder).fingerprint() == before
    (folder / "b.txt").write_text("Third piece!\n")
    assert Corpus(folder).fingerprint() != before
    assert Corpus(["ab", "c"]).fingerprint() != Corpus(["a", "bc"]).fingerprint()


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="read once only"):
        Corpus(text for text in ["a"])
    with pytest.raises(EmptyDataset, match="Received: none"):
        Corpus([])
    with pytest.raises(EmptyDataset, match=r"\.txt"):
        Corpus(tmp_path)
    with pytest.raises(DataError, match="not there"):
        Corpus(tmp_path / "absent.txt")
    with pytest.raises(DataError, match="not there"):
        Corpus([tmp_path / "absent.txt"])
    (tmp_path / "latin.txt").write_bytes("größer".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.txt"):
        documents(tmp_path)
    with pytest.raises(DataError, match="text 1"):
        documents(["a", 1])
