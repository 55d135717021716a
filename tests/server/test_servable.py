import gc
import weakref

import numpy as np
import psutil
import pytest

from tfllm.errors import Cancelled, FailedPrecondition, InvalidInput
from tfllm.repository import ModelVersion, find_version
from tfllm.server.batch_scheduler import BatchScheduler
from tfllm.server.batching_config import BatchingConfig
from tfllm.server.config import ServerConfig
from tfllm.server.loading import Loader
from tfllm.server.servable import Servable
from tfllm.server.session_graph import SessionGraph, SessionThreads

THREADS = SessionThreads()


def load(source):
    return Servable(source, SessionGraph(source, THREADS))


@pytest.fixture(scope="module")
def toy(models):
    loaded = load(find_version(models / "toy"))
    yield loaded
    loaded.close()


def test_runs_signatures(toy):
    outputs = toy.run(toy.signature(""), {"x": np.float32([2])})
    assert outputs["y"].tolist() == [101]
    chosen = toy.run(toy.signature("pair"), {"a": np.float32([5]), "b": np.float32([1])}, ["minus"])
    assert {name: array.tolist() for name, array in chosen.items()} == {"minus": [4]}


def test_scalars_are_arrays_too(toy):
    outputs = toy.run(toy.signature("scalar"), {"x": np.float32([1, 2])})
    assert outputs["sum"].shape == outputs["name"].shape == ()
    assert outputs["name"].dtype == object and outputs["name"].item() == b"all\0"


def test_errors_are_ours(toy):
    with pytest.raises(FailedPrecondition, match='key "nope" not found'):
        toy.signature("nope")
    with pytest.raises(InvalidInput, match="Incompatible shapes") as caught:
        toy.run(toy.signature("pair"), {"a": np.float32([1, 2]), "b": np.float32([1, 2, 3])})
    assert caught.value.__cause__ is not None


def test_texts_of_another_rank_are_refused(toy):
    """They would reach operators on text, some of which end the process."""
    for text in (np.array(b"x", object), np.array([[b"x"]], object)):
        with pytest.raises(InvalidInput, match="Expected texts with 1 dimensions for input 'text'"):
            toy.run(toy.signature("text"), {"text": text})
    assert toy.run(toy.signature("text"), {"text": np.array([b"x"], object)})["letters"].tolist() == [1]


def test_a_closed_servable_is_cancelled(models):
    loaded = load(find_version(models / "toy"))
    loaded.close()
    with pytest.raises(Cancelled):
        loaded.run(loaded.signature(""), {"x": np.float32([2])})


@pytest.mark.parametrize("content", [None, b"this is no model"])
def test_what_cannot_be_loaded(tmp_path, content):
    if content:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(FailedPrecondition, match=str(tmp_path)):
        load(ModelVersion("m", 1, tmp_path))


@pytest.mark.parametrize("name", ["toy", "classic"])
@pytest.mark.parametrize("batched", [True, False])
def test_close_does_not_leave_the_memory_to_the_garbage_collector(models, name, batched):
    config, batching = ServerConfig(), BatchScheduler(BatchingConfig()) if batched else None
    x = np.zeros(1, np.float32) if name == "toy" else np.zeros((1, 1), np.float32)
    gc.disable()  # an unload must not wait until it comes, which may be hours
    try:
        loaded = Loader(config, batching, lambda event: None)(find_version(models / name))
        loaded.run(loaded.signature(""), {"x": x})
        parts = [weakref.ref(loaded._graph._session), weakref.ref(loaded._graph._session.graph)]
        loaded.close()
        loaded.close()
        assert [part() for part in parts] == [None, None]
        with pytest.raises(Cancelled):
            loaded.run(loaded.signature(""), {"x": x})
    finally:
        gc.enable()
        if batching is not None:
            batching.stop()


def test_close_gives_memory_back(models):
    """Loading and closing again and again does not grow the process."""
    process, source = psutil.Process(), find_version(models / "toy")

    def cycle():
        loaded = load(source)
        loaded.run(loaded.signature(""), {"x": np.zeros(1_000_000, np.float32)})
        loaded.close()

    for _ in range(3):
        cycle()
    gc.collect()
    before = process.memory_info().rss
    for _ in range(8):
        cycle()
    gc.collect()
    assert process.memory_info().rss - before < 40_000_000
