import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from tfllm import repository_locks
from tfllm.errors import RepositoryError
from tfllm.repository_locks import locked, version_locked
from tfllm.repository_paths import located

pytest.importorskip("upath")

import fsspec

HOLDER = (
    "import sys\n"
    "from tfllm.repository_locks import locked\n"
    "from tfllm.repository_paths import located\n"
    "with locked(located(sys.argv[1])):\n"
    "    print(flush=True)\n"
    "    sys.stdin.readline()\n"
)


@pytest.fixture(params=["memory", "file"])
def root(request, tmp_path):
    return located(f"{request.param}://{tmp_path}/models")


def hold(address):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    return process


def test_a_lock_names_its_holder_and_goes_with_it(root):
    file = root / ".lock.json"
    with pytest.raises(KeyError), locked(root):
        holder = json.loads(file.read_text())
        assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid()) and holder["time"]
        raise KeyError
    assert not file.exists()
    with locked(root), version_locked(root / "reviews" / "3"), version_locked(root / "reviews" / "4"):
        assert (root / "reviews" / ".lock-3.json").exists()
    assert not (root / "reviews" / ".lock-3.json").exists() and not file.exists()


def test_who_comes_second_waits_and_is_told_of_the_holder(root, monkeypatch):
    monkeypatch.setattr(repository_locks, "WAIT", 0.3)
    begun = time.monotonic()
    who = rf"process {os.getpid()} on host '{socket.gethostname()}' since 20.*delete '{root}/.lock.json'"
    with locked(root), pytest.raises(RepositoryError, match=who), locked(root):
        pass
    assert time.monotonic() - begun >= 0.3
    with locked(root):
        pass


def test_a_lock_that_names_nobody_is_left_to_people(root, monkeypatch):
    monkeypatch.setattr(repository_locks, "WAIT", 0.1)
    root.mkdir(parents=True)
    (root / ".lock.json").write_bytes(b"[]")
    with pytest.raises(RepositoryError, match="a process that it does not name"), locked(root):
        pass
    assert (root / ".lock.json").read_bytes() == b"[]"


def test_the_lock_of_a_dead_process_of_this_host_is_taken_over(tmp_path):
    address = f"file://{tmp_path}"
    holder = hold(address)
    holder.kill()
    holder.communicate()
    assert (tmp_path / ".lock.json").exists()
    with locked(located(address)):
        assert json.loads((tmp_path / ".lock.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".lock.json").exists()


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"namespace": "pid:[1]"}])
def test_the_lock_of_another_host_or_container_is_not(root, monkeypatch, other):
    holder = subprocess.Popen([sys.executable, "-c", ""])
    holder.wait()
    monkeypatch.setattr(repository_locks, "WAIT", 0.1)
    root.mkdir(parents=True)
    mark = {"host": socket.gethostname(), "pid": holder.pid, "namespace": repository_locks._namespace()}
    (root / ".lock.json").write_text(json.dumps({**mark, **other}))
    with pytest.raises(RepositoryError, match=f"process {holder.pid} on host"), locked(root):
        pass


def test_a_living_process_is_waited_for(tmp_path):
    address = f"file://{tmp_path}"
    holder = hold(address)
    threading.Timer(0.5, lambda: holder.communicate("\n")).start()
    with locked(located(address)):
        assert holder.wait(10) == 0


def test_a_lock_that_somebody_put_in_its_place_stays(root):
    with locked(root):
        (root / ".lock.json").write_bytes(b"{}")
    assert (root / ".lock.json").read_bytes() == b"{}"


@pytest.mark.parametrize("address", ["http://localhost:1/models", "simplecache::memory://bucket/models"])
def test_stores_without_exclusive_creation_are_refused(address):
    with pytest.raises(RepositoryError, match="Expected an address that two writers cannot change at once"):
        locked(located(address)).__enter__()


def test_a_store_that_overlooks_the_condition_is_noticed(tmp_path, monkeypatch):
    root, files = located(f"memory://{tmp_path}"), fsspec.filesystem("memory")
    put = type(files).pipe_file
    monkeypatch.setattr(type(files), "pipe_file", lambda self, path, data, mode="overwrite": put(self, path, data))
    with pytest.raises(RepositoryError, match="wrote one twice"), locked(root):
        pass
    assert not (root / ".lock.json").exists()


def test_a_request_that_was_sent_again_holds_the_lock(tmp_path, monkeypatch):
    root, files = located(f"memory://{tmp_path}"), fsspec.filesystem("memory")
    put = type(files).pipe_file

    def twice(self, path, data, mode="overwrite"):
        if not files.exists(path):
            put(self, path, data, mode=mode)
        raise FileExistsError(path)

    monkeypatch.setattr(type(files), "pipe_file", twice)
    with locked(root):
        assert (root / ".lock.json").exists()
    assert not (root / ".lock.json").exists()


def test_a_lock_that_cannot_be_removed_is_told_and_changes_nothing(root, monkeypatch, caplog):
    def failing(file):
        raise OSError("no network")

    monkeypatch.setattr(repository_locks, "remove_file", failing)
    with pytest.raises(KeyError), locked(root):
        raise KeyError
    with locked(root / "other"):
        pass
    first, second = caplog.messages
    assert f"'{root}/.lock.json'" in first and "no network" in first and "Delete it" in first
    assert f"'{root}/other/.lock.json'" in second
