from concurrent.futures import ThreadPoolExecutor

import pytest

from tfllm.errors import FailedPrecondition
from tfllm.repository import ModelVersion
from tfllm.server.versions import ServedVersion, State


class Recorder:
    """A loaded version that remembers whether it was closed."""

    closed = False

    def close(self):
        self.closed = True


def version(folder):
    return ServedVersion(ModelVersion("m", 1, folder / "1"))


def test_the_way_of_a_version(tmp_path):
    item, states = version(tmp_path), []

    def load(source):
        states.append(item.state)
        assert source == item.source
        return Recorder()

    assert item.state is State.START
    item.load(load)
    assert states == [State.LOADING]
    assert item.state is State.AVAILABLE
    loaded = item.servable
    item.retire()
    assert item.state is State.UNLOADING
    assert item.servable is None and not loaded.closed
    item.drain()
    assert item.state is State.END
    assert loaded.closed


def test_a_retired_version_ends_with_its_last_request(tmp_path):
    item = version(tmp_path)
    item.load(lambda source: Recorder())
    loaded = item.acquire()
    item.retire()
    assert item.acquire() is None
    with ThreadPoolExecutor(1) as pool:
        draining = pool.submit(item.drain)
        with pytest.raises(TimeoutError):
            draining.result(0.2)
        assert not loaded.closed and item.state is State.UNLOADING
        item.release()
        draining.result(10)
    assert loaded.closed and item.state is State.END


def test_a_version_that_must_go_does_not_wait(tmp_path):
    item = version(tmp_path)
    item.load(lambda source: Recorder())
    loaded = item.acquire()
    item.retire()
    item.drain(0)
    assert loaded.closed
    item.release()


def test_a_failed_load_ends_the_version_and_keeps_the_reason(tmp_path):
    item = version(tmp_path)

    def load(source):
        raise FailedPrecondition("no model here")

    item.load(load)
    assert item.state is State.END
    assert item.error.details == "no model here"
    assert item.servable is None


def test_a_bug_while_loading_ends_the_version_too(tmp_path, caplog):
    item = version(tmp_path)

    def load(source):
        return [][0]

    item.load(load)
    assert item.state is State.END
    assert (item.error.code, item.error.details) == ("INTERNAL", "IndexError: list index out of range")
    assert "Traceback" in caplog.text


def test_steps_out_of_order_are_refused(tmp_path):
    item = version(tmp_path)
    with pytest.raises(RuntimeError, match="UNLOADING"):
        item.retire()
    item.load(lambda source: Recorder())
    with pytest.raises(RuntimeError, match="LOADING"):
        item.load(lambda source: Recorder())
    item.retire()
    with pytest.raises(RuntimeError):
        item.retire()
