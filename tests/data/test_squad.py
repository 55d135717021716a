import json

import pandas as pd
import pytest

from tfllm.data.sources import load_dataset
from tfllm.errors import BadRow, DataError

CONTEXT = "Die Bäckerei 🥐 opened in 1987. It closed in 1999."


def squad(*entries, context=CONTEXT):
    return {
        "version": "v2.0",
        "data": [{"title": "Bakery", "paragraphs": [{"context": context, "qas": list(entries)}]}],
    }


def entry(name, *answers, **more):
    found = [{"text": text, "answer_start": CONTEXT.find(text) if start is None else start} for text, start in answers]
    return {"id": name, "question": f"{name}?", "answers": found, **more}


def load(tmp_path, content, **options):
    path = tmp_path / "a.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return load_dataset(path, **options)


def test_questions_contexts_and_all_answers(tmp_path):
    content = squad(
        entry("a", ("1987", None), ("in 1987", None)),
        entry("b", ("1999", 1), is_impossible=True, plausible_answers=[]),
        entry("c", ("1999", None), is_impossible=False),
    )
    data = load(tmp_path, content)
    assert (data.text, data.text_pair, data.label, data.label_kind) == ("question", "context", "answers", "answers")
    assert data.texts[0] == ("a?", CONTEXT)
    assert [[CONTEXT[s:e] for s, e in found] for found in data.targets] == [["1987", "in 1987"], [], ["1999"]]
    assert data.frame["id"].tolist() == ["a", "b", "c"]
    assert data.frame["title"].tolist() == ["Bakery"] * 3


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (entry("q7", ("1987", 3)), "question q7: answer_start 3 of the answer '1987', where the context has"),
        (entry("q7", ("1987", 3)), "it stands at 25"),
        (entry("q7", ("Paris", 3)), "nowhere in the context"),
        (entry("q7", ("1987", -1)), "question q7: answer_start -1"),
        (entry("q7", ("1987", "25")), "question q7: answer_start '25'"),
        (entry("q7", ("", 3)), "question q7: .* instead of an answer"),
        (entry("q7"), "question q7: no answer, and no is_impossible"),
        ({"id": "q7", "answers": []}, "question q7: no 'question'"),
        ({"id": "q7", "question": None, "answers": []}, "question q7: None instead of text as 'question'"),
        ({"id": "q7", "question": "?", "answers": None}, "question q7: None instead of a list as 'answers'"),
        ("q7?", "question 1 in paragraph 0 of article 'Bakery': 'q7\\?' instead of an object"),
        ({"id": "q7", "question": "?"}, "question q7: no 'answers'"),
        ({"question": "?", "answers": []}, "question 1 in paragraph 0 of article 'Bakery': no answer"),
    ],
)
def test_a_malformed_question_is_named_by_its_id(tmp_path, bad, problem):
    content = squad(entry("good", ("1987", None)), bad)
    with pytest.raises(BadRow, match=problem):
        load(tmp_path, content)
    assert load(tmp_path, content, skip_bad_rows=True).frame["id"].tolist() == ["good"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{\n"data": [}', "line 2"),
        ("[1, 2]", "layout of SQuAD"),
        ('{"rows": []}', "layout of SQuAD"),
        ('{"data": {"title": "x"}}', "Received: an object with 'data'"),
        ("[" * 100_000, "nested too deeply"),
        ('{"data": []}', "at least one row"),
    ],
)
def test_another_kind_of_json_is_refused(tmp_path, content, problem):
    with pytest.raises(DataError, match=problem):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("article", "place"),
    [
        ({"title": "T", "paragraphs": [{"qas": []}]}, "paragraph 0 of article 'T': no 'context'"),
        ({"title": "T", "paragraphs": [{"context": "x", "qas": []}, 7]}, "paragraph 1 of article 'T': 7 instead of"),
        (
            {"title": "T", "paragraphs": [{"context": None, "qas": []}]},
            "article 'T': None instead of text as 'context'",
        ),
        ({"title": "T", "paragraphs": [{"context": "x"}]}, "paragraph 0 of article 'T': no 'qas'"),
        ({"paragraphs": [{"context": "x", "qas": {"id": 1}}]}, "paragraph 0 of article 1: an object with 'id' instead"),
        ({"title": "T"}, "article 'T': no 'paragraphs'"),
        ({"title": "T", "paragraphs": {}}, "article 'T': an object with nothing instead of a list as 'paragraphs'"),
        (None, "article 1: None instead of an object with paragraphs"),
    ],
)
def test_a_malformed_paragraph_or_article_is_named_and_can_be_left_out(tmp_path, article, place):
    content = squad(entry("good", ("1987", None)))
    content["data"].append(article)
    with pytest.raises(BadRow, match=f"1 bad of 2 rows: .*{place}"):
        load(tmp_path, content)
    assert load(tmp_path, content, skip_bad_rows=True).frame["id"].tolist() == ["good"]


HUGGING_FACE = [
    {"text": ["1987"], "answer_start": [25]},
    {"text": [], "answer_start": []},
    {"text": ["1987", "in 1987", "1999"], "answer_start": [25, 22, 44]},
]


@pytest.mark.parametrize("form", ["parquet", "pandas", "structs"])
def test_answers_as_hugging_face_stores_them(tmp_path, form):
    import pyarrow
    import pyarrow.parquet

    answers = HUGGING_FACE
    if form == "structs":
        answers = [
            [{"text": t, "answer_start": s} for t, s in zip(a["text"], a["answer_start"], strict=True)] for a in answers
        ]
    table = pyarrow.table({"question": ["?"] * 3, "context": [CONTEXT] * 3, "answers": answers})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    source = table.to_pandas() if form == "pandas" else tmp_path / "a.parquet"
    data = load_dataset(source, text="question", text_pair="context", label="answers", label_kind="answers")
    assert data.targets == [[(25, 29)], [], [(25, 29), (22, 29), (44, 48)]]
    assert {type(place) for spans in data.targets for span in spans for place in span} == {int}


@pytest.mark.parametrize(
    "cell",
    [
        "1987",
        "[[25, 29]]",
        [[25, 29]],
        [{"text": "1987", "answer_start": 25}],
        {"text": ["1987"], "answer_start": [25]},
        '{"text": ["1987"], "answer_start": [25]}',
    ],
)
def test_answers_in_a_table(cell):
    frame = pd.DataFrame({"q": ["when?"], "c": [CONTEXT], "a": pd.Series([cell], dtype=object)})
    data = load_dataset(frame, text="q", text_pair="c", label="a", label_kind="answers")
    assert data.targets == [[(25, 29)]]


def test_answers_in_a_csv_file(tmp_path):
    path = tmp_path / "faq.csv"
    path.write_text(f'q,c,a\nwhen?,"{CONTEXT}",1987\nhow?,"{CONTEXT}","[[0, 3]]"\nwhy?,"{CONTEXT}",[]\n', "utf-8")
    data = load_dataset(path, text="q", text_pair="c", label="a", label_kind="answers")
    assert data.targets == [[(25, 29)], [(0, 3)], []]


def test_an_answer_without_its_place_must_stand_once():
    frame = pd.DataFrame({"q": ["when?"], "c": [CONTEXT], "a": [" in "]})
    with pytest.raises(BadRow, match="2 times: give"):
        load_dataset(frame, text="q", text_pair="c", label="a", label_kind="answers")


def test_tokens_and_tags_in_a_table(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"tokens": ["In", "Paris"], "ner": ["O", "B-city"]}\n{"tokens": ["Hi"], "ner": ["O"]}\n')
    data = load_dataset(path, text="tokens", label="ner", label_kind="entities")
    assert data.texts == ["In Paris", "Hi"]
    assert data.targets == [[(3, 8, "city")], []]
    frame = pd.DataFrame({"text": ["in  Paris now"], "slots": ["O B-city O"]})
    assert load_dataset(frame, label="slots", label_kind="entities").targets == [[(4, 9, "city")]]
    with pytest.raises(BadRow, match="row 0: 2 tags for 3 words"):
        load_dataset(frame.assign(slots="O O"), label="slots", label_kind="entities")
