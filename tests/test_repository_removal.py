import random
import signal
import subprocess
import sys
import time

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


def test_a_killed_prune_leaves_whole_versions_and_the_next_one_cleans_up(tmp_path):
    code = "import sys, tfllm.repository_labels as r\nprint(flush=True)\nr.prune(sys.argv[1], 1)"
    moments, halves = random.Random(0), 0
    for turn in range(6):
        base = tmp_path / str(turn) / "reviews"
        for number in range(1, 9):
            make_version(base / str(number))
        pruner = subprocess.Popen([sys.executable, "-c", code, f"file://{base}"], stdout=subprocess.PIPE)
        pruner.stdout.readline()
        deadline = time.monotonic() + 30
        while (base / "1" / "saved_model.pb").exists() and time.monotonic() < deadline:  # until it is at work
            time.sleep(0.0005)
        time.sleep(moments.uniform(0, 0.01))
        pruner.send_signal(signal.SIGKILL)
        pruner.communicate()
        for item in list_versions(f"file://{base}"):
            assert len(names(item.path / "variables")) == 100
        halves += any(name.startswith(".removing-") for name in names(base))
        prune(f"file://{base}", 1)
        assert {name for name in names(base) if name.isdecimal() or name.startswith(".removing")} == {"8"}
    assert halves, "no kill came in the middle of a removal"
