"""The guard of a crawl: which addresses may be connected to, decided on the very address that a connection goes to.

A web page can name any host, and a host's name can lead to any address: to this machine, to the office printer, to the
metadata service that hands out a cloud machine's keys. So names prove nothing. The guard stands in the resolver, which
hands on only addresses that passed, and once more below it, where a socket connects. Redirects, robots.txt and
sitemaps take the same way, and a name that gives another address the second time (DNS rebinding) gains nothing by it.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PRIVATE = "private address"

# IANA IPv4 Special-Purpose Address Registry, and what lies beyond unicast. Spelt out: what `ipaddress` calls global
# has changed between releases of Python.
_NOT_PUBLIC_4 = [
    IPv4Network(cidr)
    for cidr in (
        "0.0.0.0/8",  # this host (RFC 791): Linux connects 0.0.0.0 to itself
        "10.0.0.0/8",  # RFC 1918
        "100.64.0.0/10",  # carrier-grade NAT (RFC 6598); some clouds' metadata service
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local (RFC 3927); most clouds' metadata service
        "172.16.0.0/12",  # RFC 1918
        "192.0.0.0/24",  # IETF protocols (RFC 6890); one cloud's metadata service
        "192.0.2.0/24",  # documentation (RFC 5737)
        "192.88.99.0/24",  # 6to4 relays, deprecated (RFC 7526)
        "192.168.0.0/16",  # RFC 1918
        "198.18.0.0/15",  # benchmarks (RFC 2544)
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "168.63.129.16/32",  # a public address that is every Azure machine's own host
    )
]
_PUBLIC_6 = IPv6Network("2000::/3")  # global unicast; all else is private, link-local, multicast or unassigned
_NOT_PUBLIC_6 = [
    IPv6Network(cidr)
    for cidr in (
        "2001::/23",  # IETF protocols: Teredo, ORCHID, benchmarks (RFC 2928)
        "2001:db8::/32",  # documentation (RFC 3849)
        "3fff::/20",  # documentation (RFC 9637)
    )
]
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
_COMPATIBLE = IPv6Network("::/96")  # RFC 4291, deprecated: the same


class Guard:
    """Decides on addresses.

    Args:
        allowed: networks that are meant although they are not public, as in "10.20.0.0/16".
        resolve: the system's `getaddrinfo`.
    """

    def __init__(self, allowed: Iterable[str] = (), resolve: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
        self._allowed: list[Network] = [ip_network(cidr) for cidr in allowed]
        self._resolve = resolve
        self.refused_hosts: set[str] = set()
        """Hosts whose name led to no address that may be connected to."""

    def reason(self, address: str | Address) -> str | None:
        """Return why no connection may go to an address, or None if it may.

        An address inside another (IPv4-mapped, NAT64, 6to4) counts as the one it leads to.
        """
        try:
            found = ip_address(str(address).partition("%")[0])
        except ValueError:
            return "no address"
        found = _inner(found)
        if any(found.version == network.version and found in network for network in self._allowed):
            return None
        if isinstance(found, IPv4Address):
            return PRIVATE if any(found in network for network in _NOT_PUBLIC_4) else None
        public = found in _PUBLIC_6 and not any(found in network for network in _NOT_PUBLIC_6)
        return None if public else PRIVATE

    def host_reason(self, host: str) -> str | None:
        """Return why a host that is itself an address in any spelling may not be reached; None for names."""
        written = host.strip("[]").partition("%")[0]
        try:
            return self.reason(ip_address(written))
        except ValueError:
            pass
        try:  # 2130706433, 0x7f.1 and 0177.0.0.1 are all 127.0.0.1 to the C library, and so to every resolver
            return self.reason(socket.inet_ntoa(socket.inet_aton(written)))
        except (OSError, UnicodeEncodeError):
            return None

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """Resolve a name as `socket.getaddrinfo` does, and return only the addresses that may be connected to."""
        found = self._resolve(host, port, family, type, proto, flags)
        passed = [entry for entry in found if self.reason(entry[4][0]) is None]
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
        if found and not passed:
            self.refused_hosts.add(name.lower())
        else:
            self.refused_hosts.discard(name.lower())
        return passed

    def watch_sockets(self) -> None:
        """From now on, for the rest of this process, let no socket connect to an address that does not pass."""

        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "socket.connect" and isinstance(arguments[1], tuple) and self.reason(arguments[1][0]):
                raise PermissionError(errno.EACCES, f"the crawl's guard: {PRIVATE}")

        sys.addaudithook(audit)


def _inner(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 0xFFFF):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
