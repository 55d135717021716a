import shutil

import pytest

from tfllm.errors import ConfigError, RepositoryError
from tfllm.repository_labels import set_label
from tfllm.server.discovery import configured_models, find_models
from tfllm.server.model_config import ModelConfig, VersionPolicy


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


def test_a_config_file_would_serve_labelled_versions_beside_the_newest(root):
    newest = VersionPolicy()
    assert configured_models(root, None, newest) == [ModelConfig("a", root / "a"), ModelConfig("b", root / "b")]
    set_label(root / "a", "stable", 1)
    both = VersionPolicy("specific", versions=(1, 2))
    assert configured_models(root, None, newest)[0] == ModelConfig("a", root / "a", both, {"stable": 1})
    assert configured_models(root / "a", "other", newest)[0].name == "other"
    shutil.rmtree(root / "a" / "1")
    assert configured_models(root, None, newest)[0].labels == {}
