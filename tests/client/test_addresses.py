import socket

import pytest

from tfllm.client import addresses
from tfllm.client.addresses import parse_address
from tfllm.errors import ConfigError, ServerUnavailable


@pytest.mark.parametrize(
    "address, hosts, balanced",
    [
        ("host:1", ("host:1",), False),
        ("a:1, b:2", ("a:1", "b:2"), True),
        (["a:1", "b:2"], ("a:1", "b:2"), True),
        (["a:1"], ("a:1",), False),
        ("[::1]:8500", ("[::1]:8500",), False),
        ("dns:///models:8500", ("dns:///models:8500",), True),
        ("ipv4:10.0.0.1:1,10.0.0.2:1", ("ipv4:10.0.0.1:1,10.0.0.2:1",), True),
        ("dns://10.0.0.2/models:8500", ("dns://10.0.0.2/models:8500",), True),
        ("dns:models:8500", ("dns:models:8500",), True),
        ("dns:///[::1]:8500", ("dns:///[::1]:8500",), True),
        ("my_models.svc.:8500", ("my_models.svc.:8500",), False),
        ("unix:/run/models.sock", ("unix:/run/models.sock",), False),
    ],
)
def test_addresses(address, hosts, balanced):
    servers = parse_address(address)
    assert (servers.hosts, servers.balanced) == (hosts, balanced)


@pytest.mark.parametrize(
    "address, message",
    [
        ("localhost", "with a port.*'localhost'"),
        ("a:1,b", "with a port.*'b'"),
        ("a:0", "'a:0'"),
        ("a:70000", "'a:70000'"),
        (":8500", "':8500'"),
        ("", "with a port"),
        ([], "none"),
        ("https://host:8501", "REST address"),
        (["a:1", "dns:///b:1"], "host:port for each"),
        ("a..b:8500,c:8500", "with a port.*'a..b:8500'"),
        (f"{'x' * 64}:8500", "with a port"),
        ("dns:///models", "name with a port.*'dns:///models'"),
        ("dns:models", "'dns:models'"),
        ("dns:///models:http", "'dns:///models:http'"),
        ("dns://10.0.0.2:53/models", "'dns://10.0.0.2:53/models'"),
        ("dns:///a:1,b", "'dns:///a:1,b'"),
    ],
)
def test_addresses_that_cannot_be_reached(address, message):
    with pytest.raises(ConfigError, match=message):
        parse_address(address)


@pytest.mark.parametrize(
    "address, local",
    [
        ("localhost:1", True),
        ("127.0.0.1:1,[::1]:2", True),
        ("127.1.2.3:1", True),
        ("LOCALHOST:1", True),
        ("unix:/x", True),
        ("unix-abstract:x", True),
        ("a:1", False),
        ("unixbox.example.com:8500", False),
        ("127.evil.example.com:8500", False),
        ("localhost.example.com:8500", False),
        ("dns:///localhost:1", False),
        ("localhost:1,a:1", False),
    ],
)
def test_what_is_on_this_machine(address, local):
    assert parse_address(address).local is local


def test_several_hosts_become_one_target(monkeypatch):
    known = {"four": ["10.0.0.4"], "both": ["::5", "10.0.0.5"], "six": ["::6"]}

    def look_up(name, port, type):
        if name not in known:
            raise socket.gaierror(name)
        return [(None, None, None, "", (address, port)) for address in known[name]]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", look_up)
    assert parse_address("four:1,both:2").target() == "ipv4:10.0.0.4:1,10.0.0.5:2"
    assert parse_address("four:1,gone:2").target() == "ipv4:10.0.0.4:1"
    assert parse_address("six:2,four:1").target() == "ipv6:[::ffff:10.0.0.4]:1,[::6]:2"
    with pytest.raises(ServerUnavailable, match="None of these hosts has an address: gone:1, away:2"):
        parse_address("gone:1,away:2").target()
