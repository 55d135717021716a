import contextlib
from types import SimpleNamespace

import pytest

from tfllm.errors import FailedPrecondition, InvalidInput, ModelNotFound, Overloaded, ServerUnavailable
from tfllm.repository import ModelVersion
from tfllm.server import engine as engine_module
from tfllm.server.engine import Engine, Target
from tfllm.server.observers import RequestEvent, set_event
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
    engine = Engine()
    for number in (2, 3, 1):
        engine.put(ServedVersion(ModelVersion("m", number, tmp_path)))
    return engine


def load_all(engine):
    for item in engine.versions("m"):
        item.load(Loaded)


def test_before_loading_nothing_is_found(engine):
    with pytest.raises(ModelNotFound, match=r"Latest\(m\)"):
        engine.find(Target("m"))
    assert engine.models == {"m": ()}
    assert [item.state for item in engine.status("m")] == [State.START] * 3


def test_latest_is_the_newest_that_is_available(engine):
    load_all(engine)
    assert engine.models == {"m": (1, 2)}
    assert engine.find(Target("m")).source.version == 2
    assert engine.find(Target("m", version=1)).source.version == 1
    with pytest.raises(ModelNotFound, match=r"Specific\(m, 3\)"):
        engine.find(Target("m", version=3))


def test_it_is_busy_while_a_version_is_used(engine):
    load_all(engine)
    assert not engine.busy
    with engine.use(Target("m")):
        assert engine.busy
    assert not engine.busy


def test_status_is_newest_first_with_failures(engine):
    load_all(engine)
    rows = [(item.source.version, item.state.name, item.error and item.error.details) for item in engine.status("m")]
    assert rows == [(3, "END", "damaged"), (2, "AVAILABLE", None), (1, "AVAILABLE", None)]
    assert [item.source.version for item in engine.status("m", 1)] == [1]


def test_unknown_names_and_labels(engine):
    load_all(engine)
    with pytest.raises(InvalidInput, match="no name"):
        engine.find(Target(""))
    with pytest.raises(ServerUnavailable, match="Model labels does not init yet.stable"):
        engine.find(Target("m", label="stable"))
    engine.set_labels({})
    with pytest.raises(InvalidInput, match="label: stable"):
        engine.find(Target("m", label="stable"))
    for target in (Target("x"), Target("x", version=1)):
        with pytest.raises(ModelNotFound):
            engine.find(target)
    with pytest.raises(ModelNotFound, match="any versions of model x"):
        engine.status("x")


def test_close_unloads_what_is_loaded(engine):
    load_all(engine)
    loaded = [engine.find(Target("m", version=number)).servable for number in (1, 2)]
    engine.close()
    engine.close()
    assert all(item.closed for item in loaded)
    assert engine.models == {"m": ()}
    assert [item.state for item in engine.status("m")] == [State.END] * 3


def test_labels_name_versions(engine):
    load_all(engine)
    engine.set_labels({"m": {"stable": 1, "broken": 3}})
    assert engine.find(Target("m", label="stable")).source.version == 1
    with pytest.raises(ModelNotFound, match=r"Specific\(m, 3\)"):
        engine.find(Target("m", label="broken"))
    with pytest.raises(InvalidInput, match="label: stable"):
        engine.find(Target("other", label="stable"))


def test_what_is_in_use_stays_loaded(engine):
    load_all(engine)
    with engine.use(Target("m")) as servable:
        item = engine.find(Target("m"))
        item.retire()
        assert engine.find(Target("m")).source.version == 1
        assert not servable.closed
    item.drain()
    assert servable.closed


def add(engine, folder, *names):
    for name in names:
        for number in (1, 2):
            item = ServedVersion(ModelVersion(name, number, folder))
            engine.put(item)
            item.load(Loaded)
    return engine


@pytest.fixture
def waited():
    """Return what says how long the request of this thread has waited for a worker."""
    yield lambda seconds: set_event(RequestEvent("Predict", "GRPC", queue_seconds=seconds))
    set_event(None)


def test_a_limit_is_for_all_versions_of_a_model(tmp_path):
    engine = add(Engine(2), tmp_path, "m", "n")
    with engine.use(Target("m", version=1)), engine.use(Target("m", version=2)):
        with pytest.raises(Overloaded, match="2 requests are under way on model m, which is the limit"):
            with engine.use(Target("m", version=1)):
                pass
        with engine.use(Target("n")):
            pass
    with engine.use(Target("m")):
        pass


def test_a_busy_model_keeps_to_its_share_once_others_have_to_wait(tmp_path, waited, monkeypatch):
    engine, now = add(Engine(share=2), tmp_path, "busy", "quiet"), [1000.0]
    monkeypatch.setattr(engine_module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def ask(model, seconds=0.0):
        waited(seconds)
        with engine.use(Target(model)):
            pass

    with contextlib.ExitStack() as stack:
        waited(5.0)
        for _ in range(3):  # alone, it may have all
            stack.enter_context(engine.use(Target("busy")))
        ask("quiet")
        ask("busy")  # nobody has had to wait
        ask("quiet", 1.0)
        for seconds in (0.0, 1.0, 1.0):
            with pytest.raises(Overloaded, match="3 requests are under way on model busy, and other models are wait"):
                ask("busy")
            now[0] += 4.0
            ask("quiet", seconds)
        now[0] += 6.0  # nobody has waited for a while
        ask("busy")
        ask("quiet", 1.0)
    ask("busy")  # it is below its share


def test_each_model_that_keeps_others_waiting_keeps_to_its_share(tmp_path, waited):
    engine = add(Engine(share=1), tmp_path, "one", "two", "quiet")
    for busy in ("one", "two"):
        waited(0.0)
        with engine.use(Target(busy)):
            waited(1.0)
            with engine.use(Target("quiet")):
                pass
            with pytest.raises(Overloaded, match=f"on model {busy}"), engine.use(Target(busy)):
                pass


def test_a_model_that_is_alone_has_no_share(tmp_path, waited):
    engine = add(Engine(share=1), tmp_path, "m")
    waited(5.0)
    with engine.use(Target("m")), engine.use(Target("m", version=1)), engine.use(Target("m")):
        pass


def test_a_version_that_goes_between_find_and_use_is_not_given(engine, monkeypatch):
    load_all(engine)
    find = engine.find

    def find_and_retire(target):
        item = find(target)
        if item.source.version == 2:
            item.retire()
        return item

    monkeypatch.setattr(engine, "find", find_and_retire)
    with engine.use(Target("m")) as servable:
        assert servable.source.version == 1
