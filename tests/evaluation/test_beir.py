import gzip

import pytest

from tfllm.errors import BadRow, DataError
from tfllm.evaluation.beir import load_beir


@pytest.fixture
def folder(tmp_path):
    corpus = '{"_id": "d1", "title": "Paris", "text": "A city."}\n\n{"_id": "d2", "title": "", "text": "Ein Fluß."}\n'
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.write(corpus)
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "Where?"}\n{"_id": "2", "text": "What?"}\n', "utf-8")
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\td1\t1\n1\td2\t0\n", "utf-8")
    return tmp_path


def test_a_folder_is_read(folder):
    data = load_beir(folder)
    assert data.documents == {"d1": "Paris A city.", "d2": "Ein Fluß."}
    assert data.queries == {"1": "Where?"}
    assert data.judgements == {"1": {"d1": 1, "d2": 0}}


def test_judgements_without_a_header(folder):
    (folder / "qrels" / "test.tsv").write_text("1\td1\t1\n2\td2\t1\n", "utf-8")
    assert load_beir(folder).judgements == {"1": {"d1": 1}, "2": {"d2": 1}}


def test_byte_order_marks_and_line_ends(folder):
    for name in ("queries.jsonl", "qrels/test.tsv"):
        content = (folder / name).read_text("utf-8").replace("\n", "\r\n")
        (folder / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
    data = load_beir(folder)
    assert data.queries == {"1": "Where?"} and data.judgements == {"1": {"d1": 1, "d2": 0}}
    (folder / "qrels" / "test.tsv").write_bytes(b"\xef\xbb\xbf1\td1\t1\n")
    assert load_beir(folder).judgements == {"1": {"d1": 1}}


def test_what_is_not_utf_8_is_named_by_its_line(folder):
    (folder / "queries.jsonl").write_bytes(b'{"_id": "1", "text": "a"}\n{"_id": "2", "text": "\xff"}\n')
    with pytest.raises(BadRow, match="UTF-8 text in .*queries.jsonl'.*0xff.*in line 2"):
        load_beir(folder)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-12], lambda data: b"no gzip", lambda data: data[:12] + b"\xff" * 30]
)
def test_a_damaged_gzip_file_is_named(folder, damage):
    packed = folder / "corpus.jsonl.gz"
    packed.write_bytes(damage(packed.read_bytes()))
    with pytest.raises(DataError, match=r"corpus.jsonl.gz'.*fetch it again"):
        load_beir(folder)


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        ("queries.jsonl", '{"_id": "1", "text": "a"}\n{"_id": "2"}\n', BadRow, "line 2 of .*queries.jsonl"),
        ("queries.jsonl", "[1]\n", BadRow, "line 1 of .*queries.jsonl"),
        ("queries.jsonl", '{"_id": "1", "text": null}\n', BadRow, "line 1 of .*queries.jsonl"),
        ("queries.jsonl", '{"_id": null, "text": "a"}\n', BadRow, "line 1 of .*queries.jsonl"),
        ("queries.jsonl", '{"_id": "1", "text": "a", "title": ["b"]}\n', BadRow, "line 1 of .*queries.jsonl"),
        ("queries.jsonl", "[" * 100_000, BadRow, "line 1 of .*queries.jsonl"),
        ("queries.jsonl", '{"_id": 1, "text": "a"}\n{"_id": "1", "text": "b"}\n', BadRow, "'1' again in line 2"),
        ("queries.jsonl", '{"_id": "9", "text": "a"}\n', DataError, "line 2 of .*query '1'"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\td1\tyes\n", BadRow, "line 2 of .*test.tsv"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n1 d1 1\n", BadRow, "tabs"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n", DataError, "none"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\td7\t1\n", DataError, "document 'd7'"),
    ],
)
def test_what_is_wrong_is_named(folder, file, content, error, message):
    (folder / file).write_text(content, "utf-8")
    with pytest.raises(error, match=message):
        load_beir(folder)


def test_missing_files(folder):
    with pytest.raises(DataError, match="Available splits: test"):
        load_beir(folder, "dev")
    (folder / "corpus.jsonl.gz").unlink()
    with pytest.raises(DataError, match=r"corpus\.jsonl"):
        load_beir(folder)
