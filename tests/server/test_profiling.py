"""Profiles, asked for as TensorBoard and `tf.profiler.experimental.client.trace` do."""

import subprocess
import sys

import grpc
import pytest

from tfllm.server import profiling
from tfllm.server.config import ServerConfig
from tfllm.server.server import serve
from tfllm.wire import messages


def profile(address, duration_ms=50):
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/tensorflow.ProfilerService/Profile",
            request_serializer=messages.ProfileRequest.SerializeToString,
            response_deserializer=messages.ProfileResponse.FromString,
        )
        return call(messages.ProfileRequest(duration_ms=duration_ms), timeout=30)


def refused(address, **options):
    with pytest.raises(grpc.RpcError) as caught:
        profile(address, **options)
    return caught.value.code().name


@pytest.mark.slow
def test_the_client_of_tensorflow_writes_what_it_gets(server, tmp_path):
    code = "import sys, tensorflow as tf; tf.profiler.experimental.client.trace(sys.argv[1], sys.argv[2], 200, '', 3)"
    subprocess.run([sys.executable, "-c", code, server.address, str(tmp_path)], check=True, timeout=120)
    (file,) = tmp_path.rglob("*.xplane.pb")
    assert b"/host:CPU" in file.read_bytes()


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
