import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import tensorflow as tf
from kinds import KINDS, make
from tensorflow.core.protobuf import saved_model_pb2

from tfllm import repository
from tfllm.data.cleaning import TextCleaner
from tfllm.errors import DataError, ExportError, ParityError
from tfllm.exporting import parity
from tfllm.exporting.operators import listed_operators, listed_versions
from tfllm.exporting.parity import ODD_TEXTS
from tfllm.exporting.preflight import preflight
from tfllm.exporting.reload import LOADERS, run_in_fresh_process
from tfllm.exporting.saved_model import export
from tfllm.exporting.warmup import WARM_UP_FILE, warm_up_requests
from tfllm.tasks.text_classifier import TextClassifier

SAMPLES = [f"good film {number}" for number in range(70)]  # more than a batch


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = TextClassifier.from_preset(
        "micro_bert", labels=["bad", "good"], cleaner=TextCleaner(html_tags=True, html_entities=True, max_repeats=3)
    )
    version = export(
        model,
        tmp_path_factory.mktemp("models") / "reviews",
        samples=["good film", "bad food &amp; <b>worse</b>"],
        evaluation={"accuracy": 0.5},
        data_hash="abc",
    )
    return model, version


def test_it_answers_as_keras_does(exported):
    model, version = exported
    served = tf.saved_model.load(str(version.path)).signatures["serving_default"]
    texts = tf.constant(list(ODD_TEXTS))
    got, want = served(text=texts), model.answer(texts)
    np.testing.assert_allclose(got["scores"], want["scores"], atol=1e-6)
    np.testing.assert_array_equal(got["label"], want["label"])


def test_it_holds_its_weights_once(exported):
    model, version = exported
    reader = tf.train.load_checkpoint(str(version.path / "variables" / "variables"))
    tables = {name: shape for name, shape in reader.get_variable_to_shape_map().items() if "OBJECT" not in name}
    stored = sum(int(np.prod(shape)) for name, shape in tables.items() if "save_counter" not in name)
    assert stored == model.backbone.token_embedding.embeddings.shape[0] * 8 + 2 * 64 * 8  # the rest is in the graph
    saved = saved_model_pb2.SavedModel.FromString((version.path / "saved_model.pb").read_bytes())
    kernels = [
        node
        for function in saved.meta_graphs[0].graph_def.library.function
        for node in function.node_def
        if node.op == "Const" and [dim.size for dim in node.attr["value"].tensor.tensor_shape.dim] == [8, 24]
    ]
    assert len(kernels) == 2  # query, key and value of each of the two layers, once for all signatures


def test_the_tokens_signature_gives_logits(exported):
    model, version = exported
    tokens = model.preprocess(tf.constant(["good film"]))
    logits = tf.saved_model.load(str(version.path)).signatures["tokens"](**tokens)["logits"]
    np.testing.assert_allclose(logits, model(tokens, training=False), atol=1e-6)


def test_the_contract_says_what_was_exported(exported):
    model, version = exported
    contract = json.loads((version.path / repository.CONTRACT_FILE).read_text("utf-8"))
    assert contract["task"] == "TextClassifier" and contract["labels"] == ["bad", "good"]
    assert contract["evaluation"] == {"accuracy": 0.5} and contract["data_sha256"] == "abc"
    assert contract["signatures"]["serving_default"]["inputs"] == {"text": {"dtype": "string", "shape": [None]}}
    assert contract["parity"]["largest_difference"].keys() == {"saved_model", "session"}
    assert max(contract["parity"]["largest_difference"].values()) <= contract["parity"]["tolerance"]
    assert max(contract["parity"]["largest_difference_in_batches"].values()) <= 1e-5
    golden = contract["golden"][1]
    assert golden["request"] == ["bad food &amp; <b>worse</b>"]
    assert golden["answer"]["label"] == model.predict_text(golden["request"][0]).label
    assert contract["versions"]["tensorflow"] == tf.__version__


@pytest.mark.slow
def test_the_exported_graph_is_judged_by_itself(tmp_path, micro_model):
    asked = []

    def judge(predict):
        asked.append(predict(SAMPLES))
        return {"score": np.float32(asked[-1][0].score), "rows": len(asked[-1])}

    version = export(micro_model, tmp_path / "m", precision="bfloat16", judge=judge)
    contract = json.loads((version.path / repository.CONTRACT_FILE).read_text("utf-8"))
    exported, in_keras = asked
    assert [result.label for result in in_keras] == [result.label for result in exported] and len(exported) == 70
    assert contract["evaluation"] == {"score": pytest.approx(in_keras[0].score), "rows": 70.0}
    assert contract["evaluation_exported"] == {"score": pytest.approx(exported[0].score), "rows": 70.0}
    assert 0 < abs(exported[0].score - in_keras[0].score) < 1e-2  # the exported one computes in bfloat16
    assert "as exported, bfloat16" in (version.path / "README.md").read_text("utf-8")

    def broken(predict):
        raise ValueError("no figures")

    with pytest.raises(ValueError, match="no figures"):
        export(micro_model, tmp_path / "m", judge=broken)
    assert [each.version for each in repository.list_versions(tmp_path / "m")] == [1]


@pytest.mark.slow
def test_an_answer_that_its_neighbours_change(tmp_path, micro_model, monkeypatch):
    def changed(folder, requests, loaders=LOADERS):
        answers = run_in_fresh_process(folder, requests, loaders)
        for (signature, _), answer in zip(requests, answers["session"], strict=True):
            if signature == "serving_default":  # near to Keras, but on this side of it alone, and on that in a batch
                answer["scores"] = answer["scores"] + np.float32(8e-5 if len(answer["scores"]) > 1 else -8e-5)
        return answers

    monkeypatch.setattr(parity, "run_in_fresh_process", changed)
    with pytest.raises(ParityError, match="as alone, within 0.0001. Received: 0.0001[56].* through the session loader"):
        export(micro_model, tmp_path / "m", warm_up=False)
    assert repository.list_versions(tmp_path / "m") == []


def test_every_listed_server_has_what_it_needs(exported):
    _, version = exported
    found = {server: preflight(version.path, operators=listed_operators(server)) for server in listed_versions()}
    assert found and not any(found.values())


@pytest.mark.slow
def test_versions_count_up_and_pairs_are_exported(tmp_path, micro_model):
    assert export(micro_model, tmp_path / "m").version == 1
    micro_model.pairs = True  # as after fine-tuning on pairs
    pair = export(micro_model, tmp_path / "m")
    assert pair.version == 2
    served = tf.saved_model.load(str(pair.path)).signatures["serving_default"]
    assert served.structured_input_signature[1].keys() == {"text", "text_pair"}
    got = served(text=tf.constant(["good"]), text_pair=tf.constant(["film"]))
    np.testing.assert_allclose(got["scores"][0], micro_model.predict_text([("good", "film")])[0].scores, atol=1e-6)


def test_a_difference_publishes_nothing(tmp_path, micro_model):
    with pytest.raises(ParityError, match="Nothing was published"):
        export(micro_model, tmp_path / "m", tolerance=-1.0)
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.slow
def test_a_model_that_answers_otherwise_in_the_graph_is_refused(tmp_path, micro_model):
    answer = micro_model.postprocess

    def depends_on_tracing(outputs):
        return answer(outputs if tf.executing_eagerly() else outputs + [[0.0, 0.1]])

    micro_model.postprocess = depends_on_tracing
    with pytest.raises(ParityError, match="saved_model loader"):
        export(micro_model, tmp_path / "m")
    assert repository.list_versions(tmp_path / "m") == []


@pytest.mark.slow
def test_a_warm_up_request_that_fails_publishes_nothing(tmp_path, micro_model, monkeypatch):
    wrong = ("serving_default", {"texts": np.array([b"good film"], object)})
    monkeypatch.setattr(
        "tfllm.exporting.saved_model.warm_up_requests",
        lambda *arguments, **options: [*warm_up_requests(*arguments, **options), wrong],
    )
    with pytest.raises(ExportError, match="(?s)answers in a fresh process.*texts"):
        export(micro_model, tmp_path / "m")
    assert repository.list_versions(tmp_path / "m") == [] and list((tmp_path / "m").iterdir()) == []


@pytest.mark.slow
def test_an_export_says_where_keras_computes(tmp_path, caplog):
    _, _, rows = KINDS["masks"]
    with caplog.at_level(logging.WARNING, "tfllm.exporting.saved_model"):
        export(make("masks", "bert"), tmp_path / "m", samples=rows, warm_up=False)
    (said,) = [record.getMessage() for record in caplog.records if record.name == "tfllm.exporting.saved_model"]
    assert "does not know the head of MaskedLM; this is Keras's own" in said and str(tmp_path / "m") in said


EXPORT_ALIKE = """
import sys
import keras
from tfllm.exporting.saved_model import export
from tfllm.tasks.text_classifier import TextClassifier
keras.utils.set_random_seed(0)
model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
export(model, sys.argv[1], samples=["good film", "bad food"])
"""


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path):
    folders = [tmp_path / name / "reviews" for name in ("first", "second")]
    for folder in folders:
        subprocess.run([sys.executable, "-c", EXPORT_ALIKE, str(folder)], check=True)
    first, second = (
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in folders
    )
    assert first.keys() == second.keys() >= {"1/saved_model.pb", f"1/{WARM_UP_FILE}"}
    for name in (f"1/{repository.CONTRACT_FILE}", "1/README.md"):  # they say when they were made
        first[name], second[name] = (re.sub(rb"\d{4}-\d\d-\d\dT[\d:]+", b"", files[name]) for files in (first, second))
    assert {name for name in first if first[name] != second[name]} == set()


def test_stemming_is_refused(tmp_path):
    model = TextClassifier.from_preset("micro_bert", labels=["a", "b"], cleaner=TextCleaner(stem="english"))
    with pytest.raises(ExportError, match="stem"):
        export(model, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_a_kill_leaves_only_whole_versions(tmp_path):
    """Kill an exporting process at several moments; what is visible must load and answer."""
    script = textwrap.dedent(
        """
        import sys
        from tfllm.exporting.saved_model import export
        from tfllm.tasks.text_classifier import TextClassifier
        model = TextClassifier.from_preset("micro_bert", labels=["a", "b"])
        print("start", flush=True)
        for _ in range(3):
            export(model, sys.argv[1])
        """
    )
    base = tmp_path / "m"
    for seconds in (1.0, 4.0, 9.0, None):  # None: when a version is there
        child = subprocess.Popen([sys.executable, "-c", script, str(base)], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"start\n"
        if seconds is None:
            while not repository.list_versions(base):
                assert child.poll() is None
                time.sleep(0.1)
        else:
            time.sleep(seconds)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        for version in repository.list_versions(base):
            assert (version.path / repository.CONTRACT_FILE).is_file()
            served = tf.saved_model.load(str(version.path)).signatures["serving_default"]
            assert served(text=tf.constant(["good"]))["scores"].shape == (1, 2)
    numbers = [version.version for version in repository.list_versions(base)]
    assert numbers == list(range(1, len(numbers) + 1)) and numbers


@pytest.mark.parametrize(
    "samples, pairs, error",
    [
        ("good film", None, DataError),
        (["a", ("b", "c")], None, DataError),
        ([1], None, DataError),
        (["a"], True, ExportError),
    ],
)
def test_wrong_samples_are_refused_before_anything_is_written(tmp_path, micro_model, samples, pairs, error):
    with pytest.raises(error, match="Received"):
        export(micro_model, tmp_path / "m", samples=samples, pairs=pairs)
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_a_short_precision_is_exported_and_named(tmp_path, micro_model):
    version = export(micro_model, tmp_path / "m", precision="bfloat16", tokens_per_step=64, warm_up=False)
    contract = json.loads((version.path / repository.CONTRACT_FILE).read_text("utf-8"))
    assert contract["forward"]["precision"] == "bfloat16" and contract["forward"]["tokens_per_step"] == 64
    assert contract["parity"]["tolerance"] == 1e-2 and contract["warm_up_records"] == 0
    assert not (version.path / "assets.extra" / "tf_serving_warmup_requests").exists()
