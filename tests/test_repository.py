import os
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

from tfllm import repository
from tfllm.errors import RepositoryError, VersionNotFound
from tfllm.repository import (
    find_version,
    list_models,
    list_versions,
    next_version,
    publish,
    remove_partial_versions,
)

FILES = 40
WRITER = f"""
import sys, tfllm.repository as repository
while True:
    with repository.publish(sys.argv[1]) as publication:
        (publication.folder / "variables").mkdir()
        for number in range({FILES}):
            (publication.folder / "variables" / str(number)).write_bytes(b"x" * 1000)
"""


def make_version(base, number, content=b"graph"):
    folder = base / str(number)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(content)
    return folder


def publish_one(base):
    with publish(base) as publication:
        (publication.folder / "saved_model.pb").write_bytes(b"graph")
    return publication.published


def partial_folders(base):
    return sorted(entry.name for entry in base.iterdir() if entry.name.startswith("."))


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_versions_are_listed_by_number_and_other_entries_are_ignored(tmp_path):
    base = tmp_path / "reviews"
    for number in (10, 2, 1):
        make_version(base, number)
    for name in ("latest", "3.bak", "-4", "5x", "٣", ".partial-host-1-x"):
        (base / name).mkdir()
    (base / "7").write_text("a file")
    assert [(item.name, item.version, item.path) for item in list_versions(base)] == [
        ("reviews", number, base / str(number)) for number in (1, 2, 10)
    ]
    assert next_version(base) == 11


def test_a_model_without_versions(tmp_path):
    assert list_versions(tmp_path / "none") == []
    assert next_version(tmp_path / "none") == 1


def test_size_counts_all_files(tmp_path):
    folder = make_version(tmp_path, 1, b"12345")
    (folder / "variables").mkdir()
    (folder / "variables" / "data").write_bytes(b"123")
    assert find_version(tmp_path).size == 8


def test_the_name_of_a_model_does_not_depend_on_how_its_path_is_written(tmp_path, monkeypatch):
    base = tmp_path / "reviews"
    make_version(base, 1)
    monkeypatch.chdir(base)
    assert {find_version(path).name for path in (base, ".", "../reviews", f"{base}/", f"{base}/1/..")} == {"reviews"}


def test_find_version(tmp_path):
    for number in (1, 2):
        make_version(tmp_path, number)
    assert find_version(tmp_path).version == 2
    assert find_version(str(tmp_path), 1).version == 1
    with pytest.raises(VersionNotFound, match=r"Expected version 3 of the model in '.*'. Available: 1, 2\."):
        find_version(tmp_path, 3)
    with pytest.raises(VersionNotFound, match=r"Expected a version of the model in '.*none'. Available: none\."):
        find_version(tmp_path / "none")


def test_list_models(tmp_path):
    make_version(tmp_path / "b", 1)
    make_version(tmp_path / "a", 4)
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("")
    assert {name: [item.version for item in found] for name, found in list_models(tmp_path).items()} == {
        "a": [4],
        "b": [1],
    }
    with pytest.raises(RepositoryError, match="which does not exist"):
        list_models(tmp_path / "none")


def test_publish_makes_version_after_version(tmp_path):
    base = tmp_path / "deep" / "reviews"
    first, second = publish_one(base), publish_one(base)
    assert (first.name, first.version, first.path) == ("reviews", 1, base / "1")
    assert second.version == 2
    assert (base / "2" / "saved_model.pb").read_bytes() == b"graph"
    assert partial_folders(base) == []


def test_a_published_folder_can_be_read_by_other_users(tmp_path):
    assert publish_one(tmp_path).path.stat().st_mode & 0o055 == 0o055


def test_nothing_is_visible_before_the_end(tmp_path):
    with publish(tmp_path) as publication:
        (publication.folder / "saved_model.pb").write_bytes(b"graph")
        assert list_versions(tmp_path) == []
        assert publication.published is None
    assert [item.version for item in list_versions(tmp_path)] == [1]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_publishes_nothing_and_leaves_nothing(tmp_path, error):
    with pytest.raises(error), publish(tmp_path) as publication:
        (publication.folder / "saved_model.pb").write_bytes(b"half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_empty_version_is_refused(tmp_path):
    with pytest.raises(RepositoryError, match="Received: an empty folder"), publish(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RepositoryError, match="Expected a model folder that can be written"):
        publish_one(tmp_path / "file")


def test_a_file_in_the_way_is_stepped_over(tmp_path):
    make_version(tmp_path, 1)
    (tmp_path / "2").write_text("not a version")
    assert publish_one(tmp_path).version == 3


def test_another_publisher_may_take_the_number_first(tmp_path, monkeypatch):
    make_version(tmp_path, 1)
    monkeypatch.setattr(repository, "next_version", lambda base: 1)  # what was true when both looked
    assert publish_one(tmp_path).version == 2
    assert (tmp_path / "1" / "saved_model.pb").exists()


def test_two_publishers_at_once_get_two_numbers(tmp_path):
    code = (
        "import sys, tfllm.repository as repository\n"
        "sys.stdin.readline()\n"
        "for turn in range(20):\n"
        "    with repository.publish(sys.argv[1]) as publication:\n"
        "        (publication.folder / 'writer').write_text(sys.argv[2])\n"
        "    print(publication.published.version)\n"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in "ab"
    ]
    for writer in writers:  # both are ready: start them together
        writer.stdin.write("\n")
        writer.stdin.flush()
    numbers = {name: writer.communicate(timeout=60)[0].split() for name, writer in zip("ab", writers, strict=True)}
    assert sorted(map(int, numbers["a"] + numbers["b"])) == list(range(1, 41))
    for name, mine in numbers.items():
        assert {(tmp_path / number / "writer").read_text() for number in mine} == {name}


def test_kill_leaves_only_whole_versions_and_the_next_publication_cleans_up(tmp_path):
    moments = random.Random(0)
    leftovers = 0
    for _ in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path])
        before = next_version(tmp_path)
        deadline = time.monotonic() + 30
        while next_version(tmp_path) == before and time.monotonic() < deadline:  # until it is at work
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.02))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        leftovers += bool(partial_folders(tmp_path))
        for item in list_versions(tmp_path):
            assert len(list((item.path / "variables").iterdir())) == FILES
            assert item.size == FILES * 1000
    assert leftovers, "no kill came in the middle of a version"
    publish_one(tmp_path)
    assert partial_folders(tmp_path) == []


def test_only_leftovers_of_dead_writers_on_this_host_are_removed(tmp_path):
    host, dead = socket.gethostname(), dead_process()
    gone = f".partial-{host}-{dead}-abcdefgh"
    kept = [
        f".partial-{host}-{os.getpid()}-abcdefgh",  # still running
        f".partial-otherhost-{dead}-abcdefgh",
        f".partial-{host}-{dead}-{os.getpid()}-abcdefgh",  # of a host whose name starts like this one's
        f".partial-{host}-x-abcdefgh",
    ]
    for name in (gone, *kept):
        (tmp_path / name).mkdir()
    assert [entry.name for entry in remove_partial_versions(tmp_path)] == [gone]
    assert partial_folders(tmp_path) == sorted(kept)


def test_nothing_is_published_at_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RepositoryError, match="tfllm models copy"):
        publish_one("gs://bucket/models/reviews")
    assert not list(tmp_path.iterdir())


def test_versions_at_an_address_are_those_with_a_graph(tmp_path):
    upath = pytest.importorskip("upath")
    root = upath.UPath(f"memory://{tmp_path.name}/models")
    for number in (10, 2):
        (root / f"reviews/{number}/saved_model.pb").write_bytes(b"graph")
    (root / "reviews/10/variables/data").write_bytes(b"123")
    (root / "reviews/11/variables/data").write_bytes(b"of a copy under way")
    (root / "reviews/12").write_bytes(b"a file")
    (root / "index/3/index.json").write_bytes(b"{}")
    (root / "models.config").write_bytes(b"")
    assert {name: [item.version for item in found] for name, found in list_models(str(root)).items()} == {
        "index": [3],
        "reviews": [2, 10],
    }
    newest = find_version(f"{root}/reviews/")
    assert (newest.name, newest.version, newest.size) == ("reviews", 10, 8)
    assert str(newest.path) == f"memory://{tmp_path.name}/models/reviews/10"
    assert next_version(root / "reviews") == 11
    assert list_versions(root / "none") == []
    with pytest.raises(VersionNotFound, match=r"version 11 of the model in 'memory://.*/reviews'. Available: 2, 10\."):
        find_version(root / "reviews", 11)
    with pytest.raises(RepositoryError, match=r"'memory://.*/none', which does not exist"):
        list_models(root / "none")
