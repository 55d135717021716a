import pytest

from tfllm.errors import ConfigError
from tfllm.server.addresses import grpc_options, is_local, join_address
from tfllm.server.config import ServerConfig


def test_settings_of_grpc():
    own = dict(grpc_options(ServerConfig()))
    assert own["grpc.max_receive_message_length"] == 2**28 and own["grpc.so_reuseport"] == 0
    arguments = "grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb,grpc.so_reuseport=1,grpc.x=-1"
    assert dict(grpc_options(ServerConfig(grpc_channel_arguments=arguments))) == {
        **own,
        "grpc.max_connection_age_ms": 2000,
        "grpc.lb_policy_name": "grpclb",
        "grpc.so_reuseport": 1,
        "grpc.x": -1,
    }
    for wrong in ("grpc.x", "=1"):
        with pytest.raises(ConfigError, match="key=value"):
            grpc_options(ServerConfig(grpc_channel_arguments=wrong))


def test_who_can_reach_an_address():
    assert all(map(is_local, ("127.0.0.1", "localhost", "::1", "[::1]", "127.1.2.3")))
    assert not any(map(is_local, ("0.0.0.0", "::", "10.0.0.1", "example.com")))
    assert join_address("::1", 5) == "[::1]:5"
