import random
import signal
import subprocess
import sys
import time

import pytest

from tfllm import repository_copy
from tfllm.errors import RepositoryError
from tfllm.repository import find_version, list_versions, publish
from tfllm.repository_copy import copy_version

pytest.importorskip("upath")

import fsspec
from upath import UPath

COPIER = (
    "import sys, tfllm.repository as r, tfllm.repository_copy as c\n"
    "source = r.find_version(sys.argv[1])\n"
    "print(flush=True)\n"
    "sys.stdin.readline()\n"
    "print(c.copy_version(source, sys.argv[2]))\n"
)


@pytest.fixture
def reviews(tmp_path):
    return make_model(tmp_path / "models" / "reviews", b"data")


@pytest.fixture
def bucket(tmp_path):
    return f"memory://{tmp_path.name}"


def make_model(base, data):
    for number in range(2):
        with publish(base) as publication:
            (publication.folder / "saved_model.pb").write_bytes(bytes([number]))
            (publication.folder / "variables").mkdir()
            for part in range(20):
                (publication.folder / "variables" / str(part)).write_bytes(data)
    return base


def contents(folder):
    folder = UPath(folder)
    return {str(file)[len(str(folder)) :]: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def start_copy(base, address):
    command = [sys.executable, "-c", COPIER, base, address]
    copier = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    copier.stdout.readline()  # it is ready
    return copier


def go(copier):
    copier.stdin.write("\n")
    copier.stdin.flush()


def test_copies_between_folders_and_addresses_are_the_same(reviews, bucket, tmp_path):
    source = find_version(reviews)
    assert copy_version(source, f"{bucket}/a/reviews/") == f"{bucket}/a/reviews/2"
    assert copy_version(find_version(f"{bucket}/a/reviews"), UPath(f"{bucket}/b/reviews")) == f"{bucket}/b/reviews/2"
    back = copy_version(find_version(f"{bucket}/b/reviews"), tmp_path / "back" / "reviews")
    assert back == str(tmp_path / "back" / "reviews" / "1")
    expected = contents(source.path)
    assert len(expected) == 21
    assert contents(f"{bucket}/a/reviews/2") == contents(f"{bucket}/b/reviews/2") == contents(back) == expected
    for again in (source, find_version(f"{bucket}/b/reviews")):
        with pytest.raises(RepositoryError, match="one that is there"):
            copy_version(again, f"{bucket}/a/reviews")


def test_a_copy_that_fails_leaves_nothing_and_can_be_tried_again(reviews, bucket, monkeypatch):
    files, source, place = fsspec.filesystem("memory"), find_version(reviews), UPath(bucket) / "reviews" / "2"
    put = type(files).put_file

    def failing(self, local, remote, **options):
        if remote.endswith("saved_model.pb"):
            raise OSError("no space left")
        put(self, local, remote, **options)

    with monkeypatch.context() as patch, pytest.raises(RepositoryError, match="no space left"):
        patch.setattr(type(files), "put_file", failing)
        copy_version(source, place.parent)
    assert not files.find(place.parent.path)
    (place / "model.onnx").write_bytes(b"of somebody else")
    with pytest.raises(RepositoryError, match="one that is there"):
        copy_version(source, place.parent)
    (place / "model.onnx").unlink()
    (place / "variables" / "0").write_bytes(b"of a copy that was killed")
    assert copy_version(source, place.parent) == str(place)
    assert (place / "variables" / "0").read_bytes() == b"data"


def test_a_version_that_goes_while_it_is_copied_is_not_published(reviews, bucket, tmp_path):
    copy_version(find_version(reviews), f"{bucket}/reviews")
    source = find_version(f"{bucket}/reviews")
    (source.path / "saved_model.pb").unlink()
    for target in (tmp_path / "back" / "reviews", f"{bucket}/other/reviews"):
        with pytest.raises(RepositoryError, match="Expected a version with one of saved_model.pb"):
            copy_version(source, target)
    assert list_versions(tmp_path / "back" / "reviews") == list_versions(f"{bucket}/other/reviews") == []


def test_what_a_killed_prune_left_is_replaced(reviews, bucket):
    place = UPath(bucket) / "reviews" / "2"
    (place / "variables" / "of_another_model").write_bytes(b"old")
    (place.parent / ".removing-2").write_bytes(b"")
    copy_version(find_version(reviews), place.parent)
    assert contents(place) == contents(find_version(reviews).path)
    assert not (place.parent / ".removing-2").exists()


def test_of_two_copies_of_one_number_one_wins(tmp_path):
    for turn in range(3):
        address = f"file://{tmp_path}/bucket{turn}/reviews"
        bases = [make_model(tmp_path / f"{name}{turn}" / "reviews", name.encode() * 9) for name in "ab"]
        copiers = [start_copy(base, address) for base in bases]
        for copier in copiers:
            go(copier)
        errors = [copier.communicate(timeout=60)[1] for copier in copiers]
        assert sorted(copier.returncode for copier in copiers) == [0, 1], errors
        (winner,) = [base for base, copier in zip(bases, copiers, strict=True) if copier.returncode == 0]
        assert "Expected no version at" in "".join(errors)
        assert contents(tmp_path / f"bucket{turn}" / "reviews" / "2") == contents(winner / "2")


def test_a_killed_copy_is_not_listed_and_the_next_one_replaces_it(tmp_path):
    base = make_model(tmp_path / "models" / "reviews", b"x" * 1_000_000)
    moments, halves = random.Random(0), 0
    for turn in range(8):
        target = tmp_path / f"bucket{turn}" / "reviews"
        copier = start_copy(base, f"file://{target}")
        go(copier)
        deadline = time.monotonic() + 30
        while not (target / "2").exists() and time.monotonic() < deadline:  # until it is at work
            time.sleep(0.0005)
        time.sleep(moments.uniform(0, 0.01))
        copier.send_signal(signal.SIGKILL)
        copier.communicate()
        if list_versions(f"file://{target}"):
            assert contents(target / "2") == contents(base / "2")
            continue
        halves += 1
        copy_version(find_version(base), f"file://{target}")
        assert contents(target / "2") == contents(base / "2")
        assert {place.name for place in target.iterdir()} == {"2"}
    assert halves, "no kill came in the middle of a copy"


def test_a_missing_package_is_named(reviews, monkeypatch):
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(ImportError, match=r"pip install 'tfllm\[cloud\]'"):
        repository_copy.copy_version(find_version(reviews), "gs://bucket/reviews")
