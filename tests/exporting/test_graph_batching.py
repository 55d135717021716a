import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from kinds import KINDS, make

from tfllm import repository
from tfllm.errors import ConfigError, ExportError
from tfllm.exporting.graph_batching import GraphBatching, batch_in_graph
from tfllm.exporting.operators import listed_operators, listed_versions
from tfllm.exporting.preflight import preflight
from tfllm.exporting.saved_model import export
from tfllm.tasks.signature import Signature

TEXT = {"text": tf.TensorSpec([None], tf.string, "text")}
LENGTH = {"length": tf.TensorSpec([None], tf.int32, "length"), "rows": tf.TensorSpec([None], tf.int32, "rows")}
AS_WIDE_AS_THE_BATCH = ("entities", "masks")


def measure(text):
    return {"length": tf.strings.length(text), "rows": tf.fill(tf.shape(text), tf.shape(text)[0])}


def test_requests_share_a_run_and_get_their_own_rows():
    run = batch_in_graph("x", Signature(TEXT, LENGTH, measure), GraphBatching(max_batch_size=8, timeout=2.0))
    function = tf.function(run).get_concrete_function(**TEXT)
    together = threading.Barrier(8)

    def ask(number):
        together.wait()
        return {name: value.numpy() for name, value in function(text=tf.constant(["a" * number])).items()}

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert [answer["length"].tolist() for answer in answers] == [[number] for number in range(8)]
    assert {answer["rows"].item() for answer in answers} == {8}


def test_a_large_request_runs_in_parts():
    run = batch_in_graph("x", Signature(TEXT, LENGTH, measure), GraphBatching(max_batch_size=8, timeout=0.0))
    found = tf.function(run).get_concrete_function(**TEXT)(text=tf.constant(["a"] * 21))
    assert found["length"].shape == (21,) and set(found["rows"].numpy().tolist()) == {8, 5}


def test_answers_of_one_width_alone_can_be_batched():
    spans = {"word": tf.TensorSpec([None, None], tf.string, "word")}
    signature = Signature(TEXT, spans, lambda text: {"word": text[:, tf.newaxis]})
    with pytest.raises(ExportError, match="signature 'serving_default' with word"):
        batch_in_graph("serving_default", signature, GraphBatching())


def test_token_ids_are_not_batched():
    signature = Signature({"token_ids": tf.TensorSpec([None, None], tf.int32)}, LENGTH, measure)
    assert batch_in_graph("tokens", signature, GraphBatching()) is measure


@pytest.mark.parametrize("setting", [{"max_batch_size": 0}, {"timeout": -1.0}, {"threads": 0}, {"max_queue": 0}])
def test_wrong_numbers(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        GraphBatching(**setting)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in AS_WIDE_AS_THE_BATCH])
def test_an_exported_model_with_batching_answers_as_one_without(tmp_path, kind):
    model, rows = make(kind, "bert"), KINDS[kind][2]
    batching = GraphBatching(max_batch_size=4)
    version = export(model, tmp_path / "m", samples=rows, batching=batching, warm_up=False)
    contract = json.loads((version.path / repository.CONTRACT_FILE).read_text("utf-8"))
    assert contract["batching"]["max_batch_size"] == 4
    for server in listed_versions():
        preflight(version.path, operators=listed_operators(server))
    rows = [row if isinstance(row, tuple) else (row,) for row in rows * 16]
    inputs = dict(zip(contract["input_names"], map(tf.constant, zip(*rows, strict=True)), strict=True))
    expected = model.answer(*inputs.values())
    served = tf.saved_model.load(str(version.path)).signatures["serving_default"]

    def ask(row):
        return served(**{name: texts[row : row + 1] for name, texts in inputs.items()})

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(len(rows))))
    alone = {name: np.concatenate([answer[name] for answer in answers]) for name in expected}
    for found in (alone, served(**inputs)):
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            check = np.testing.assert_array_equal if values.dtype == tf.string else np.testing.assert_allclose
            check(np.asarray(found[name]), values.numpy(), **({} if values.dtype == tf.string else {"atol": 1e-5}))


@pytest.mark.parametrize("kind", AS_WIDE_AS_THE_BATCH)
def test_answers_as_wide_as_the_batch_are_refused_before_anything_is_written(tmp_path, kind):
    with pytest.raises(ExportError, match="Expected outputs of one width.*Export without batching"):
        export(make(kind, "bert"), tmp_path / "m", samples=KINDS[kind][2], batching=GraphBatching())
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_a_row_that_cannot_be_read_fails_alone(tmp_path, micro_model):
    version = export(micro_model, tmp_path / "m", batching=GraphBatching(max_batch_size=2, timeout=2.0), warm_up=False)
    classify = tf.saved_model.load(str(version.path)).signatures["classify"]
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"good film"]))
    good = tf.train.Example(features=tf.train.Features(feature={"text": feature})).SerializeToString()
    expected = micro_model.answer(tf.constant(["good film"]))["scores"].numpy()
    together = threading.Barrier(2)

    def ask(row):
        together.wait()
        return classify(inputs=tf.constant([row]))["scores"].numpy()

    with ThreadPoolExecutor(2) as pool:
        answer, refused = pool.submit(ask, good), pool.submit(ask, b"no example")
        np.testing.assert_allclose(answer.result(), expected, atol=1e-5)
        with pytest.raises(tf.errors.InvalidArgumentError, match="parse"):
            refused.result()
