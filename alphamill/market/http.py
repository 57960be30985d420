"""The HTTP sessions of the market's clients, and what went wrong on one."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from alphamill.proxies import proxy_for

_POOL = 32  # connections kept alive; threads beyond it open their own
BAD_URL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
)


class _Session(requests.Session):
    """Reads the environment's proxies and certificates once a host, not with every request."""

    def __init__(self) -> None:
        super().__init__()
        self._of_host: dict[tuple[Any, ...], Any] = {}

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        key = (*urlsplit(url)[:2], bool(proxies), stream, verify, cert)
        if key not in self._of_host:
            merged = super().merge_environment_settings(url, proxies, stream, verify, cert)
            proxy = proxy_for(url)
            merged["proxies"] = {urlsplit(url).scheme: proxy} if proxy else {}
            self._of_host[key] = merged
        return dict(self._of_host[key])


def open_session() -> requests.Session:
    """A session that threads may share: pooled connections, no cookies."""
    session = _Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=_POOL))
    session.headers["User-Agent"] = "alphamill"
    return session


def cause_of(error: Exception) -> str:
    """What lies at the bottom of a failed request, in one line."""
    root: BaseException = error
    while root.__cause__ or root.__context__:
        root = root.__cause__ or root.__context__ or root
    return f"{type(error).__name__}: {str(root)[:160]}"
