import re
import shutil
import sys

import pytest

from tfllm import repository_copy
from tfllm.errors import RepositoryError
from tfllm.repository import find_version, list_versions, publish
from tfllm.repository_copy import copy_version

pytest.importorskip("upath")

import fsspec
from upath import UPath


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


def test_a_copy_that_fails_at_a_file_address_leaves_the_number_free_for_another_version(reviews, tmp_path, monkeypatch):
    target, other = tmp_path / "bucket" / "reviews", tmp_path / "other" / "reviews"
    for _ in range(2):
        with publish(other) as publication:
            (publication.folder / "index.json").write_bytes(b"{}")

    def half(source, part):
        part.write_bytes(b"half")
        raise OSError("no space left")

    with monkeypatch.context() as patch, pytest.raises(RepositoryError, match="no space left"):
        patch.setattr(shutil, "copyfile", half)
        copy_version(find_version(reviews), f"file://{target}")
    assert contents(target) == {}
    assert copy_version(find_version(other), f"file://{target}") == f"file://{target}/2"


@pytest.mark.parametrize("name", ["../../../x", "variables/../../../x", "{tmp_path}/x"])
def test_an_object_whose_name_leads_out_of_the_version_is_refused(bucket, tmp_path, name):
    files, source, name = fsspec.filesystem("memory"), UPath(bucket) / "reviews" / "1", name.format(tmp_path=tmp_path)
    for key in ("saved_model.pb", "a", name):
        files.pipe_file(f"{source.path}/{key}", b"data")
    found = find_version(source.parent)
    for target in (tmp_path / "back" / "reviews", f"file://{tmp_path}/other/reviews"):
        with pytest.raises(RepositoryError, match=re.escape(f"Received: '{source}/{name}'")):
            copy_version(found, target)
    assert contents(tmp_path) == {}


def test_what_a_killed_prune_left_is_replaced(reviews, bucket):
    place = UPath(bucket) / "reviews" / "2"
    (place / "variables" / "of_another_model").write_bytes(b"old")
    (place.parent / ".removing-2").write_bytes(b"")
    copy_version(find_version(reviews), place.parent)
    assert contents(place) == contents(find_version(reviews).path)
    assert not (place.parent / ".removing-2").exists()


def test_of_two_copies_of_one_number_one_wins(tmp_path, write_at_once):
    for turn in range(3):
        address = f"file://{tmp_path}/bucket{turn}/reviews"
        bases = [make_model(tmp_path / f"{name}{turn}" / "reviews", name.encode() * 9) for name in "ab"]
        codes, errors = write_at_once(*(("copy", base, address) for base in bases))
        assert sorted(codes) == [0, 1], errors
        winner = bases[codes.index(0)]
        assert "Expected no version at" in "".join(errors)
        assert contents(tmp_path / f"bucket{turn}" / "reviews" / "2") == contents(winner / "2")


@pytest.mark.parametrize(
    ("moment", "files"),
    [
        ("tfllm.repository_copy put_file 1", 0),
        ("tfllm.repository_copy put_file 9", 8),
        ("os replace 9", 9),  # the ninth is there under the name that it has before it is whole
        ("tfllm.repository_copy put_file 21", 20),
        ("os replace 21", 21),
    ],
)
def test_a_killed_copy_is_not_listed_and_the_next_one_replaces_it(tmp_path, start_writer, moment, files):
    base, target = make_model(tmp_path / "models" / "reviews", b"x" * 9999), tmp_path / "bucket" / "reviews"
    copier = start_writer("copy", base, f"file://{target}", stop_at=moment)
    copier.kill()
    copier.communicate()
    assert list_versions(f"file://{target}") == [] and len(contents(target / "2")) == files
    copy_version(find_version(base), f"file://{target}")
    assert contents(target / "2") == contents(base / "2")
    assert {place.name for place in target.iterdir()} == {"2"}


def test_a_missing_package_is_named(reviews, monkeypatch):
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(ImportError, match=r"pip install 'tfllm\[cloud\]'"):
        repository_copy.copy_version(find_version(reviews), "gs://bucket/reviews")
