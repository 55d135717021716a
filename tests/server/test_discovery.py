import shutil

import pytest

from tfllm.errors import ConfigError, FailedPrecondition, RepositoryError
from tfllm.repository import ModelVersion
from tfllm.repository_labels import LABELS_FILE, set_label
from tfllm.server.discovery import ModelFolder, configured_models, find_models, load_labelled
from tfllm.server.model_config import ModelConfig, VersionPolicy
from tfllm.server.versions import ServedVersion


@pytest.fixture
def root(tmp_path):
    for name in ("a/1", "a/2", "b/1", "notes", "c/draft"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_a_folder_of_models(root):
    assert find_models(root) == {"a": root / "a", "b": root / "b"}


def test_the_base_folder_of_one_model(root, monkeypatch):
    assert find_models(root / "a") == {"a": root / "a"}
    assert find_models(root / "a", "other") == {"other": root / "a"}
    monkeypatch.chdir(root / "a")
    assert find_models(".") == {"a": root / "a"}


def test_a_name_for_the_only_model_of_a_folder(root):
    shutil.rmtree(root / "b")
    assert find_models(root, "other") == {"other": root / "a"}


def test_a_name_for_several_models(root):
    with pytest.raises(ConfigError, match="one model to name 'other'.*a, b"):
        find_models(root, "other")


def test_nothing_there(root):
    with pytest.raises(RepositoryError, match="nowhere"):
        find_models(root / "nowhere")
    with pytest.raises(RepositoryError, match="<name>/<version>"):
        find_models(root / "notes")


def test_a_version_folder(root):
    (root / "a" / "2" / "saved_model.pb").touch()
    with pytest.raises(RepositoryError, match="Give the folder above it"):
        find_models(root / "a" / "2")


def test_labelled_versions_are_served_beside_the_newest(root):
    assert configured_models(root) == [ModelConfig("a", root / "a"), ModelConfig("b", root / "b")]
    set_label(root / "a", "stable", 1)
    both = VersionPolicy("specific", versions=(1, 2))
    assert configured_models(root)[0] == ModelConfig("a", root / "a", both, {"stable": 1})
    assert configured_models(root / "a", "other")[0].name == "other"
    shutil.rmtree(root / "a" / "1")
    assert configured_models(root)[0].labels == {}


class Served:
    """Keeps what a folder asks to serve; the versions in `broken` cannot be loaded."""

    def __init__(self, broken=()):
        self.asked, self.broken = [], broken

    def __call__(self, models):
        self.asked.append([(model.name, model.policy.versions, dict(model.labels)) for model in models])
        return [ServedVersion(ModelVersion(name, number, None)) for name, number in self.broken]


def test_a_folder_is_asked_again_when_labels_change(root):
    folder, served = ModelFolder(root / "a"), Served()
    assert folder.read() == [ModelConfig("a", root / "a")]
    folder.follow(served)
    assert served.asked == []
    set_label(root / "a", "stable", 1)
    folder.follow(served)
    assert served.asked == [[("a", (1, 2), {})], [("a", (1, 2), {"stable": 1})]]  # first the versions, then the label
    (root / "a" / "3").mkdir()
    set_label(root / "a", "stable", 2)
    folder.follow(served)
    folder.follow(served)
    assert served.asked[2:] == [[("a", (2, 3), {})], [("a", (2, 3), {"stable": 2})]]


def test_labels_stay_in_use_while_versions_are_loaded(root):
    set_label(root / "a", "stable", 2)
    folder, served = ModelFolder(root), Served()
    folder.read()
    set_label(root / "a", "canary", 1)
    folder.follow(served)
    assert [models[0] for models in served.asked] == [
        ("a", (1, 2), {"stable": 2}),
        ("a", (1, 2), {"stable": 2, "canary": 1}),
    ]


def test_models_that_come_are_served_and_those_that_go_stay(root):
    folder, served = ModelFolder(root), Served()
    folder.read()
    shutil.move(root / "b", root / "new")
    folder.follow(served)
    assert [name for name, _, _ in served.asked[-1]] == ["a", "b", "new"]


def test_a_version_that_cannot_be_loaded_gets_no_label(root, caplog):
    set_label(root / "a", "stable", 1)
    set_label(root / "a", "canary", 2)
    served = Served(broken=[("a", 2)])
    failed = load_labelled(configured_models(root), (), served)
    assert [item.source.version for item in failed] == [2]
    assert served.asked[-1][0] == ("a", (1, 2), {"stable": 1}) and "Version 2 of model 'a'" in caplog.text


def test_what_cannot_be_used_changes_nothing_and_is_said_once(root, caplog):
    folder, served = ModelFolder(root), Served()
    folder.read()
    (root / "a" / LABELS_FILE).write_text("not JSON")
    for _ in range(2):
        folder.follow(served)
    assert served.asked == [] and caplog.text.count("Expected labels in") == 1
    (root / "a" / LABELS_FILE).unlink()
    set_label(root / "a", "stable", 1)

    def refused(models):
        raise FailedPrecondition("not now")

    folder.follow(refused)
    assert "not now" in caplog.text
    folder.follow(served)  # tried again
    assert served.asked[-1][0] == ("a", (1, 2), {"stable": 1})
