"""Models at an address of a server that speaks S3's protocol."""

import json
import os
import socket
import subprocess
import sys
import threading

import pytest

for package in ("upath", "s3fs", "flask_cors", "moto"):
    pytest.importorskip(package)

import s3fs  # noqa: E402
from click.testing import CliRunner  # noqa: E402

from tfllm import repository_locks  # noqa: E402
from tfllm.cli import cli  # noqa: E402
from tfllm.errors import RepositoryError  # noqa: E402
from tfllm.repository import find_version, list_models, list_versions, publish  # noqa: E402
from tfllm.repository_copy import copy_version  # noqa: E402
from tfllm.repository_labels import CONFIG_FILE, prune, read_labels, rollback, set_label  # noqa: E402
from tfllm.repository_locks import locked  # noqa: E402
from tfllm.repository_paths import located  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    """A server in a process of its own, so that it answers while this one waits."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "import sys\nfrom moto.server import main\nmain(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "Running on" in line:
            break
    threading.Thread(target=process.stderr.read, daemon=True).start()
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture
def bucket(server, tmp_path, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"bucket-{os.getpid()}-{abs(hash(tmp_path))}"
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def reviews(tmp_path):
    return make_model(tmp_path / "models" / "reviews", b"data")


def make_model(base, data):
    for number in range(3):
        with publish(base) as publication:
            (publication.folder / "saved_model.pb").write_bytes(bytes([number]))
            (publication.folder / "README.md").write_text("# A card")
            (publication.folder / "variables").mkdir()
            for part in range(5):
                (publication.folder / "variables" / str(part)).write_bytes(data)
    return base


def contents(folder):
    return {str(file)[len(str(folder)) :]: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_all_that_can_be_done_in_a_folder_can_be_done_in_a_bucket(reviews, bucket, tmp_path):
    base = f"{bucket}/models/reviews"
    for version in list_versions(reviews):
        assert copy_version(version, base) == f"{base}/{version.version}"
    assert contents(find_version(base).path) == contents(find_version(reviews).path)
    assert list_models(f"{bucket}/models")["reviews"][2].size == find_version(reviews).size
    for version in (1, 3):
        set_label(base, "stable", version)
    assert rollback(base) == 1
    assert [item.version for item in prune(base, keep=1)] == [2]
    assert [item.version for item in list_versions(base)] == [1, 3]
    config = (located(f"{bucket}/models") / CONFIG_FILE).read_text()
    assert f'base_path: "{base}"' in config and "versions: 1 versions: 3" in config
    assert copy_version(find_version(base), f"{bucket}/backup/reviews") == f"{bucket}/backup/reviews/3"
    back = copy_version(find_version(f"{bucket}/backup/reviews"), tmp_path / "back")
    assert contents(tmp_path / "back" / "1") == contents(find_version(reviews).path) and back.endswith("/1")
    left = {name.partition("/")[2] for name in s3fs.S3FileSystem().find(f"{bucket}/models")}
    assert not [name for name in left if "lock" in name or "removing" in name or "/2/" in name]


def test_a_version_whose_number_begins_like_that_of_another(reviews, bucket):
    base = located(f"{bucket}/reviews")
    for number in (2, 20, 21):
        (base / str(number) / "saved_model.pb").write_bytes(b"%d" % number)
        (base / str(number) / "assets").mkdir()
        (base / str(number) / "assets" / "x").write_bytes(b"x")
    s3fs.S3FileSystem().pipe_file(f"{base.path}/2/", b"")  # what stands for a folder in the consoles of stores
    assert find_version(base, 2).size == 2
    assert [item.version for item in prune(base, keep=2)] == [2]
    assert [item.version for item in list_versions(base)] == [20, 21]
    assert sorted(s3fs.S3FileSystem().find(base.path)) == [
        f"{base.path}/{number}/{name}" for number in (20, 21) for name in ("assets/x", "saved_model.pb")
    ]


def test_the_command_line(reviews, bucket):
    def run(*arguments):
        return CliRunner().invoke(cli, ["models", *map(str, arguments)], catch_exceptions=False)

    root = f"{bucket}/models"
    assert run("copy", "reviews", f"{root}/reviews", "--root", reviews.parent).stderr.startswith("Copied to s3://")
    assert run("label", "reviews", "stable", "--root", root).stderr == "Labels of 'reviews': stable = 3\n"
    (found,) = json.loads(run("list", root, "--json").stdout)
    assert (found["version"], found["labels"]) == (3, "stable")
    assert run("describe", "reviews", "--root", root).stdout == "# A card\n"


def test_two_writers_lose_no_label(reviews, bucket, write_at_once):
    base = f"{bucket}/models/reviews"
    copy_version(find_version(reviews, 1), base)
    codes, errors = write_at_once(*(("label", base, name, 20) for name in "ab"))
    assert codes == [0, 0], errors
    assert len(read_labels(base)) == 40


def test_of_two_copies_of_one_number_one_wins(bucket, tmp_path, write_at_once):
    models = {name: make_model(tmp_path / name / "reviews", name.encode() * 9) for name in "ab"}
    base = f"{bucket}/models/reviews"
    codes, errors = write_at_once(*(("copy", model, base) for model in models.values()))
    assert sorted(codes) == [0, 1], errors
    winner = "ab"[codes.index(0)]
    assert contents(find_version(base).path) == contents(models[winner] / "3")
    assert "Expected no version at" in "".join(errors)


def test_a_lock_keeps_the_other_waiting(bucket, monkeypatch):
    monkeypatch.setattr(repository_locks, "WAIT", 0.5)
    root = located(f"{bucket}/models")
    with locked(root), pytest.raises(RepositoryError, match="delete 's3://.*/models/.lock.json'"), locked(root):
        pass
    with locked(root):
        pass


def test_a_bucket_that_is_not_there_is_named(reviews, bucket):
    for use in (lambda base: set_label(base, "stable", 1), lambda base: copy_version(find_version(reviews), base)):
        with pytest.raises(RepositoryError, match="s3://no-such-bucket/models/reviews"):
            use("s3://no-such-bucket/models/reviews")
    assert "no-such-bucket" not in s3fs.S3FileSystem().ls("")
