"""Which proxy the environment wants for an address.

One rule serves both the choice of the transport and the portable transport itself: HTTP_PROXY,
HTTPS_PROXY and ALL_PROXY (on macOS and Windows also the system's settings) apply unless NO_PROXY
names the host. This machine is never reached through a proxy, whatever the environment says: a
benchmark of a local server would measure the proxy, and say nothing.
"""

from __future__ import annotations

from importlib.util import find_spec
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from harness.addresses import is_loopback
from harness.errors import SpecError
from harness.transport.wire import Target

__all__ = ["is_loopback", "proxy_for"]


def proxy_for(target: Target) -> str | None:
    """The proxy's URL, None for a direct connection; SpecError for a proxy that we cannot use."""
    if target.scheme == "http+unix" or is_loopback(target.host):
        return None
    from urllib.request import getproxies  # slow to import: it brings ssl and http

    found = getproxies()
    proxy = found.get(target.scheme) or found.get("all")
    if not proxy or _excepted(target, found.get("no", "")):
        return None
    return _usable(proxy if "://" in proxy else f"http://{proxy}", target.scheme)


def _excepted(target: Target, no_proxy: str) -> bool:
    from urllib.request import proxy_bypass

    if proxy_bypass(target.host) or proxy_bypass(f"{target.host}:{target.port}"):
        return True
    try:
        address = ip_address(target.host)
    except ValueError:
        return False
    # The standard library knows names and suffixes; NO_PROXY=10.0.0.0/8 is as common.
    return any(_covers(entry.strip(), address) for entry in no_proxy.split(",") if "/" in entry)


def _covers(network: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        return False


def _usable(proxy: str, scheme: str) -> str:
    kind = urlsplit(proxy).scheme
    # Only the scheme is shown: the rest may hold a password.
    where = f"the proxy that the environment sets for {scheme}://"
    if kind not in ("http", "https", "socks5", "socks5h"):
        raise SpecError(f"a {kind!r} proxy is not one we can use", where=where)
    if kind.startswith("socks") and find_spec("socksio") is None:
        raise SpecError("a SOCKS proxy needs a package", where=where, remedy="pip install socksio")
    return proxy
