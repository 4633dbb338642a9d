"""Which addresses are of the public internet."""

import pytest

from jobs.addresses import is_public, parsed

PUBLIC = ["1.1.1.1", "8.8.8.8", "168.63.129.17", "2606:4700:4700::1111", "2a00:1450:4001::200e"]

INSIDE = {
    "this host": ["0.0.0.0", "0.1.2.3", "::"],  # noqa: S104
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd00::1"],
    "shared by carriers": ["100.64.0.1", "100.100.100.200"],
    "link-local": ["169.254.1.1", "fe80::1"],
    "metadata of clouds": ["169.254.169.254", "192.0.0.192", "fd00:ec2::254", "168.63.129.16"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "4000::1", "5f00::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmarks": ["198.18.0.1", "2001:2::1"],
    "6to4": ["2002:7f00:1::", "2002:a9fe:a9fe::", "192.88.99.1"],
    "Teredo": ["2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe"],
    "IPv4 within IPv6": ["::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:7f00:1"],
    "site-local": ["fec0::1"],
}


@pytest.mark.parametrize("text", PUBLIC)
def test_it_is_public(text: str) -> None:
    address = parsed(text)
    assert address
    assert is_public(address)


@pytest.mark.parametrize("text", [text for texts in INSIDE.values() for text in texts])
def test_it_is_not_public(text: str) -> None:
    address = parsed(text)
    assert address
    assert not is_public(address)


@pytest.mark.parametrize("text", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.0.01"])
def test_only_the_canonical_notation_is_an_address(text: str) -> None:
    assert parsed(text) is None
