"""What an address means: one server, several, or a name that stands for several."""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from tfllm.errors import ConfigError, ServerUnavailable

Address = str | Sequence[str]

_DNS = "dns:///"
_SOCKETS = ("unix:", "unix-abstract:")
_SCHEMES = ("dns:", *_SOCKETS, "ipv4:", "ipv6:", "xds:", "vsock:")


@dataclass(frozen=True)
class Servers:
    """Where the calls go.

    Attributes:
        shown: the address as it was given, for messages.
        hosts: each `host:port`, or one target of gRPC's own (`dns:///...`, `unix:...`).
    """

    shown: str
    hosts: tuple[str, ...]

    @property
    def balanced(self) -> bool:
        """Whether the calls go round several servers."""
        return len(self.hosts) > 1 or self.hosts[0].startswith(("dns:", "ipv4:", "ipv6:"))

    @property
    def local(self) -> bool:
        """Whether all servers are on this machine, so that nothing said to them can be overheard."""
        return all(host.startswith(_SOCKETS) or is_this_machine(_split(host)[0]) for host in self.hosts)

    @property
    def name(self) -> str | None:
        """The first host's name, where there are several: what their certificate is checked against."""
        return _split(self.hosts[0])[0] if len(self.hosts) > 1 else None

    @property
    def named(self) -> bool:
        """Whether there are names that may stand for other servers tomorrow, and that the system looks up."""
        return any(not _is_literal(_split(host)[0]) for host in self._looked_up())

    def addresses(self) -> "frozenset[_Entry]":
        """Return what the names stand for now, addresses and ports; nothing if no name is known."""
        return frozenset(entry for host in self._looked_up() for entry in _look_up(host))

    def _looked_up(self) -> tuple[str, ...]:
        """Return each `host:port` that the system looks up: not those of a DNS server that the address names."""
        if self.hosts[0].startswith(_DNS):
            return (self.hosts[0].removeprefix(_DNS),)
        return self.hosts if len(self.hosts) > 1 else ()

    def target(self, addresses: "frozenset[_Entry] | None" = None) -> str:
        """Return gRPC's name of the servers.

        Args:
            addresses: what several hosts stand for; they are looked up now without it.

        Raises:
            ServerUnavailable: none of several hosts has an address.
        """
        if len(self.hosts) == 1:
            return self.hosts[0]
        found = sorted(self.addresses() if addresses is None else addresses, key=str)
        if not found:
            raise ServerUnavailable(f"None of these hosts has an address: {', '.join(self.hosts)}.")
        if all(address.version == 4 for address, _ in found):
            return "ipv4:" + ",".join(f"{address}:{port}" for address, port in found)
        mapped = [address if address.version == 6 else f"::ffff:{address}" for address, _ in found]
        return "ipv6:" + ",".join(f"[{address}]:{port}" for address, (_, port) in zip(mapped, found, strict=True))


def parse_address(address: Address) -> Servers:
    """Read an address: `"host:8500"`, `"host1:8500,host2:8500"`, a list of them, or `"dns:///models:8500"`.

    Raises:
        ConfigError: it is none that gRPC can reach.
    """
    parts = address.split(",") if isinstance(address, str) else list(address)
    hosts = tuple(part.strip() for part in parts)
    shown = ",".join(hosts)
    if hosts and hosts[0].startswith(_SCHEMES) and isinstance(address, str):
        if address.startswith("dns:"):
            _check_dns(address)
        return Servers(address, (address,))
    if not hosts:
        raise ConfigError("Expected an address, for example 'localhost:8500'. Received: none.")
    for host in hosts:
        _check(host, shown)
    return Servers(shown, hosts)


def shown_address(address: Address) -> str:
    """Return an address as messages show it; one of REST as it is.

    Raises:
        ConfigError: it is none that gRPC can reach.
    """
    return str(address) if is_rest(address) else parse_address(address).shown


def is_rest(address: Address) -> bool:
    """Say whether an address is one of REST."""
    return isinstance(address, str) and address.startswith(("http://", "https://"))


def is_this_machine(name: str) -> bool:
    """Say whether a host's name is that of this machine in every network: `localhost`, or a loopback address."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def _check(host: str, shown: str) -> None:
    if host.startswith(("http://", "https://")):
        raise ConfigError(
            f"Expected the address of the gRPC port, for example 'localhost:8500'. Received: '{host}' "
            "(of REST; TensorFlow Serving has gRPC on 8500 and REST on 8501; a client takes one REST address)."
        )
    if host.startswith(_SCHEMES):
        raise ConfigError(f"Expected host:port for each of several addresses. Received: '{shown}'.")
    name, port = _split(host)
    if not _is_port(port) or not _is_name(name):
        raise ConfigError(f"Expected an address with a port, for example 'localhost:8500'. Received: '{host}'.")


def _check_dns(address: str) -> None:
    """Refuse `dns:host` and `dns://server/host` without a port: gRPC would take that of https."""
    name, port = _split(address.rpartition("/")[2].removeprefix("dns:"))
    if not _is_port(port) or not _is_name(name):
        raise ConfigError(f"Expected a name with a port, for example 'dns:///models:8500'. Received: '{address}'.")


def _is_port(port: str) -> bool:
    return port.isascii() and port.isdecimal() and 0 < int(port) < 65536


def _is_name(name: str) -> bool:
    """Say whether the system can look a name up: its parts between dots are not empty, and not too long."""
    try:
        return bool(_is_literal(name) or name.encode("idna"))
    except UnicodeError:
        return False


def _split(host: str) -> tuple[str, str]:
    name, _, port = host.rpartition(":")
    return name.strip("[]"), port


def _is_literal(name: str) -> bool:
    """Say whether a name is an address itself."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


_Entry = tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, str]


def _look_up(host: str) -> list[_Entry]:
    """Return the addresses of a host, those of version 4 if it has any; none if it is not known."""
    name, port = _split(host)
    try:
        found = socket.getaddrinfo(name, int(port), type=socket.SOCK_STREAM)
    except OSError:
        return []  # the other hosts may do; `target` refuses if none does
    addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
    return [(address, port) for address in addresses if address.version == 4] or [(a, port) for a in addresses]
