import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from contract import check_four_ways, check_task
from families import FAMILIES, micro_encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from tfllm.client.client import Client
from tfllm.data.schema import TextDataset
from tfllm.errors import ConfigError, DataError
from tfllm.evaluation.judging import evaluate
from tfllm.exporting.saved_model import export
from tfllm.results import Answer
from tfllm.server.server import serve
from tfllm.tasks.loading import make_preprocessor
from tfllm.tasks.question_answerer import QuestionAnswerer
from tfllm.training.fine_tuning import fine_tune

ROWS = [
    ("what was good?", "the film was good, the food was bad", [(4, 8)]),
    ("what was bad?", "the film was good, the food was bad", [(23, 27), (19, 27)]),
    ("who?", "the film was good, the food was bad", []),
    ("what?", "a great film " * 12 + "in Paris", [(159, 164)]),
]
ODD = "ab C.é-'e\u0301\u0308😀👩\u200d👧🇩🇪日本語テשלוםمرحبا \t\n\r\u00a0\u2028\u3000\u200b\u0000\ufffd"
TEXT = st.one_of(st.text(st.sampled_from(ODD), max_size=50), st.text(max_size=15))
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5)


@pytest.fixture
def questions():
    frame = pd.DataFrame(ROWS, columns=["question", "context", "answers"])
    columns = {"text": "question", "text_pair": "context", "label": "answers", "label_kind": "answers"}
    return TextDataset(frame, **columns, source="the questions")


def make(**settings):
    keras.utils.set_random_seed(0)
    model = QuestionAnswerer.from_preset("micro_bert", **{"max_length": 20, **settings})
    dense = model.get_layer("logits")
    dense.kernel.assign(dense.kernel * 20)
    return model


@pytest.fixture(scope="module")
def reader():
    return make()


def assert_exact(pairs, answers):
    for (_, context), found in zip(pairs, answers, strict=True):
        assert isinstance(found, Answer) and found.context == context
        assert context[found.start : found.end] == found.answer
        assert 0 <= found.start <= found.end <= len(context) and 0 <= found.score <= 1
        assert found.answer == "" or found.answer.strip()


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES[1:]])
def other_reader(request):
    encoder = micro_encoder(request.param)
    return QuestionAnswerer(encoder.backbone, make_preprocessor(encoder, 20, None), overlap=4)


@settings(max_examples=50, deadline=None)
@given(pairs=PAIRS)
def test_the_answer_is_that_part_of_the_context(reader, pairs):
    assert_exact(pairs, reader.predict_text(pairs))


@settings(max_examples=50, deadline=None)
@given(pairs=PAIRS)
def test_with_other_tokenizers_too(other_reader, pairs):
    assert_exact(pairs, other_reader.predict_text(pairs))
    (found,) = other_reader.predict_text([("what?", "the film was good")])
    assert found.answer


def test_odd_contexts_have_answers_to_check(reader):
    pairs = [("?", ODD), ("", "x" + ODD * 5), ("who " * 50, "😀 e\u0301\u0301 日本\tשלום\r\nx")]
    answers = reader.predict_text(pairs)
    assert_exact(pairs, answers)
    assert all(found.answer for found in answers)


@pytest.mark.slow
def test_exported_and_through_the_client_too(reader, tmp_path):
    export(reader, tmp_path / "faq", samples=[("what?", "the film")])
    with serve(tmp_path, port=0) as server, Client(server.address, model="faq", timeout=300.0) as client:

        @settings(max_examples=40, deadline=None)
        @given(pairs=PAIRS)
        def check(pairs):
            assert_exact(pairs, client.answers(pairs))

        check()


def test_nothing_to_find_has_an_empty_answer(reader):
    for context in ("", " \n", "\u200b"):
        (found,) = reader.predict_text([("what?", context)])
        assert (found.answer, found.start, found.end, found.score) == ("", 0, 0, 1.0)


def test_each_window_learns_its_own_part(questions):
    model = make()
    rows = model.training_rows(questions)
    columns = tuple(tf.constant(column) for column in rows.columns)
    tokens, places = model.preprocess_samples(columns, tf.constant(rows.targets))
    assert tokens["padding_mask"].numpy().sum(axis=1).tolist() == rows.lengths.tolist()
    assert rows.lengths.max() == 20
    vocabulary = model.preprocessor.tokenizer.get_vocabulary()
    taught = {}
    for question, ids, (first, last) in zip(rows.columns[0], tokens["token_ids"].numpy(), places.numpy(), strict=True):
        if last:
            taught.setdefault(question, set()).add(" ".join(vocabulary[token] for token in ids[first : last + 1]))
    assert taught == {"what was good?": {"film"}, "what was bad?": {"food"}, "what?": {"p ##a ##r ##i ##s"}}
    assert (places.numpy()[np.array(rows.columns[0]) == "who?"] == 0).all()
    assert (places.numpy() == 0).all(axis=1).sum() > 3  # windows without the answer


def test_it_learns_and_says_when_there_is_none(questions, tmp_path):
    model = make()
    often = questions.frame.loc[np.repeat(np.arange(4), 20)]
    columns = {"text": "question", "text_pair": "context", "label": "answers", "label_kind": "answers"}
    fine_tune(model, TextDataset(often, **columns), epochs=10, batch_size=8, learning_rate=1e-2, progress=False)
    before = evaluate(model.predict_text, questions).metrics
    assert before["no_answer_accuracy"] == 0.0 and model.no_answer is None
    threshold = model.tune_no_answer(questions)
    after = evaluate(model.predict_text, questions).metrics
    assert model.no_answer == threshold == model.head_config()["no_answer"]
    assert after["f1"] >= before["f1"]
    assert before["has_answer_f1"] > 0.3
    model.save_to_preset(tmp_path)
    loaded = QuestionAnswerer.from_preset(tmp_path)
    assert loaded.no_answer == threshold
    assert [a.answer for a in loaded.predict_text(questions.texts)] == [
        a.answer for a in model.predict_text(questions.texts)
    ]


def test_the_threshold_decides(reader, tmp_path):
    pairs = [("what?", "the good film")]
    always = make(no_answer=1e6).predict_text(pairs)[0]
    never = make(no_answer=-1e6).predict_text(pairs)[0]
    assert always.answer == reader.predict_text(pairs)[0].answer != ""
    assert (never.answer, never.start, never.end) == ("", 0, 0) and 0 < never.score < 1
    reader.save_to_preset(tmp_path)
    loaded = QuestionAnswerer.from_preset(tmp_path, no_answer=-1e6, longest_answer=5)
    np.testing.assert_array_equal(loaded.get_layer("logits").kernel, reader.get_layer("logits").kernel)
    assert loaded.predict_text(pairs)[0].answer == ""


def test_the_longest_answer_is_kept_to():
    pairs = [("?", "a b c d e f g h " * 3)]
    for longest in (1, 2):
        (found,) = make(longest_answer=longest).predict_text(pairs)
        assert len(found.answer.split()) <= longest


@pytest.mark.parametrize("texts", ["what?", ["what?"], [("a", "b", "c")], ("what?", "context")])
def test_questions_need_a_context(reader, texts):
    with pytest.raises(DataError, match="Received"):
        reader.predict_text(texts)


def test_rows_without_a_context_are_refused(reader):
    frame = pd.DataFrame({"text": ["x"], "label": [[]]})
    with pytest.raises(DataError, match="context"):
        reader.training_rows(TextDataset(frame, label_kind="answers"))


@pytest.mark.parametrize("settings", [{"overlap": -1}, {"longest_answer": 0}, {"longest_question": 0}])
def test_settings_that_cannot_be(settings):
    with pytest.raises(ConfigError, match="Received"):
        make(**settings)


@pytest.mark.slow
def test_contract(questions, tmp_path):
    check_task(make(), questions, tmp_path)


@pytest.mark.slow
def test_a_threshold_is_served(questions, tmp_path):
    model = make(no_answer=-2.5)
    assert {bool(found.answer) for found in model.predict_text(questions.texts)} == {True, False}
    check_four_ways(model, questions.texts, tmp_path)


def test_padding_counts_neither_in_the_loss_nor_in_the_accuracy(reader):
    tokens = {"padding_mask": tf.constant([[1, 1, 0, 0], [1, 1, 1, 0]])}
    logits = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    logits[0, 1], logits[1, 2] = 5.0, 5.0
    places = tf.constant([[1, 1], [2, 2]])

    def judged(padding):
        padded = np.where(tokens["padding_mask"][..., tf.newaxis] == 1, logits, padding)
        reader.reset_metrics()
        loss = reader.compute_loss(tokens, places, tf.constant(padded))
        return float(loss), float(reader.compute_metrics(tokens, places, tf.constant(padded))["accuracy"])

    assert judged(np.float32(0.0)) == judged(np.float32(100.0))
    assert judged(np.float32(100.0))[1] == 1.0
