"""Which proxy of the environment leads to a URL: none to this machine itself."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

import requests

from alphamill.errors import Misconfigured


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address; nothing is looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(url: str) -> str | None:
    """The proxy's URL as HTTPS_PROXY, ALL_PROXY and NO_PROXY say, in either case of letters.

    Raises Misconfigured, naming the variable, for a SOCKS proxy: nothing here speaks to one.
    """
    if is_loopback(urlsplit(url).hostname or ""):
        return None
    found = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    if not found:
        return None
    if found.lower().startswith("socks"):
        raise Misconfigured(_variable(url, found), "names a SOCKS proxy", "name an HTTP proxy")
    return found if "://" in found else f"http://{found}"


def _variable(url: str, value: str) -> str:
    names = (f"{urlsplit(url).scheme.upper()}_PROXY", "ALL_PROXY")
    spelt = (spelling for name in names for spelling in (name, name.lower()))
    return next((name for name in spelt if os.environ.get(name) == value), names[0])
