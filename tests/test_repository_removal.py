import pytest

from tfllm.repository import list_versions
from tfllm.repository_labels import prune
from tfllm.repository_paths import located
from tfllm.repository_removal import remove_version

pytest.importorskip("upath")


def make_version(place):
    (place / "variables").mkdir(parents=True)
    for part in range(100):
        (place / "variables" / str(part)).write_bytes(b"data")
    (place / "saved_model.pb").write_bytes(b"graph")
    return place


def names(folder):
    return {entry.name for entry in folder.iterdir()}


@pytest.fixture(params=["memory", "file"])
def base(request, tmp_path):
    return located(f"{request.param}://{tmp_path}/models/reviews")


def test_the_graph_goes_first_and_nothing_stays(base, monkeypatch):
    for number in (1, 2, 12):
        make_version(base / str(number))
    seen = []
    files = type((base / "1").fs)
    remove = files.rm

    def looking(self, path, recursive=False, **options):
        seen.append(list_versions(base))
        remove(self, path, recursive=recursive, **options)

    monkeypatch.setattr(files, "rm", looking)
    remove_version(base / "2")
    assert names(base) == {"1", "12"}
    assert all([item.version for item in versions] == [1, 12] for versions in seen)


def test_the_next_prune_ends_what_a_killed_one_began(base):
    for number in (1, 2, 3):
        make_version(base / str(number))
    (base / "1" / "saved_model.pb").unlink()
    (base / ".removing-1").write_bytes(b"")
    assert prune(base, keep=2) == []
    assert names(base) == {"2", "3"}


def test_a_version_that_was_marked_and_no_more_stays(base):
    for number in (1, 2):
        make_version(base / str(number))
    (base / ".removing-1").write_bytes(b"")
    assert prune(base, keep=2) == []
    assert names(base) == {"1", "2"}


def test_what_has_no_graph_and_no_mark_is_left_alone(base):
    make_version(base / "2")
    (base / "1" / "variables").mkdir(parents=True)
    (base / "1" / "variables" / "data").write_bytes(b"of a copy under way")
    assert prune(base, keep=1) == []
    assert names(base) == {"1", "2"}


@pytest.mark.parametrize(
    ("moment", "whole"),
    [
        ("tfllm.repository_removal remove_file 1", [1, 2, 3]),  # marked, and its graph still there
        ("tfllm.repository_removal remove_file 2", [2, 3]),
        ("os unlink 50", [2, 3]),  # in the middle of the other files
        ("tfllm.repository_removal remove_file 4", [2, 3]),  # all is gone but the mark
        ("tfllm.repository_removal remove_file 6", [3]),
        ("os unlink 150", [3]),
    ],
)
def test_a_killed_prune_leaves_whole_versions_and_the_next_one_cleans_up(tmp_path, start_writer, moment, whole):
    base = tmp_path / "reviews"
    for number in (1, 2, 3):
        make_version(base / str(number))
    pruner = start_writer("prune", f"file://{base}", stop_at=moment)
    pruner.kill()
    pruner.communicate()
    versions = list_versions(f"file://{base}")
    assert [item.version for item in versions] == whole
    assert all(len(names(item.path / "variables")) == 100 for item in versions)
    assert any(name.startswith(".removing-") for name in names(base))
    prune(f"file://{base}", 1)
    assert names(base) == {"3"}
