"""Profiles, asked for as TensorBoard and `tf.profiler.experimental.client.trace` do."""

import subprocess
import sys

import grpc
import pytest

from tfllm.errors import ConfigError
from tfllm.server import profiling
from tfllm.server.config import ServerConfig
from tfllm.server.server import serve
from tfllm.wire import messages


def profile(address, duration_ms=50, **fields):
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/tensorflow.ProfilerService/Profile",
            request_serializer=messages.ProfileRequest.SerializeToString,
            response_deserializer=messages.ProfileResponse.FromString,
        )
        return call(messages.ProfileRequest(duration_ms=duration_ms, **fields), timeout=30)


def refused(address, **options):
    with pytest.raises(grpc.RpcError) as caught:
        profile(address, **options)
    return caught.value.code().name


@pytest.fixture(scope="module")
def profiles(tmp_path_factory):
    return tmp_path_factory.mktemp("profiles")


@pytest.fixture(scope="module")
def writing(models, profiles):
    with serve(models / "classic", port=0, config=ServerConfig(profile_dir=str(profiles))) as server:
        yield server


@pytest.mark.slow
def test_the_client_of_tensorflow(writing, profiles):
    code = "import sys, tensorflow as tf; tf.profiler.experimental.client.trace(sys.argv[1], sys.argv[2], 200, '', 1)"
    subprocess.run([sys.executable, "-c", code, writing.address, str(profiles / "run")], check=True, timeout=120)
    (file,) = (profiles / "run" / "plugins" / "profile").glob("*/*.xplane.pb")
    assert b"/host:CPU" in file.read_bytes()


@pytest.mark.slow
def test_the_client_of_tensorflow_where_nothing_may_be_written(server, tmp_path):
    code = "import sys, tensorflow as tf; tf.profiler.experimental.client.trace(sys.argv[1], sys.argv[2], 200, '', 1)"
    subprocess.run([sys.executable, "-c", code, server.address, str(tmp_path / "run")], check=True, timeout=120)
    assert not (tmp_path / "run").exists()


def test_a_file(writing, profiles):
    names = {"repository_root": str(profiles / "deep" / "er"), "session_id": "2026_01_31", "host_name": "10.0.0.1:8500"}
    response = profile(writing.address, **names)
    file = profiles / "deep" / "er" / "2026_01_31" / "10.0.0.1_8500.xplane.pb"
    assert not response.xspace and not response.empty_trace
    assert b"/host:CPU" in file.read_bytes() and list(file.parent.iterdir()) == [file]


def test_a_link_is_replaced_and_not_followed(writing, profiles, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (profiles / "session").mkdir()
    (profiles / "session" / "host.xplane.pb").symlink_to(victim)
    profile(writing.address, repository_root=str(profiles), session_id="session", host_name="host")
    assert victim.read_text() == "precious"
    assert b"/host:CPU" in (profiles / "session" / "host.xplane.pb").read_bytes()


def test_other_places(writing, server, profiles, tmp_path):
    (profiles / "link").symlink_to(tmp_path)
    names = {"session_id": "session", "host_name": "host"}
    for root in (tmp_path, profiles / "..", profiles / "link", "gs://bucket", f"{profiles}2"):
        assert refused(writing.address, repository_root=str(root), **names) == "INVALID_ARGUMENT"
    assert profile(writing.address, repository_root=str(tmp_path), emit_xspace=True, **names).xspace
    assert profile(server.address, repository_root=str(tmp_path), **names).xspace
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "..", "../up", "/etc/cron.d/x", "a/b", ".hidden", "nul\0"])
def test_names_that_are_paths(writing, profiles, name):
    root = {"repository_root": str(profiles)}
    assert refused(writing.address, session_id=name, host_name="host", **root) == "INVALID_ARGUMENT"
    assert refused(writing.address, session_id="session", host_name=name, **root) == "INVALID_ARGUMENT"


def test_a_folder_that_cannot_be_made(models, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="profile_dir to write to"):
        serve(models / "classic", port=0, config=ServerConfig(profile_dir=str(tmp_path / "file" / "folder")))


def test_a_profile(server):
    response = profile(server.address)
    assert b"/host:CPU" in response.xspace and not response.empty_trace


@pytest.mark.parametrize("duration_ms", [0, 3_600_000])
def test_durations(server, duration_ms):
    assert refused(server.address, duration_ms=duration_ms) == "INVALID_ARGUMENT"


def test_who_may(models, tmp_path, monkeypatch):
    with serve(models / "classic", port=0, config=ServerConfig(enable_profiler=False)) as server:
        assert refused(server.address) == "UNIMPLEMENTED"
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[reader]\nsha256 = "{"0" * 64}"\nmodels = ["*"]\n')
    with serve(models / "classic", port=0, config=ServerConfig(auth_token_file=str(tokens))) as server:
        assert refused(server.address) == "UNAUTHENTICATED"
    monkeypatch.setattr(profiling, "is_local", lambda host: False)
    with serve(models / "classic", port=0) as server:
        assert refused(server.address) == "PERMISSION_DENIED"
