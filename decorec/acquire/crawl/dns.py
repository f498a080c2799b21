"""Which network addresses a crawl may connect to."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time

__all__ = ["PrivateAddressError", "Resolver", "UnreachableError", "is_public"]

NAT64 = ipaddress.ip_network("64:ff9b::/96")
LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
"""Translation prefixes of a single network (RFC 8215)."""
COMPATIBLE = ipaddress.ip_network("::/96")
"""IPv4-compatible addresses, no longer in use (RFC 4291, 2.5.5.1), but still accepted by some systems."""
SECONDS_KEPT = 300.0


class PrivateAddressError(OSError):
    """A host resolves to an address that is not on the public internet."""


class UnreachableError(OSError):
    """An address cannot be reached."""


def is_public(address: str) -> bool:
    """Whether ``address`` (IPv4 or IPv6, with or without zone) is reachable on the public internet.

    IPv6 forms that carry an IPv4 address (mapped, compatible, 6to4, NAT64, Teredo) are judged by that address.
    Site-local addresses and the translation prefixes of a single network are not public.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        carried = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip.is_site_local or ip in LOCAL_NAT64:
            return False
        if ip in NAT64 or (ip in COMPATIBLE and int(ip) > 1):  # :: and ::1 are what they are
            carried = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if carried is not None:
            ip = carried
    return ip.is_global and not ip.is_multicast


class Resolver:
    """Checked addresses of hosts. The caller connects to the returned address, so no second lookup can differ."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._known: dict[tuple[str, int], tuple[float, list[str]]] = {}
        self._lock = threading.Lock()

    def resolve(self, host: str, port: int) -> list[str]:
        """Addresses of ``host``, in the order in which to try them.

        Raises:
            PrivateAddressError: one of them is not public, and private ones are not allowed.
            socket.gaierror: the name cannot be resolved.
        """
        now = time.monotonic()
        with self._lock:
            expires, addresses = self._known.get((host, port), (0.0, []))
        if expires > now:
            return addresses
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        private = [address for address in addresses if not is_public(address)]
        if private and not self._allow_private:
            raise PrivateAddressError(f"{host} resolves to {private[0]}, which is not a public address")
        with self._lock:
            self._known[host, port] = (now + SECONDS_KEPT, addresses)
        return addresses
