import pytest

from tfllm.errors import ConfigError, FailedPrecondition
from tfllm.repository import ModelVersion
from tfllm.server.versions import ServedVersion, State, choose_versions


class Recorder:
    """A loaded version that remembers whether it was closed."""

    closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def base(tmp_path):
    for name in ("1", "2", "10", "temp"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_policies(base):
    def numbers(*policy):
        return [item.source.version for item in choose_versions("m", base, *policy)]

    assert numbers() == [10]
    assert numbers("latest") == [10]
    assert numbers("all") == [1, 2, 10]
    with pytest.raises(ConfigError, match="'some'"):
        numbers("some")


def test_versions_carry_the_served_name(base):
    assert [item.source.name for item in choose_versions("m", base)] == ["m"]


def version(base):
    return ServedVersion(ModelVersion("m", 1, base / "1"))


def test_the_way_of_a_version(base):
    item, states = version(base), []

    def load(source):
        states.append(item.state)
        assert source == item.source
        return Recorder()

    assert item.state is State.START
    item.load(load)
    assert states == [State.LOADING]
    assert item.state is State.AVAILABLE
    loaded = item.servable
    item.unload()
    assert item.state is State.END
    assert loaded.closed and item.servable is None


def test_a_failed_load_ends_the_version_and_keeps_the_reason(base):
    item = version(base)

    def load(source):
        raise FailedPrecondition("no model here")

    item.load(load)
    assert item.state is State.END
    assert item.error.details == "no model here"
    assert item.servable is None


def test_steps_out_of_order_are_refused(base):
    item = version(base)
    with pytest.raises(RuntimeError, match="UNLOADING"):
        item.unload()
    item.load(lambda source: Recorder())
    with pytest.raises(RuntimeError, match="LOADING"):
        item.load(lambda source: Recorder())
    item.unload()
    with pytest.raises(RuntimeError):
        item.unload()
