"""What is served follows the configuration and the disk; loading is a fake here."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tfllm.errors import Cancelled, FailedPrecondition, InvalidInput, ModelNotFound, Timeout
from tfllm.repository_labels import LABELS_FILE, set_label
from tfllm.server.engine import Engine, Target
from tfllm.server.manager import ModelManager
from tfllm.server.model_config import ModelConfig, VersionPolicy
from tfllm.server.observers import RequestEvent, set_event
from tfllm.server.versions import State


class Loaded:
    def __init__(self, source):
        self.text = (source.path / "saved_model.pb").read_text()
        if self.text == "broken":
            raise FailedPrecondition("damaged")
        if self.text == "bug":
            raise IndexError("a bug")
        self.version = source.version
        self.closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def manager(engine):
    return ModelManager(engine, Loaded)


@pytest.fixture
def write(tmp_path):
    def write_version(number, text="good", name="m"):
        folder = tmp_path / name / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").write_text(text)
        return folder

    return write_version


@pytest.fixture
def config(tmp_path):
    def make(policy="latest", name="m", **labels):
        return ModelConfig(name, tmp_path / name, VersionPolicy.parse(policy), labels)

    return make


def states(engine, name="m"):
    for _ in range(100):  # unloading is in the background
        found = {item.source.version: item.state.name for item in engine.status(name)}
        if "UNLOADING" not in found.values():
            break
        time.sleep(0.02)
    return found


def test_a_new_version_takes_over_and_the_old_one_stays_listed(engine, manager, write, config):
    write(1)
    assert manager.reload([config()]) == []
    old = engine.find(Target("m")).servable
    write(2)
    manager.poll()
    assert states(engine) == {2: "AVAILABLE", 1: "END"}
    assert engine.find(Target("m")).servable.version == 2
    assert old.closed


def test_a_broken_version_never_replaces_a_good_one(engine, manager, write, config):
    write(1)
    manager.reload([config()])
    folder = write(2, "broken")
    manager.poll()
    assert states(engine) == {2: "END", 1: "AVAILABLE"}
    (broken,) = engine.status("m", 2)
    assert broken.error.details == "damaged"
    manager.poll()
    assert engine.status("m", 2) == [broken]  # not tried again, as its files are the same
    (folder / "saved_model.pb").write_text("mended")
    manager.poll()
    assert states(engine) == {2: "AVAILABLE", 1: "END"}


def test_a_version_may_become_whole_file_by_file(engine, manager, write, config, tmp_path):
    write(1)
    manager.reload([config()])
    write(2, "broken")
    manager.poll()
    (tmp_path / "m/2/variables").mkdir()
    write(2)
    manager.poll()
    assert engine.models == {"m": (2,)}


def test_a_removed_version_comes_back_down_to_the_one_before(engine, manager, write, config):
    write(1)
    folder = write(2)
    manager.reload([config()])
    (folder / "saved_model.pb").unlink()
    folder.rmdir()
    manager.poll()
    assert states(engine) == {2: "END", 1: "AVAILABLE"}


def test_a_folder_that_disappears_changes_nothing(engine, manager, write, config, tmp_path, caplog):
    write(1)
    manager.reload([config()])
    (tmp_path / "m").rename(tmp_path / "gone")
    manager.poll()
    manager.poll()
    assert engine.models == {"m": (1,)}
    assert caplog.text.count("Could not find base path") == 1
    (tmp_path / "m").mkdir()
    manager.poll()
    assert engine.models == {"m": (1,)}
    assert "No versions of servable m found under base path" in caplog.text


def test_policies_are_followed(engine, manager, write, config):
    for number in (1, 2, 3):
        write(number)
    manager.reload([config("latest:2")])
    assert engine.models == {"m": (2, 3)}
    manager.reload([config("specific:1")])
    assert states(engine) == {3: "END", 2: "END", 1: "AVAILABLE"}
    manager.reload([config("all")])
    assert engine.models == {"m": (1, 2, 3)}


def test_a_model_that_is_not_listed_any_more_goes(engine, manager, write, config):
    write(1)
    write(7, name="n")
    manager.reload([config(), config(name="n")])
    manager.reload([config()])
    assert states(engine, "n") == {7: "END"}
    with pytest.raises(ModelNotFound, match=r"Latest\(n\)"):
        engine.find(Target("n"))
    manager.poll()
    assert states(engine, "n") == {7: "END"}
    manager.reload([])
    assert engine.models == {"m": (), "n": ()}


def test_a_reload_of_a_folder_that_is_not_there_changes_nothing(engine, manager, write, config):
    write(1)
    manager.reload([config()])
    with pytest.raises(ModelNotFound, match="Could not find base path .*nowhere for servable nowhere"):
        manager.reload([config(name="nowhere")])
    assert engine.models == {"m": (1,)}


def test_a_reload_says_what_it_could_not_load(engine, manager, write, config):
    write(1)
    manager.reload([config()])
    write(2, "broken")
    for _ in range(2):  # each reload tries again
        (failed,) = manager.reload([config("all")])
        assert (failed.source.version, failed.state) == (2, State.END)
    assert engine.models == {"m": (1,)}


def test_a_model_that_moves_to_another_folder(engine, manager, write, config, tmp_path):
    write(1, "old")
    write(1, "new", name="elsewhere")
    write(1, "broken", name="bad")
    manager.reload([config()])
    (failed,) = manager.reload([ModelConfig("m", tmp_path / "bad")])
    assert failed.error is not None
    assert engine.find(Target("m")).servable.text == "old"
    manager.reload([ModelConfig("m", tmp_path / "elsewhere")])
    assert engine.find(Target("m")).servable.text == "new"


REFUSED = "Request to assign label to version {} of model m, which is not currently available for inference"


def test_labels_need_a_version_that_is_loaded(engine, manager, write, config):
    write(1)
    with pytest.raises(FailedPrecondition, match=REFUSED.format(1)):
        manager.reload([config(stable=1)])
    manager.reload([config()])
    manager.reload([config(stable=1)])
    assert engine.find(Target("m", label="stable")).source.version == 1
    with pytest.raises(FailedPrecondition, match=REFUSED.format(9)):
        manager.reload([config(stable=9)])
    assert engine.find(Target("m", label="stable")).source.version == 1
    manager.reload([config()])
    with pytest.raises(InvalidInput, match="Unrecognized servable version label: stable"):
        engine.find(Target("m", label="stable"))


def test_new_labels_may_come_first_where_that_is_allowed(engine, write, config):
    manager = ModelManager(engine, Loaded, allow_labels_for_unavailable=True)
    write(1)
    manager.reload([config(stable=1, canary=2)])
    assert engine.find(Target("m", label="stable")).source.version == 1
    with pytest.raises(ModelNotFound, match=r"Specific\(m, 2\)"):
        engine.find(Target("m", label="canary"))
    with pytest.raises(FailedPrecondition, match=REFUSED.format(2)):
        manager.reload([config(stable=2)])  # in use: only to a version that is loaded
    write(2)
    manager.reload([config("all", stable=1)])
    manager.reload([config("all", stable=2)])
    assert engine.find(Target("m", label="stable")).source.version == 2


def test_a_bug_in_one_model_keeps_nothing_from_the_others(engine, manager, write, config):
    write(1)
    write(1, name="n")
    manager.reload([config(), config(name="n")])
    folder = write(2, "bug")
    write(2, name="n")
    manager.poll()
    assert states(engine) == {2: "END", 1: "AVAILABLE"}
    assert states(engine, "n") == {2: "AVAILABLE", 1: "END"}
    (broken,) = engine.status("m", 2)
    assert (broken.error.code, broken.error.details) == ("INTERNAL", "IndexError: a bug")
    manager.poll()
    assert engine.status("m", 2) == [broken]  # not tried again, as its files are the same
    (failed,) = manager.reload([config(stable=1), config(name="n", stable=2)])
    assert failed.error.details == "IndexError: a bug"
    assert engine.find(Target("n", label="stable")).source.version == 2
    (folder / "saved_model.pb").write_text("mended")
    manager.poll()
    assert engine.models == {"m": (2,), "n": (2,)}


class Gate:
    """Loads a version once it may."""

    def __init__(self):
        self.reached, self.open = threading.Event(), threading.Event()
        self.open.set()

    def __call__(self, source):
        self.reached.set()
        assert self.open.wait(20)
        return Loaded(source)

    def shut(self):
        self.reached.clear()
        self.open.clear()


@pytest.fixture
def gate():
    return Gate()


def ask_to_reload(manager, configs, **fields):
    set_event(RequestEvent("HandleReloadConfigRequest", "GRPC", **fields))
    return manager.reload(configs)


def test_labels_do_not_wait_for_what_is_being_loaded(engine, gate, write, config):
    manager = ModelManager(engine, gate)
    write(1)
    write(2)
    manager.reload([config("all")])
    manager.reload([config("all", stable=2)])
    write(3)
    gate.shut()
    with ThreadPoolExecutor(2) as pool:
        loading = pool.submit(manager.poll)
        assert gate.reached.wait(20)
        assert manager.reload([config("all", stable=1)]) == []
        assert engine.find(Target("m", label="stable")).source.version == 1
        with pytest.raises(FailedPrecondition, match=REFUSED.format(3)):
            manager.reload([config("all", stable=3)])
        again = pool.submit(manager.reload, [config("all", stable=1)])  # nothing is new: it hears when all is loaded
        with pytest.raises(TimeoutError):
            again.result(0.2)
        gate.open.set()
        loading.result(20)
        assert again.result(20) == []
    assert engine.models == {"m": (1, 2, 3)}
    assert engine.find(Target("m", label="stable")).source.version == 1


def test_a_label_of_a_version_that_is_about_to_go_waits(engine, gate, write, config):
    manager = ModelManager(engine, gate)
    write(1)
    manager.reload([config("latest")])
    write(2)
    gate.shut()
    with ThreadPoolExecutor(2) as pool:
        loading = pool.submit(manager.poll)
        assert gate.reached.wait(20)
        naming = pool.submit(manager.reload, [config("latest", stable=1)])
        with pytest.raises(TimeoutError):
            naming.result(0.2)
        gate.open.set()
        loading.result(20)
        with pytest.raises(FailedPrecondition, match=REFUSED.format(1)):
            naming.result(20)
    assert engine.models == {"m": (2,)}


def test_labels_that_came_during_a_reload_are_kept(engine, gate, write, config):
    manager = ModelManager(engine, gate)
    write(1)
    write(2)
    manager.reload([config("latest")])
    gate.shut()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(manager.reload, [config("all")])
        assert gate.reached.wait(20)
        manager.reload([config("all", stable=2)])
        assert engine.find(Target("m", label="stable")).source.version == 2
        gate.open.set()
        assert loading.result(20) == []
    assert engine.find(Target("m", label="stable")).source.version == 2


def test_a_reload_that_nobody_waits_for_is_not_done(engine, gate, write, config):
    manager, gone = ModelManager(engine, gate), threading.Event()
    write(1)
    write(7, name="n")
    manager.reload([config()])
    write(2)
    gate.shut()
    both = [config(), config(name="n")]
    with ThreadPoolExecutor(3) as pool:
        loading = pool.submit(manager.poll)
        assert gate.reached.wait(20)
        left = pool.submit(ask_to_reload, manager, both, given_up=gone.is_set)
        late = pool.submit(ask_to_reload, manager, both, deadline=time.monotonic() + 0.05)
        with pytest.raises(Timeout):
            late.result(20)
        gone.set()
        gate.open.set()
        loading.result(20)
        with pytest.raises(Cancelled):
            left.result(20)
    assert engine.models == {"m": (2,)}


@pytest.fixture
def followed(tmp_path, engine, manager, write):
    """Serve a model of versions 1 and 2, with 1 stable, from a folder whose labels are followed."""
    write(1)
    write(2)
    set_label(tmp_path / "m", "stable", 1)
    assert manager.reload([ModelConfig("m", tmp_path / "m", follows_labels=True)]) == []
    assert engine.labels["m"] == {"stable": 1} and engine.models["m"] == (1, 2)
    return tmp_path / "m"


def test_labels_of_a_folder_are_followed_without_a_gap(followed, engine, manager, write, monkeypatch):
    given, set_labels = [], engine.set_labels
    monkeypatch.setattr(engine, "set_labels", lambda labels: given.append(labels["m"]) or set_labels(labels))
    write(3)
    set_label(followed, "stable", 2)
    set_label(followed, "canary", 3)
    manager.poll()
    assert given == [{"stable": 2}, {"stable": 2, "canary": 3}]  # 2 is loaded already, 3 is not
    assert states(engine) == {1: "END", 2: "AVAILABLE", 3: "AVAILABLE"}
    set_label(followed, "canary", None)
    manager.poll()
    assert engine.labels["m"] == {"stable": 2}


def test_a_label_stays_where_it_is_until_its_version_can_answer(followed, engine, manager, write):
    folder = write(3, "broken")
    set_label(followed, "stable", 3)
    set_label(followed, "new", 3)
    manager.poll()
    assert engine.labels["m"] == {"stable": 1} and engine.models["m"] == (1, 2)
    (folder / "saved_model.pb").write_text("good now")
    manager.poll()
    assert engine.labels["m"] == {"stable": 3, "new": 3} and engine.models["m"] == (3,)


def test_the_newest_that_can_answer_stays_beside_a_labelled_one(followed, engine, manager, write):
    write(3, "broken")
    for _ in range(2):
        manager.poll()
        assert engine.models["m"] == (1, 2)
    assert engine.find(Target("m")).source.version == 2
    write(4)
    manager.poll()
    assert engine.models["m"] == (1, 4)


def test_a_rollback_while_a_version_is_loaded_counts(followed, tmp_path, engine, manager, write):
    write(3)
    set_label(followed, "stable", 3)
    load = manager._load

    def loaded(source):
        set_label(followed, "stable", 1)
        return load(source)

    manager._load = loaded
    given, set_labels = [], engine.set_labels
    engine.set_labels = lambda labels: given.append(labels["m"]) or set_labels(labels)
    manager.poll()
    assert given == [{"stable": 1}, {"stable": 1}] and engine.models["m"] == (1, 3)


def test_a_labelled_version_is_served_where_the_policy_has_none(followed, engine, manager, config):
    only = ModelConfig("m", followed, VersionPolicy.parse("specific:7"), follows_labels=True)
    manager.reload([only])
    manager.poll()
    assert 1 in engine.models["m"] and engine.labels["m"] == {"stable": 1}


def test_a_request_that_only_moves_labels_does_not_wait_where_they_were_followed(tmp_path, engine, write, config):
    write(1)
    write(2)
    manager = ModelManager(engine, Loaded)
    manager.reload([ModelConfig("m", tmp_path / "m", VersionPolicy.parse("all"), follows_labels=True)])
    with manager._loading:
        manager.reload([config("all", stable=1)])
    assert engine.labels["m"] == {"stable": 1}


def test_damaged_labels_of_one_model_do_not_keep_others_back(followed, tmp_path, engine, manager, write, caplog):
    write(1, name="n")
    folders = [ModelConfig(name, tmp_path / name, follows_labels=True) for name in ("m", "n")]
    manager.reload(folders)
    write(2, name="n")
    set_label(tmp_path / "n", "stable", 1)
    (followed / LABELS_FILE).write_text("not JSON")
    manager.poll()
    manager.poll()
    assert engine.models == {"m": (1, 2), "n": (1, 2)}
    assert engine.labels == {"m": {"stable": 1}, "n": {"stable": 1}} and caplog.text.count("Expected labels in") == 1


def test_a_configuration_ends_the_following_of_labels(followed, engine, manager, config):
    manager.reload([config("all", stable=2)])
    set_label(followed, "stable", 1)
    manager.poll()
    assert engine.labels["m"] == {"stable": 2}
