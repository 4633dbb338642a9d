"""Which addresses belong to the public internet, and are nobody's inside."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_UNICAST = IPv6Network("2000::/3")
"""All IPv6 that is routed. What embeds IPv4 is outside of it (mapped, NAT64) or listed below."""

_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and the metadata of some clouds
        "127.0.0.0/8",
        "168.63.129.16/32",  # the host agent of Azure: public by number alone
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
"""From IANA's registries of special purposes: Python's own `is_global` lets some of them pass."""


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, and carries no other address in it."""
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not any(address in network for network in _NOT_PUBLIC)


def parsed(text: str) -> Address | None:
    """Return an address from its one canonical notation; None where the text is not one.

    `127.1`, `0x7f000001` and `2130706433` are none, though a resolver may read them so.
    """
    try:
        return ip_address(text)
    except ValueError:
        return None
