"""The client against a real server."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from tfllm.client.client import Client
from tfllm.errors import (
    ServerUnavailable,
)
from tfllm.results import Classification


def labels(results):
    return [result.label for result in results]


def test_one_text_gives_one_result(client):
    assert client.predict("abc") == Classification("abc", 3.0, (3.0, -3.0))
    assert client.predict(b"abc") == Classification("abc", 3.0, (3.0, -3.0))


@pytest.mark.parametrize(
    "texts",
    [
        ["a", "b", "c"],
        ("a", "b", "c"),
        ["a", b"b", "c"],
        np.array(["a", "b", "c"]),
        {"a": 1, "b": 2, "c": 3}.keys(),
        pd.Series(["a", "b", "c"], index=[7, 8, 9]),
    ],
)
def test_any_iterable_gives_a_list_in_order(client, texts):
    assert labels(client.predict(texts, batch_size=2)) == ["a", "b", "c"]


def test_a_generator_gives_a_list_in_order(client):
    assert labels(client.predict((text for text in "abc"), batch_size=2)) == ["a", "b", "c"]


@pytest.mark.parametrize("nothing", [[], (), iter([]), pd.Series([], dtype=object)])
def test_nothing_gives_nothing(client, nothing):
    assert client.predict(nothing) == []


def test_two_texts_in_a_tuple_are_two_texts(client):
    assert labels(client.predict(("a", "b"))) == ["a", "b"]


def test_pairs(client_for):
    client = client_for(signature="pairs")
    assert labels(client.predict([("a", "b"), ["c", b"d"]], batch_size=1)) == ["a|b", "c|d"]


def test_5000_texts_in_chunks_keep_their_order(client):
    texts = [f"text {number}" for number in range(5000)]
    assert labels(client.predict(texts)) == texts


ODD = ["", "\0", "a\0", "a\nb", "\U0001f600 é 漢字", "\ufeffx", "\u202eabc", "x" * 10_000, " "]


def test_odd_texts_survive(client):
    assert labels(client.predict(ODD)) == ODD


def test_invalid_utf_8_bytes_survive(client):
    texts = [b"\xff\xfe", b"\x80", b"ok", b"\0"]
    outputs = client.predict_arrays({"text": texts})
    assert outputs["label"].tolist() == texts


def test_predict_arrays(client):
    x = np.float32([[1, 2], [3, 4]])
    outputs = client.predict_arrays({"x": x}, signature="numbers")
    assert sorted(outputs) == ["double", "sum"]
    assert outputs["double"].dtype == np.float32
    np.testing.assert_array_equal(outputs["double"], 2 * x)
    only = client.predict_arrays({"x": x}, "numbers", outputs=["sum"])
    assert {name: array.tolist() for name, array in only.items()} == {"sum": [3, 7]}
    assert client.predict_arrays({"x": x}, "numbers", outputs="sum").keys() == {"sum"}


def test_an_answer_of_5_megabytes(client):
    embedding = client.predict_arrays({"text": ["x"] * 1300}, signature="embed")["embedding"]
    assert embedding.shape == (1300, 1000)
    assert embedding.nbytes > 5_000_000
    assert (embedding == 1).all()


def test_a_request_of_5_megabytes(client):
    text = "x" * 5_000_000
    assert client.predict([text], batch_size=1)[0].score == 5_000_000


def test_32_threads_share_a_client(server):
    client = Client(server.address, model="echo")

    def ask(number):
        texts = [f"{number}-{position}" for position in range(10)]
        return labels(client.predict(texts, batch_size=4)) == texts

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(ask, range(128)))
    client.close()


def test_status(client):
    (row,) = client.status()
    assert (row.version, row.state, row.error_code, row.error_message) == (4, "AVAILABLE", "OK", "")


def test_metadata(client):
    found = client.metadata()
    assert (found.model, found.version) == ("echo", 4)
    signature = found.signatures["serving_default"]
    assert signature.name == "serving_default"
    assert signature.method_name == "tensorflow/serving/predict"
    assert (signature.inputs["text"].dtype, signature.inputs["text"].shape) == ("string", (None,))
    assert (signature.outputs["scores"].dtype, signature.outputs["scores"].shape) == ("float32", (None, 2))
    assert found.signatures["numbers"].inputs["x"].shape == (None, 2)


def test_a_client_finds_a_restarted_server(models, kind):
    from tfllm.server.server import serve

    with serve(models, port=0) as server:
        client = kind(server.address, model="echo", timeout=30)
        client.predict("a")
        port = server.port
    with pytest.raises(ServerUnavailable):
        client.predict("a")
    with serve(models, port=port):
        client.wait_until_ready(20)
        assert client.predict("a").label == "a"
    client.close()


def test_repr(client, server):
    assert repr(client).removeprefix("Async") == f"Client('{server.address}', model='echo')"


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_client_loads_no_tensorflow_and_is_quick():
    heavy = "{'tensorflow', 'tensorflow_serving', 'keras', 'pandas', 'ml_dtypes'}"
    code = (
        "import sys, time; start = time.process_time(); import tfllm.client.client; "
        f"print(sorted({heavy} & set(sys.modules)), time.process_time() - start)"
    )
    outputs = [run(code).rsplit(" ", 1) for _ in range(3)]
    assert {loaded for loaded, _ in outputs} == {"[]"}
    assert min(float(seconds) for _, seconds in outputs) < 0.5


def test_a_process_that_uses_the_client_before_tensorflow(server):
    pytest.importorskip("tensorflow")
    code = (
        "from tfllm.client.client import Client; "
        f"client = Client('{server.address}', model='echo'); before = client.predict('a'); "
        "import tensorflow, tensorflow_serving.apis.predict_pb2; "
        "print(before == client.predict('a'), tensorflow.make_tensor_proto(1.0).dtype)"
    )
    assert run(code) == "True 1"
