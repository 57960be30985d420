"""Binance's public archive, data.binance.vision: static zips with checksums beside them.

It costs no request weight. A file counts only if it is what its CHECKSUM says; one that is not, or
that does not unpack to its own bars, is `Damaged` and somebody else's to keep and to replace. Small
files are read in memory; those of trades are put aside on the disk and read piece by piece.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol
from urllib.parse import quote

import pyarrow as pa
import requests

from alphamill.clock import Clock
from alphamill.errors import AlphamillError, Misconfigured, RetryLater
from alphamill.frames import Market
from alphamill.market.archive_zip import MAX_ZIP_BYTES, csv_pieces
from alphamill.market.http import BAD_URL, cause_of, open_session

MARKET_FOLDERS = {Market.SPOT: "spot", Market.USD_M: "futures/um", Market.COIN_M: "futures/cm"}

SETTING = "ALPHAMILL_ARCHIVE_URL"
_CHECKSUM = re.compile(rb"\s*([0-9a-fA-F]{64})(?:\s|$)")
_CHECKSUM_BYTES = 4096
_MOST_ON_DISK_BYTES = 8 * 2**30  # fifteen times the largest month of 2026
_AT_ONCE = 8  # requests of one process under way
# A month's text and columns take 20 MB; more of them at once than there are cores gain nothing.
_UNPACKED_AT_ONCE = max(2, os.cpu_count() or 2)
_CONNECT_S = 5.0
_REST_S = 60.0  # how long nobody asks an archive that did not answer twice
_CHUNK = 1 << 20


class Damaged(AlphamillError):
    """A file that is there and cannot be trusted: `content` is what came, `expected` its sha256."""

    def __init__(self, name: str, reason: str, content: bytes, expected: str = "") -> None:
        super().__init__(name, reason, content, expected)
        self.name = name
        self.reason = reason
        self.content = content
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class ArchiveFile(Protocol):
    """A file of the archive."""

    @property
    def stem(self) -> str:
        """Its name without ending."""

    @property
    def path(self) -> str:
        """Below the archive's URL, without a slash before it; not percent-encoded."""

    @property
    def source(self) -> Literal["archive-monthly", "archive-daily"]:
        """As the lake records it."""

    def parse(self, content: bytes) -> pa.Table:
        """What a verified zip holds. Raises ValueError, in words, for anything else."""


class ZippedFile(Protocol):
    """A file of the archive that is read piece by piece."""

    @property
    def stem(self) -> str:
        """Its name without ending, which is that of the CSV in it too."""

    @property
    def path(self) -> str:
        """Below the archive's URL, without a slash before it; not percent-encoded."""


@dataclass(frozen=True, slots=True)
class PutAside:
    """A zip on the disk that is what its CHECKSUM says; checked is False where it has none."""

    stem: str
    content: BinaryIO
    checked: bool
    sha256: str

    def pieces(self) -> Iterator[bytes]:
        """Its CSV in order, cut anywhere. Raises Damaged, at any piece and at the end."""
        try:
            yield from csv_pieces(self.content, f"{self.stem}.csv")
        except ValueError as error:
            raise self.damaged(str(error)) from error

    def damaged(self, reason: str) -> Damaged:
        """The error for a file that is not what it should be; a big one's bytes are not kept."""
        self.content.seek(0, os.SEEK_END)
        small = self.content.tell() <= MAX_ZIP_BYTES
        self.content.seek(0)
        return Damaged(self.stem, reason, self.content.read() if small else b"", self.sha256)


class Archive:
    """A `FileArchive` of klines and of funding, and a `TradeArchive`, over HTTP.

    Safe to share between threads.

    Two failures in a row, and it answers RetryLater at once for a minute: a worker has the
    exchange to fall back on, and should not wait for time-outs file by file.
    """

    def __init__(
        self,
        base_url: str,
        clock: Clock,
        timeout_s: float = 15.0,
        session: requests.Session | None = None,
    ) -> None:
        self._url = base_url.rstrip("/")
        self._clock = clock
        self._timeout_s = timeout_s
        self._session = session or open_session()
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._unpacking = threading.BoundedSemaphore(_UNPACKED_AT_ONCE)
        self._rests_until_s = float("-inf")
        self._why_it_rests = ""

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()

    def read(self, file: ArchiveFile) -> pa.Table | None:
        """GET {url}/data/.../SYMBOL-INTERVAL-PERIOD.zip and .zip.CHECKSUM; no weight.

        None where neither is; one without the other is `Damaged`: what has no checksum cannot be
        verified. A mismatch is looked at twice, since the two are not replaced in one moment.
        """
        try:
            return self._verified(file)
        except Damaged:
            return self._verified(file)

    @contextmanager
    def put_aside(self, file: ZippedFile) -> Iterator[PutAside | None]:
        """As `read`, of a file that does not fit in memory: on the disk while the context lasts.

        One without a CHECKSUM is taken all the same, since its zip has sums of its own and nothing
        else may have these rows; `PutAside.checked` says so. Raises Damaged, RetryLater, and
        Misconfigured where the disk has no room.
        """
        with ExitStack() as stack:
            try:
                content = stack.enter_context(tempfile.TemporaryFile(prefix="alphamill-"))
                found = self._downloaded(file, content)
            except OSError as error:
                raise Misconfigured(
                    "TMPDIR",
                    f"{file.stem}.zip cannot be put aside on the disk ({error})",
                    "name a folder with a few GB to spare",
                ) from error
            yield found

    def _downloaded(self, file: ZippedFile, content: BinaryIO) -> PutAside | None:
        for last in (False, True):  # a file and its CHECKSUM are not replaced in one moment
            said = self._get(f"{file.path}.CHECKSUM", _CHECKSUM_BYTES)
            if not self._found(file.path, _MOST_ON_DISK_BYTES, content):
                if said is None:
                    return None
                if last:
                    raise Damaged(file.stem, "it has no zip", b"")
                continue
            if said is None:
                return PutAside(file.stem, content, checked=False, sha256="")
            match = _CHECKSUM.match(said)
            expected = match[1].decode().lower() if match else ""
            aside = PutAside(file.stem, content, checked=True, sha256=expected)
            if _sha256(content) == expected:
                return aside
            if last:
                fits = "it does not have its CHECKSUM's sha256"
                raise aside.damaged(fits if match else "its CHECKSUM is malformed")
        return None

    def _verified(self, file: ArchiveFile) -> pa.Table | None:
        said = self._get(f"{file.path}.CHECKSUM", _CHECKSUM_BYTES)
        content = self._get(file.path, MAX_ZIP_BYTES)
        if said is None and content is None:
            return None
        if said is None or content is None:
            lacks = "CHECKSUM" if said is None else "zip"
            raise Damaged(file.stem, f"it has no {lacks}", content or b"")
        match = _CHECKSUM.match(said)
        if match is None:
            raise Damaged(file.stem, "its CHECKSUM is malformed", content)
        expected = match[1].decode().lower()
        if hashlib.sha256(content).hexdigest() != expected:
            raise Damaged(file.stem, "it does not have its CHECKSUM's sha256", content, expected)
        try:
            with self._unpacking:
                return file.parse(content)
        except ValueError as error:
            raise Damaged(file.stem, str(error), content, expected) from error

    def _get(self, path: str, most_bytes: int) -> bytes | None:
        """The body of a 200, None for a 404; a second try before RetryLater."""
        body = io.BytesIO()
        return body.getvalue() if self._found(path, most_bytes, body) else None

    def _found(self, path: str, most_bytes: int, body: BinaryIO) -> bool:
        """Whether it is there; then it is in `body`."""
        if self._clock.monotonic_s() < self._rests_until_s:
            raise RetryLater(self._why_it_rests, 5.0)
        try:
            return self._send(path, most_bytes, body)
        except RetryLater:
            pass
        try:
            return self._send(path, most_bytes, body)
        except RetryLater as error:
            self._why_it_rests = error.reason
            self._rests_until_s = self._clock.monotonic_s() + _REST_S
            raise

    def _send(self, path: str, most_bytes: int, body: BinaryIO) -> bool:
        url = f"{self._url}/{quote(path)}"
        body.seek(0)
        body.truncate()
        try:
            with (
                self._turns,
                self._session.get(
                    url, stream=True, timeout=(_CONNECT_S, self._timeout_s), allow_redirects=False
                ) as reply,
            ):
                if reply.status_code == 404:
                    return False
                if reply.status_code != 200:
                    raise RetryLater(f"{url} answers HTTP {reply.status_code}", 5.0)
                for chunk in reply.iter_content(_CHUNK):
                    body.write(chunk)
                    if body.tell() > most_bytes:
                        raise Damaged(_name(path), f"it is over {most_bytes} bytes", b"")
        except BAD_URL as error:
            cure = "give http(s)://host, or switch binance.archive off"
            raise Misconfigured(SETTING, f"{self._url!r} is not a URL", cure) from error
        except requests.RequestException as error:
            raise RetryLater(f"no answer from {self._url} ({cause_of(error)})", 5.0) from error
        return True


def _sha256(content: BinaryIO) -> str:
    digest = hashlib.sha256()
    content.seek(0)
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".CHECKSUM").removesuffix(".zip")
