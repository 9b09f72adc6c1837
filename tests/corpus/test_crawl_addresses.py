from __future__ import annotations

import errno
import socket
import subprocess
import sys
from typing import Any

import pytest

from metier.corpus.crawl.addresses import PRIVATE, Guard


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "224.0.0.1", "239.1.2.3",
        "240.0.0.1", "255.255.255.255", "192.0.2.1", "168.63.129.16",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
        "2001:0:4136:e378::1", "64:ff9b:1::1", "100::1",
        # the same IPv4 addresses inside IPv6 ones
        "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::10.0.0.1", "2002:7f00:1::", "2002:c0a8:101::1",
    ],
)  # fmt: skip
def test_no_connection_goes_to_an_address_that_is_not_public(address: str) -> None:
    assert Guard().reason(address) == PRIVATE


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "172.32.0.1", "100.128.0.1", "193.0.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"],
)
def test_public_addresses_pass(address: str) -> None:
    assert Guard().reason(address) is None


def test_what_is_no_address_does_not_pass() -> None:
    assert Guard().reason("example.org") is not None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.1", "0", "10.1",
        "[::1]", "::1", "[::ffff:127.0.0.1]",
    ],
)  # fmt: skip
def test_a_host_that_is_a_private_address_in_any_spelling_is_refused_before_it_is_asked_for(host: str) -> None:
    assert Guard().host_reason(host) == PRIVATE


@pytest.mark.parametrize("host", ["example.org", "localhost", "beef.example", "8.8.8.8", "münchen.example", ""])
def test_names_are_decided_on_when_they_are_resolved(host: str) -> None:
    assert Guard().host_reason(host) is None


def test_only_the_networks_that_are_meant_pass() -> None:
    guard = Guard(("10.20.0.0/16", "fd12::/16"))
    assert guard.reason("10.20.3.4") is None and guard.reason("::ffff:10.20.3.4") is None
    assert guard.reason("fd12::1") is None
    assert guard.reason("10.21.0.1") == PRIVATE and guard.reason("fd13::1") == PRIVATE


def answers(*addresses: str) -> Any:
    def resolve(host: str, port: int, *rest: int) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return resolve


def test_a_name_leads_only_to_those_of_its_addresses_that_pass() -> None:
    guard = Guard(resolve=answers("10.0.0.1", "93.184.216.34", "127.0.0.1"))
    assert [entry[4][0] for entry in guard.getaddrinfo("mixed.example", 80)] == ["93.184.216.34"]
    assert not guard.refused_hosts


def test_a_name_that_is_bound_to_another_address_the_second_time_leads_nowhere() -> None:
    turns = iter([answers("93.184.216.34"), answers("169.254.169.254")])
    guard = Guard(resolve=lambda *question: next(turns)(*question))
    assert guard.getaddrinfo("rebind.example", 80)
    assert guard.getaddrinfo(b"Rebind.example", 80) == []
    assert guard.refused_hosts == {"rebind.example"}


def test_below_the_resolver_no_socket_connects_to_what_does_not_pass() -> None:
    # In a process of its own: an audit hook stays for good.
    code = """
import socket
from metier.corpus.crawl.addresses import Guard
open_, closed = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.2", 0))
Guard(("127.0.0.1/32",)).watch_sockets()
socket.create_connection(open_.getsockname()).close()
for connect in (socket.socket.connect, socket.socket.connect_ex):
    try:
        connect(socket.socket(), closed.getsockname())
    except PermissionError as error:
        print(error.errno)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(errno.EACCES)] * 2
