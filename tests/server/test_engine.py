import pytest

from tfllm.errors import FailedPrecondition, InvalidInput, ModelNotFound
from tfllm.repository import ModelVersion
from tfllm.server.engine import Engine, Target
from tfllm.server.versions import ServedVersion, State


class Loaded:
    def __init__(self, source):
        if source.version == 3:
            raise FailedPrecondition("damaged")
        self.source = source
        self.closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def engine(tmp_path):
    """Return an engine of `m` with versions 1 and 2, and a version 3 that cannot be loaded."""
    versions = [ServedVersion(ModelVersion("m", number, tmp_path)) for number in (1, 2, 3)]
    return Engine({"m": versions})


def test_before_loading_nothing_is_found(engine):
    with pytest.raises(ModelNotFound, match=r"Latest\(m\)"):
        engine.find(Target("m"))
    assert engine.models == {"m": ()}
    assert [item.state for item in engine.status("m")] == [State.START] * 3


def test_latest_is_the_newest_that_is_available(engine):
    failed = engine.load(Loaded)
    assert [item.source.version for item in failed] == [3]
    assert engine.models == {"m": (1, 2)}
    assert engine.find(Target("m")).source.version == 2
    assert engine.find(Target("m", version=1)).source.version == 1
    with pytest.raises(ModelNotFound, match=r"Specific\(m, 3\)"):
        engine.find(Target("m", version=3))


def test_status_is_newest_first_with_failures(engine):
    engine.load(Loaded)
    rows = [(item.source.version, item.state.name, item.error and item.error.details) for item in engine.status("m")]
    assert rows == [(3, "END", "damaged"), (2, "AVAILABLE", None), (1, "AVAILABLE", None)]
    assert [item.source.version for item in engine.status("m", 1)] == [1]


def test_unknown_names_and_labels(engine):
    engine.load(Loaded)
    with pytest.raises(InvalidInput, match="no name"):
        engine.find(Target(""))
    with pytest.raises(InvalidInput, match="label: stable"):
        engine.find(Target("m", label="stable"))
    for target in (Target("x"), Target("x", version=1)):
        with pytest.raises(ModelNotFound):
            engine.find(target)
    with pytest.raises(ModelNotFound, match="any versions of model x"):
        engine.status("x")


def test_close_unloads_what_is_loaded(engine):
    engine.load(Loaded)
    loaded = [engine.find(Target("m", version=number)) for number in (1, 2)]
    engine.close()
    engine.close()
    assert all(item.closed for item in loaded)
    assert engine.models == {"m": ()}
    assert [item.state for item in engine.status("m")] == [State.END] * 3
