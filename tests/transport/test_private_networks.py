"""allow_private_networks=False: nothing is connected to but public addresses, whatever they are called."""

import asyncio
import ipaddress
import random
import socket

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_atomic import DestinationError, TransportError, send_request
from prefect_atomic.transport import clients
from prefect_atomic.transport.private_networks import AsyncPublicOnlyBackend, PublicOnlyBackend, is_public

PRIVATE = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "link-local": ["169.254.0.1", "169.254.169.254", "fe80::1", "fe80::1%eth0"],
    "carrier": ["100.64.0.1", "100.127.255.255"],
    "unique local": ["fc00::1", "fd00:ec2::254"],
    "site-local": ["fec0::1"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"],
    "compatible": ["::127.0.0.1", "::10.0.0.1"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"],
    "6to4": ["2002:7f00:1::", "2002:a00:1::1", "192.88.99.1"],
    "Teredo": ["2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "broadcast": ["255.255.255.255"],
    "reserved": ["240.0.0.1", "4000::1", "5f00::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmarks": ["198.18.0.1", "198.19.255.255"],
    "protocols": ["192.0.0.1", "192.0.0.170", "192.0.0.8"],
}
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", [address for addresses in PRIVATE.values() for address in addresses])
def test_an_address_that_is_not_public_is_told(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_told(address):
    assert is_public(address)


NETWORKS = [
    *ipaddress.IPv4Address._constants._private_networks,
    *ipaddress.IPv6Address._constants._private_networks,
    ipaddress.ip_network("100.64.0.0/10"),
    ipaddress.ip_network("fc00::/7"),
    ipaddress.ip_network("ff00::/8"),
    ipaddress.ip_network("224.0.0.0/4"),
]


@given(network=st.sampled_from(NETWORKS), randomness=st.randoms())
def test_no_address_of_a_private_network_is_public(network, randomness: random.Random):
    if network == ipaddress.ip_network("::ffff:0:0/96"):
        return  # mapped addresses are judged as the IPv4 address in them
    address = network[randomness.randrange(network.num_addresses)]

    assert not is_public(str(address))
    if address.version == 4:
        assert not is_public(f"::ffff:{address}")


SPELLINGS = [
    *("127.0.0.1", "127.1", "0x7f.1", "2130706433", "017700000001", "0x7f000001", "0", "127。0。0。1"),
    *("localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]"),
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_this_machine_is_refused_however_it_is_spelt(send, server, host):
    with pytest.raises(DestinationError, match=r"is not a public address.*allow_private_networks=False"):
        send("GET", f"http://{host}:{server.port}/p", allow_private_networks=False)

    assert server.connections == 0


def names(monkeypatch, *addresses) -> None:
    """Has every name resolve to these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_a_name_with_one_private_address_among_public_ones_is_refused(send, monkeypatch):
    names(monkeypatch, "8.8.8.8", "10.0.0.1", "1.1.1.1")

    with pytest.raises(DestinationError, match=r"crm\.example\.com is at 10\.0\.0\.1, which is not a public address"):
        send("GET", "http://crm.example.com/", allow_private_networks=False)


@pytest.mark.parametrize("name", ["localhost.", "rebinding.example.com"])
def test_it_is_the_address_that_is_judged_not_the_name(send, monkeypatch, name):
    names(monkeypatch, "127.0.0.1")

    with pytest.raises(DestinationError, match=r"is at 127\.0\.0\.1"):
        send("GET", f"http://{name}/", allow_private_networks=False)


def test_a_refusal_is_not_tried_again(send, monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **_: asked.append(a) or [(2, 1, 6, "", ("10.0.0.1", 80))])

    with pytest.raises(DestinationError):
        send("GET", "http://crm.example.com/", allow_private_networks=False)

    assert len(asked) == 1


class _ConnectedError(Exception):
    """Raised in place of a connection, with the address."""


def test_a_name_is_resolved_once_and_its_next_address_tried_where_one_fails(monkeypatch):
    names(monkeypatch, "8.8.8.8", "1.1.1.1")
    tried = []

    def connect(self, host, *_):
        tried.append(host)
        raise httpcore.ConnectError("refused") if len(tried) == 1 else _ConnectedError

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)

    with pytest.raises(_ConnectedError):
        PublicOnlyBackend().connect_tcp("crm.example.com", 80, 5)

    assert tried == ["8.8.8.8", "1.1.1.1"]


def test_the_asynchronous_backend_tries_the_next_address_too(monkeypatch):
    tried = []

    async def connect(self, host, *_):
        tried.append(host)
        raise httpcore.ConnectError("refused") if len(tried) == 1 else _ConnectedError

    async def resolve():
        loop = asyncio.get_running_loop()

        async def found(*_, **__):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 80)) for a in ("8.8.8.8", "1.1.1.1")]

        monkeypatch.setattr(loop, "getaddrinfo", found)
        await AsyncPublicOnlyBackend().connect_tcp("crm.example.com", 80, 5)

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)

    with pytest.raises(_ConnectedError):
        asyncio.run(resolve())

    assert tried == ["8.8.8.8", "1.1.1.1"]


def test_a_name_that_does_not_exist_is_an_error_of_the_wire(send):
    with pytest.raises(TransportError, match="could not connect"):
        send("GET", "http://nowhere.invalid/", allow_private_networks=False, retry=None)


def test_no_proxy_resolves_names_where_nobody_judges_them(server, monkeypatch):
    monkeypatch.setattr(clients, "_clients", {})
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("NO_PROXY", "")
    names(monkeypatch, "10.0.0.1")

    with pytest.raises(DestinationError):
        send_request.fn("GET", "http://crm.example.com/", allow_private_networks=False)

    assert server.connections == 0
