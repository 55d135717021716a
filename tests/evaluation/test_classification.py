import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from tfllm.data.schema import TextDataset
from tfllm.errors import DataError
from tfllm.evaluation.judging import evaluate
from tfllm.results import Classification

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects the elements, attributes and visible text of a page, and checks that elements close."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes, self.words, self.open = [], [], "", []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def data_of(texts, labels, **columns):
    return TextDataset(pd.DataFrame({"text": texts, "label": labels, **columns}), source="the reviews")


def answering(labels, scores=None):
    return lambda texts: [
        Classification(label, 0.9 if scores is None else scores[row]) for row, label in enumerate(labels)
    ]


@pytest.fixture
def report():
    data = data_of([f"text {number}" for number in range(6)], list("aaabbc"))
    return evaluate(answering("aabbac", [0.95, 0.85, 0.55, 0.65, 0.75, 0.95]), data)


def test_what_a_report_holds(report):
    assert (report.title, report.rows, report.labels) == ("Evaluation on the reviews", 6, ("a", "b", "c"))
    assert report.accuracy == report.metrics["accuracy"] == pytest.approx(4 / 6)
    assert report.confusion == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert report.classes["a"] == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3})
    assert report.mistakes == [
        {"text": "text 4", "expected": "b", "predicted": "a", "score": 0.75},
        {"text": "text 2", "expected": "a", "predicted": "b", "score": 0.55},
    ]


def test_a_report_prints(report):
    lines = str(report).splitlines()
    assert lines[0] == "Evaluation on the reviews: 6 rows"
    assert lines[1].split() == ["accuracy", "0.6667"]
    assert len(lines) == 1 + len(report.metrics)
    assert "Report(title='Evaluation on the reviews'" in repr(report)


def test_two_reports_can_be_compared(report):
    data = data_of(["x", "y"], ["a", "b"])
    assert evaluate(answering("ab"), data) == evaluate(answering("ab"), data) != report


def test_how_many_mistakes_and_the_title_are_settings():
    data = data_of(["x", "y", "z"], ["a", "a", "b"])
    report = evaluate(answering("bba", [0.1, 0.3, 0.2]), data, mistakes=2, title="Mine")
    assert [mistake["text"] for mistake in report.mistakes] == ["y", "z"]
    assert report.title == "Mine"


def test_pairs_are_handed_over_and_shown_as_pairs():
    frame = pd.DataFrame({"text": ["x", "y"], "more": ["X", "Y"], "label": ["a", "b"]})
    seen = []

    def predict(texts):
        seen.extend(texts)
        return answering("ba")(texts)

    report = evaluate(predict, TextDataset(frame, text_pair="more"))
    assert seen == [("x", "X"), ("y", "Y")]
    assert [mistake["text"] for mistake in report.mistakes] == ["x | X", "y | Y"]


def test_labels_that_only_the_answers_have():
    report = evaluate(answering(["a", "new"]), data_of(["x", "y"], ["a", "b"]))
    assert report.labels == ("a", "b", "new")
    assert report.confusion == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert report.classes["new"]["support"] == 0
    assert report.metrics["balanced_accuracy"] == 0.5
    assert "new" in Page(report.to_html()).words


def test_answers_with_numbers_as_labels():
    assert evaluate(answering([5, 5.0]), data_of(["x", "y"], [5, 4])).accuracy == 0.5


def test_one_label_only():
    report = evaluate(answering("aa"), data_of(["x", "y"], ["a", "a"]))
    assert (report.labels, report.confusion, report.accuracy) == (("a",), [[2]], 1.0)
    assert "None." in Page(report.to_html()).words


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_answers(count):
    with pytest.raises(DataError, match=f"Expected 2 answers of predict. Received: {count}."):
        evaluate(answering("a" * count), data_of(["x", "y"], ["a", "b"]))


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number(score):
    with pytest.raises(DataError, match=f"Expected scores that are numbers. Received: {score} for row 1"):
        evaluate(answering("ab", [0.5, score]), data_of(["x", "y"], ["a", "b"]))


def test_rows_without_labels():
    with pytest.raises(DataError, match="Expected labelled rows"):
        evaluate(answering("a"), TextDataset(pd.DataFrame({"text": ["x"]}), label=None))


def test_the_page_stands_on_its_own(report):
    html = report.to_html()
    page = Page(html)
    assert page.elements.count("svg") == 3
    assert not {"script", "link", "iframe", "object", "img"} & set(page.elements)
    links = [value for _, name, value in page.attributes if name in {"src", "href", "xlink:href"}]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in html
    assert "url(http" not in html
    for word in ("Evaluation on the reviews", "0.667", "matthews correlation", "text 4", "6 rows, 3 labels"):
        assert word in page.words


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;"


def test_texts_labels_and_title_come_out_escaped():
    report = evaluate(answering([HOSTILE, "a"]), data_of([HOSTILE, HOSTILE], ["a", HOSTILE]), title=HOSTILE)
    page = Page(report.to_html())
    assert not {"script", "img"} & set(page.elements)
    assert page.words.count(HOSTILE) == 7  # title twice, two texts, their labels, the table of labels
    markdown = report.to_markdown()
    assert "<script" not in markdown
    assert "<img" not in markdown


@pytest.mark.parametrize("ending", [".html", ".md", ".json", ".HTML", ".Json"])
def test_save(tmp_path, report, ending):
    path = tmp_path / "runs" / f"report{ending}"
    assert report.save(str(path)) == path
    text = path.read_text("utf-8")
    wanted = {".html": report.to_html, ".md": report.to_markdown}.get(ending.lower())
    assert text == wanted() if wanted else json.loads(text)


def test_another_ending(tmp_path, report):
    with pytest.raises(DataError, match=r"ends in .html, .md, .json. Received: 'report.pdf'"):
        report.save(tmp_path / "report.pdf")
    assert list(tmp_path.iterdir()) == []


def test_json_holds_everything(tmp_path, report):
    stored = json.loads(report.save(tmp_path / "report.json").read_text("utf-8"))
    assert stored == {**report.to_dict(), "labels": list(report.labels)}
    assert set(stored) == {"title", "rows", "metrics", "labels", "classes", "confusion", "mistakes"}


def tables(markdown):
    """Return the tables of a page in Markdown, each as rows of cells."""
    found, current = [], []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            cells = line.replace("\\|", "\0").strip().strip("|").split("|")
            current.append([cell.strip().replace("\0", "|") for cell in cells])
        elif current:
            found.append(current)
            current = []
    return found


def test_markdown_has_four_whole_tables():
    labels = ["a|b", "x\ny"]
    report = evaluate(answering(labels[::-1]), data_of(["first | text\r\nnext", "| |"], labels), title="On\ntwo lines")
    markdown = report.to_markdown()
    assert markdown.startswith("# On two lines\n")
    found = tables(markdown)
    assert [len(table) for table in found] == [2 + len(report.metrics), 4, 4, 4]
    for table in found:
        assert len({len(row) for row in table}) == 1, table
        assert set("".join(table[1])) <= {"-", ":"}
    assert [row[0] for row in found[1][2:]] == [row[0] for row in found[2][2:]] == ["a|b", "x y"]
    assert found[2][0] == ["", "a|b", "x y"]
    assert found[3][2] == ["first | text next", "a|b", "x y", "0.900"]


def test_half_a_surrogate_pair_does_not_stop_the_report(tmp_path):
    texts = pd.Series(["\ud83d", "y"], dtype=object)
    report = evaluate(answering("ba"), data_of(texts, ["a", "b"]))
    for ending in ("html", "md", "json"):
        assert report.save(tmp_path / f"report.{ending}").read_bytes()


def test_many_labels():
    labels = [f"label {number}" for number in range(60)]
    report = evaluate(answering(np.roll(labels, 1)), data_of(labels, labels))
    assert len(Page(report.to_html()).words) > 1000


def test_a_notebook_shows_the_page(report):
    assert report._repr_html_() == report.to_html()


def test_out_of_scope():
    data = data_of(["x", "y", "z", "w"], ["a", "b", "oos", "oos"])
    report = evaluate(answering(["a", "a", "oos", "b"], [0.9, 0.8, 0.3, 0.6]), data, out_of_scope="oos")
    names = ("in_scope_accuracy", "out_of_scope_recall", "out_of_scope_precision", "out_of_scope_auroc")
    assert [report.metrics[name] for name in names] == [0.5, 0.5, 1.0, 1.0]
    assert "out of scope recall" in Page(report.to_html()).words


def test_an_out_of_scope_label_that_no_row_has():
    with pytest.raises(DataError, match="out_of_scope='oss'. Received: none. Did you mean 'oos'?"):
        evaluate(answering("aa"), data_of(["x", "y"], ["a", "oos"]), out_of_scope="oss")


def test_scores_of_rejected_rows_are_no_confidence():
    """A rejected row has the score of the best label in scope, which was not its answer."""
    data = data_of(["x", "y", "z"], ["a", "a", "oos"])
    judged = {
        score: evaluate(answering(["a", "a", "oos"], [0.9, 0.9, score]), data, out_of_scope="oos")
        for score in (0.1, 0.4)
    }
    assert [report.metrics["expected_calibration_error"] for report in judged.values()] == pytest.approx([0.1, 0.1])
    assert [picture.draw() for picture in judged[0.1].pictures] == [picture.draw() for picture in judged[0.4].pictures]


def test_every_row_is_rejected():
    report = evaluate(answering(["oos", "oos"], [0.1, 0.2]), data_of(["x", "y"], ["a", "oos"]), out_of_scope="oos")
    assert report.metrics["expected_calibration_error"] == 0.0
    assert Page(report.to_html()).elements.count("svg") == 1


def test_a_number_as_the_out_of_scope_label():
    report = evaluate(answering(["1", "0"], [0.9, 0.2]), data_of(["x", "y"], [1, 0]), out_of_scope=0)
    assert report.metrics["out_of_scope_recall"] == 1.0
