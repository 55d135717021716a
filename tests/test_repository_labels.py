import json

import pytest

from tfllm.errors import RepositoryError, VersionNotFound
from tfllm.repository import find_version, list_versions, publish
from tfllm.repository_copy import copy_version
from tfllm.repository_labels import CONFIG_FILE, prune, read_labels, rollback, set_label


@pytest.fixture
def reviews(tmp_path):
    base = tmp_path / "models" / "reviews"
    for number in range(5):
        with publish(base) as publication:
            (publication.folder / "saved_model.pb").write_bytes(bytes([number]))
            (publication.folder / "variables").mkdir()
            (publication.folder / "variables" / "data").write_bytes(b"data")
    return base


def test_labels_are_kept_and_told_to_tensorflow_serving(reviews):
    text_format = pytest.importorskip("google.protobuf.text_format")
    configs = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    set_label(reviews, "stable", 2)
    assert set_label(reviews, "canary", 4) == {"stable": 2, "canary": 4}
    assert read_labels(reviews) == {"stable": 2, "canary": 4}
    config = text_format.Parse((reviews.parent / CONFIG_FILE).read_text(), configs.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, dict(model.version_labels)) == (
        "reviews",
        str(reviews),
        {"stable": 2, "canary": 4},
    )
    assert list(model.model_version_policy.specific.versions) == [2, 4, 5]
    assert set_label(reviews, "canary", None) == {"stable": 2}


def test_wrong_labels(reviews):
    with pytest.raises(VersionNotFound):
        set_label(reviews, "stable", 9)
    with pytest.raises(RepositoryError, match="Expected a label"):
        set_label(reviews, "../x", 1)
    for text in ("{", '{"labels": {"stable": 2}, "previous": {"stable": null}}'):
        (reviews / ".labels.json").write_text(text)
        for action in (read_labels, rollback):
            with pytest.raises(RepositoryError, match="Delete it"):
                action(reviews)


def test_rollback_goes_to_the_version_that_had_it(reviews):
    with pytest.raises(RepositoryError, match="labelled 'stable'"):
        rollback(reviews)
    set_label(reviews, "stable", 2)
    assert rollback(reviews) == 1
    set_label(reviews, "stable", 2)
    set_label(reviews, "stable", 5)
    assert rollback(reviews) == 2 and read_labels(reviews) == {"stable": 2}
    set_label(reviews, "first", 1)
    with pytest.raises(RepositoryError, match="before 1"):
        rollback(reviews, "first")


def test_a_second_rollback_does_not_bring_the_bad_version_back(reviews):
    for version in (2, 4, 5):
        set_label(reviews, "stable", version)
    assert [rollback(reviews), rollback(reviews), rollback(reviews)] == [4, 2, 1]
    set_label(reviews, "stable", 3)
    assert rollback(reviews) == 1
    for version in (2, None, 2):
        set_label(reviews, "other", version)
    assert rollback(reviews, "other") == 1


def test_what_was_there_before_is_read_from_the_older_form_of_the_file(reviews):
    (reviews / ".labels.json").write_text('{"labels": {"stable": 4}, "previous": {"stable": 2}}')
    assert rollback(reviews) == 2


def test_prune_keeps_the_newest_and_the_labelled(reviews):
    set_label(reviews, "stable", 2)
    assert [item.version for item in prune(reviews, keep=2)] == [1, 3]
    assert [item.version for item in list_versions(reviews)] == [2, 4, 5]
    assert not [entry for entry in reviews.iterdir() if entry.name.startswith(".removed-")]
    with pytest.raises(RepositoryError, match="keep=0"):
        prune(reviews, keep=0)


def test_two_writers_at_once_lose_no_label(reviews, write_at_once):
    codes, errors = write_at_once(*(("label", reviews, name, 30) for name in "ab"))
    assert codes == [0, 0], errors
    assert len(read_labels(reviews)) == 60
    assert json.loads((reviews / ".labels.json").read_text())["labels"]["a29"] == 1


def test_copy_to_another_folder(reviews, tmp_path):
    place = copy_version(find_version(reviews, 3), tmp_path / "other" / "reviews")
    copied = find_version(tmp_path / "other" / "reviews")
    assert place == str(copied.path) and copied.version == 1
    assert (copied.path / "saved_model.pb").read_bytes() == bytes([2])


def test_a_new_version_is_named_in_the_config_that_is_there(reviews, monkeypatch):
    copy_version(find_version(reviews, 3), reviews)
    assert not (reviews.parent / CONFIG_FILE).exists()
    set_label(reviews, "stable", 2)
    copy_version(find_version(reviews, 3), reviews)
    assert "versions: 7" in (reviews.parent / CONFIG_FILE).read_text()
    monkeypatch.chdir(reviews)
    copy_version(find_version(reviews, 3), ".")
    assert "versions: 8" in (reviews.parent / CONFIG_FILE).read_text()


def test_a_config_of_somebody_else_stays(reviews):
    (reviews.parent / CONFIG_FILE).write_text("# ours")
    copy_version(find_version(reviews, 3), reviews)
    assert (reviews.parent / CONFIG_FILE).read_text() == "# ours"


def test_labels_at_an_address(reviews, tmp_path):
    upath = pytest.importorskip("upath")
    root = upath.UPath(f"memory://{tmp_path.name}/models")
    for version in list_versions(reviews):
        copy_version(version, root / "reviews")
    base, config = f"{root}/reviews", root / CONFIG_FILE
    assert not config.exists()
    assert set_label(base, "stable", 2) == {"stable": 2}
    assert set_label(base, "stable", 4) == read_labels(base) == {"stable": 4}
    assert f'base_path: "{base}"' in config.read_text() and "versions: 4 versions: 5" in config.read_text()
    assert rollback(base) == 2
    copy_version(find_version(publish_again(reviews)), base)
    assert "versions: 2 versions: 6" in config.read_text()
    assert [item.version for item in prune(base, keep=2)] == [1, 3, 4]
    assert [item.version for item in list_versions(base)] == [2, 5, 6]
    assert {place.name for place in (root / "reviews").iterdir()} == {"2", "5", "6", ".labels.json"}
    assert set_label(base, "stable", None) == {}
    with pytest.raises(VersionNotFound, match="Expected version 9"):
        set_label(base, "stable", 9)
    with pytest.raises(RepositoryError, match="labelled 'stable'"):
        rollback(base)
    assert not list(root.rglob(".lock*"))


def publish_again(base):
    with publish(base) as publication:
        (publication.folder / "saved_model.pb").write_bytes(b"again")
    return base


def test_two_writers_at_an_address_lose_no_label(reviews, write_at_once):
    pytest.importorskip("upath")
    codes, errors = write_at_once(*(("label", f"file://{reviews}", name, 30) for name in "ab"))
    assert codes == [0, 0], errors
    assert len(read_labels(reviews)) == 60
    assert [place.name for place in reviews.parent.iterdir() if "lock" in place.name] == []


def test_labels_that_cannot_be_read_are_not_taken_for_none(reviews, monkeypatch):
    memory = pytest.importorskip("fsspec.implementations.memory")
    pytest.importorskip("upath")
    base = "memory://unreadable/models/reviews"
    copy_version(find_version(reviews, 2), base)
    set_label(base, "stable", 2)
    there = memory.MemoryFileSystem.info

    def broken(self, path, **options):
        if path.endswith(".labels.json"):
            raise ConnectionError("no network")
        return there(self, path, **options)

    def unread(self, path, *arguments, **options):
        if path.endswith(".labels.json"):
            raise ConnectionError("no network")
        return opened(self, path, *arguments, **options)

    opened = memory.MemoryFileSystem._open
    with monkeypatch.context() as patched:
        patched.setattr(memory.MemoryFileSystem, "info", broken)
        patched.setattr(
            memory.MemoryFileSystem, "isfile", memory.AbstractFileSystem.isfile
        )  # as of S3: no on any error
        patched.setattr(memory.MemoryFileSystem, "_open", unread)
        for change in (lambda: read_labels(base), lambda: set_label(base, "canary", 2)):
            with pytest.raises(RepositoryError, match="no network"):
                change()
    assert read_labels(base) == {"stable": 2}
