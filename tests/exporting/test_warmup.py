import numpy as np
import pytest
import tensorflow as tf
from kinds import make

from tfllm.exporting.warmup import WARM_UP_FILE, read_warm_up, warm_up_requests, write_warm_up


@pytest.mark.parametrize("pairs", [False, True])
def test_the_requests_cover_batches_and_lengths(micro_model, pairs):
    samples = [(b"good film", b"bad food")] if pairs else [(b"good film was fine",)]
    every = warm_up_requests(micro_model, samples, pairs=pairs)
    requests = [request for request in every if request[0] == "serving_default"]
    shapes = {(len(inputs["text"]), len(inputs["text"][0].split())) for _, inputs in requests}
    assert {(1, 8), (1, 64), (8, 64), (64, 8)} <= shapes
    assert all(batch * length <= 512 for batch, length in shapes)
    assert len(every) <= 1000
    others = [(name, len(next(iter(inputs.values())))) for name, inputs in every if name != "serving_default"]
    assert others == [("tokens", 1), ("tokens", 1)]  # none of `classify`, whose graph costs memory
    assert set(requests[0][1]) == ({"text", "text_pair"} if pairs else {"text"})


def test_the_file_is_what_tensorflow_serving_reads(tmp_path, micro_model):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    requests = warm_up_requests(micro_model, [], pairs=False)
    write_warm_up(tmp_path, "reviews", requests)
    records = list(tf.data.TFRecordDataset(str(tmp_path / WARM_UP_FILE)).as_numpy_iterator())
    request = logs.PredictionLog.FromString(records[0]).predict_log.request
    assert (request.model_spec.name, request.model_spec.signature_name) == ("reviews", "serving_default")
    np.testing.assert_array_equal(tf.make_ndarray(request.inputs["text"]), requests[0][1]["text"])
    again = read_warm_up(tmp_path)
    assert [name for name, _ in again] == [name for name, _ in requests]
    np.testing.assert_array_equal(again[5][1]["text"], requests[5][1]["text"])
    np.testing.assert_array_equal(again[-1][1]["token_ids"], requests[-1][1]["token_ids"])


def test_masks_are_warmed_up_too():
    requests = warm_up_requests(make("masks", "bert"), [(b"good film",)], pairs=False)
    texts = [text for name, inputs in requests if name == "serving_default" for text in inputs["text"]]
    assert texts and all(text.startswith(b"[MASK] ") for text in texts)


def test_no_requests_no_file(tmp_path):
    write_warm_up(tmp_path, "reviews", [])
    assert list(tmp_path.iterdir()) == [] and read_warm_up(tmp_path) == []
