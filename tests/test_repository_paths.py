import os
import subprocess
import sys

import pytest

from tfllm.errors import RepositoryError
from tfllm.repository import list_versions
from tfllm.repository_paths import absolute, files_in, is_address, located, put_file, write_text


def test_a_local_path_loads_no_package_of_addresses(tmp_path):
    code = (
        "import sys, tfllm.repository_copy as c, tfllm.repository as r\n"
        "list(r.list_models(sys.argv[1]))\n"
        "assert not {'upath', 'fsspec'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)


def test_what_is_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_address("s3://bucket/models") and not is_address(tmp_path) and not is_address("a:/b")
    assert absolute("models") == tmp_path / "models"


def test_an_address_stays_one():
    pytest.importorskip("upath")
    place = located("memory://bucket/models/")
    assert str(place / "reviews") == "memory://bucket/models/reviews" == str(located(place / "reviews"))
    assert str(absolute(place)) == "memory://bucket/models"


def test_a_scheme_that_nobody_knows():
    pytest.importorskip("upath")
    with pytest.raises(RepositoryError, match="'nope://bucket/models': ValueError"):
        list_versions("nope://bucket/models")


def test_files_of_a_file_address_are_local_files(tmp_path):
    pytest.importorskip("upath")
    (tmp_path / "models").mkdir()
    write_text(located(f"file://{tmp_path}/models") / "a.txt", "über")
    assert (tmp_path / "models" / "a.txt").read_text("utf-8") == "über"
    assert files_in(located(f"file://{tmp_path}")) == files_in(tmp_path) == {"models/a.txt": 5}


def test_a_file_that_cannot_be_put_leaves_no_part_of_it(tmp_path, monkeypatch):
    pytest.importorskip("upath")
    (tmp_path / "source").write_bytes(b"data")
    target = located(f"file://{tmp_path}/models") / "a.txt"
    flushed = []
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(os, "fsync", flushed.append)
        patch.setattr(os, "replace", failing)
        put_file(tmp_path / "source", target)
    assert len(flushed) == 1 and files_in(tmp_path / "models") == {}
    put_file(tmp_path / "source", target)
    assert files_in(tmp_path / "models") == {"a.txt": 4}


def failing(*paths):
    raise OSError("no space left")
