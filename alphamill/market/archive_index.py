"""What the archive has: the listing of its bucket, which names coins that nobody lists any more.

data.binance.vision is a bucket of Amazon S3 behind a site; the site answers a listing with a page
for people, the bucket's own address with XML. Source: "ListObjects" of the S3 API, version 1.
"""

from __future__ import annotations

import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass

import requests

from alphamill.clock import Clock
from alphamill.errors import Misconfigured, RetryLater
from alphamill.market.archive import SETTING
from alphamill.market.http import BAD_URL, cause_of, open_session
from alphamill.settings.exchange import ARCHIVE_URL

# Where the archive at an address lists its keys, if not at that address.
_LISTED_AT = {ARCHIVE_URL: "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"}
_AT_ONCE = 8  # requests of one process under way; also how many threads are worth having
_TRIES = 3
_AGAIN_AFTER_S = 1.0
_CONNECT_S = 5.0
_MOST_BYTES = 4 << 20  # a page of 1,000 keys takes 400 kB
_MOST_PAGES = 1000  # of one listing: a server that never says the end is not believed


@dataclass(frozen=True, slots=True)
class _Page:
    keys: tuple[str, ...]
    folders: tuple[str, ...]
    next_marker: str | None


class ArchiveIndex:
    """The archive's keys over HTTP; safe to share between threads. No request weight is used."""

    at_once = _AT_ONCE

    def __init__(
        self,
        archive_url: str,
        clock: Clock,
        timeout_s: float = 15.0,
        session: requests.Session | None = None,
    ) -> None:
        base = archive_url.rstrip("/")
        self._url = _LISTED_AT.get(base, base)
        self._clock = clock
        self._timeout_s = timeout_s
        self._session = session or open_session()
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()

    def folders(self, prefix: str) -> Iterator[str]:
        """Names of the folders directly below `prefix`, which ends with a slash, in order."""
        for page in self._pages(prefix, ""):
            for folder in page.folders:
                yield folder.removeprefix(prefix).rstrip("/")

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """Keys that begin with `prefix` and come after `after`, without what lies in folders.

        Without the folder that `prefix` names: "BTCUSDT-1d-2021-04.zip".
        """
        for page in self._pages(prefix, after):
            for key in page.keys:
                yield key.rsplit("/", 1)[-1]

    def _pages(self, prefix: str, marker: str) -> Iterator[_Page]:
        """GET {url}/?delimiter=/&prefix=...&marker=..., up to 1,000 keys and folders a page."""
        for _ in range(_MOST_PAGES):
            page = self._page(prefix, marker)
            yield page
            if page.next_marker is None:
                return
            if page.next_marker <= marker:
                raise RetryLater(f"{self._url} lists {prefix} in a circle", 60.0)
            marker = page.next_marker
        raise RetryLater(f"{self._url} lists {prefix} without an end", 60.0)

    def _page(self, prefix: str, marker: str) -> _Page:
        query = {"delimiter": "/", "prefix": prefix} | ({"marker": marker} if marker else {})
        for left in reversed(range(_TRIES)):
            try:
                return _parsed(self._sent(query), self._url)
            except RetryLater:
                if not left:
                    raise
                self._clock.sleep(_AGAIN_AFTER_S)
        raise AssertionError

    def _sent(self, query: dict[str, str]) -> bytes:
        try:
            with self._turns:
                reply = self._session.get(
                    f"{self._url}/",
                    params=query,
                    timeout=(_CONNECT_S, self._timeout_s),
                    allow_redirects=False,
                )
        except BAD_URL as error:
            cure = "give http(s)://host, or switch binance.archive off"
            raise Misconfigured(SETTING, f"{self._url!r} is not a URL", cure) from error
        except requests.RequestException as error:
            raise RetryLater(f"no answer from {self._url} ({cause_of(error)})", 5.0) from error
        if reply.status_code != 200:
            raise RetryLater(f"{self._url} answers a listing with HTTP {reply.status_code}", 5.0)
        if len(reply.content) > _MOST_BYTES:
            raise RetryLater(f"{self._url} answers a listing with {len(reply.content)} bytes", 5.0)
        return reply.content


def _parsed(body: bytes, url: str) -> _Page:
    """Raises Misconfigured for what is no listing, RetryLater for one that was cut."""
    if not body.lstrip().startswith(b"<?xml") or b"<!DOCTYPE" in body:
        cure = "name the address that lists the archive's keys as S3 does"
        raise Misconfigured(SETTING, f"{url} does not list its keys", cure)
    try:
        root = ET.fromstring(body)  # noqa: S314  no document type, so no entities
    except ET.ParseError as error:
        raise RetryLater(f"{url} sent a listing that breaks off ({error})", 5.0) from error
    space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
    if root.tag != f"{space}ListBucketResult":
        cure = "name the address that lists the archive's keys as S3 does"
        raise Misconfigured(SETTING, f"{url} does not list its keys", cure)

    def texts(path: str) -> tuple[str, ...]:
        steps = "/".join(space + step for step in path.split("/"))
        return tuple(found.text or "" for found in root.iterfind(steps))

    keys, folders = texts("Contents/Key"), texts("CommonPrefixes/Prefix")
    if texts("IsTruncated") != ("true",):
        return _Page(keys, folders, None)
    # The marker is stated with folders alone; without it the last name is one.
    stated = texts("NextMarker") or tuple(sorted([*keys, *folders])[-1:])
    if not stated:
        raise RetryLater(f"{url} sent an empty page that says it is cut", 5.0)
    return _Page(keys, folders, stated[0])
