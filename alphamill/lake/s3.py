"""A lake on S3 or a store that speaks it: whole objects, and updates that lose nobody's bars.

botocore in place of pyarrow's own S3 file system, which cannot write on a condition
(apache/arrow#44281) and must not be used after a fork.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pyarrow as pa
from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError
from botocore.utils import get_environ_proxies

from alphamill.errors import AlphamillError, Misconfigured, RetryLater
from alphamill.lake.buffers import owned
from alphamill.lake.files import PROBE, SETTING, Stat
from alphamill.proxies import proxy_for

_log = logging.getLogger(__name__)

_TAIL_BYTES = 65_536  # holds the footer of a month of bars
_UPDATES = 16  # losing this many races in a row is no race
_SETTLE_S = 0.5  # how long after a write without a condition somebody else's may still land

_CREDENTIALS = "AWS_ACCESS_KEY_ID"
_GIVE_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_UNKNOWN = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.ProfileNotFound,
    boto.CredentialRetrievalError,
)

_ABSENT = ("NoSuchKey", "404", "NotFound")
_RACE_LOST = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_NO_CONDITIONS = ("NotImplemented", "501")
_KEYS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "AuthFailure",
)
_REGION = (
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "301",
    "IllegalLocationConstraintException",
)
_FORBIDDEN = ("AccessDenied", "403", "AllAccessDisabled")


class _RaceLost(RetryLater):
    """The object is not the one that the condition named."""


class _NoConditions(RetryLater):
    """The store does not know conditional requests."""


class S3Files:
    """`Files` below s3://bucket/prefix.

    Credentials, region and endpoint come from the usual AWS variables and files. `update` writes
    on the condition that the object is still the one that was read (If-Match, If-None-Match) and
    begins again if it is not. Where the store refuses conditions, it reads back what it wrote.
    page_keys: objects of one page of a listing.
    """

    def __init__(self, uri: str, page_keys: int = 1000) -> None:
        self._bucket, _, prefix = uri.removeprefix("s3://").strip("/").partition("/")
        if not self._bucket:
            raise Misconfigured(SETTING, f"{uri!r} names no bucket", "write s3://bucket/prefix")
        self._prefix = f"{prefix}/" if prefix else ""
        self._page_keys = page_keys
        self._conditions = True
        self._opened: tuple[int, Any] | None = None

    def read(self, key: str) -> pa.Buffer:
        return owned(self._get(key)[0])

    def open(self, key: str) -> pa.NativeFile:
        return pa.PythonFile(_Ranged(self, key), mode="r")

    def write(self, key: str, data: pa.Buffer | bytes) -> None:
        self._put(key, data)

    def update(self, key: str, change: Callable[[pa.Buffer | None], pa.Buffer | None]) -> None:
        for attempt in range(_UPDATES):
            before, tag = self._get_or_none(key)
            after = change(before)
            if after is None or (before is not None and after.equals(before)):
                return
            if self._replaced(key, after, tag):
                return
            time.sleep(random.uniform(0, min(1.0, 0.02 * 2**attempt)))  # noqa: S311  jitter
        raise RetryLater(f"others keep writing {self._name(key)}", 2.0, counts=False)

    def stat(self, key: str) -> Stat | None:
        with contextlib.suppress(FileNotFoundError), self._faults(f"read {self._name(key)}"):
            return self._stat(self._call("head_object", key), "ContentLength")
        return None

    def list(self, prefix: str) -> dict[str, Stat]:
        below = f"{self._prefix}{prefix.strip('/')}/" if prefix.strip("/") else self._prefix
        found: dict[str, Stat] = {}
        with self._faults(f"list {self._name(prefix)}"):
            listing = self._client().get_paginator("list_objects_v2")
            size = {"PageSize": self._page_keys}
            for page in listing.paginate(Bucket=self._bucket, Prefix=below, PaginationConfig=size):
                for item in page.get("Contents", ()):
                    key = item["Key"].removeprefix(self._prefix)
                    # Folders that a console made, and files that a folder would hide.
                    if not key.endswith("/") and not f"/{key}".count("/."):
                        found[key] = self._stat(item, "Size")
        return dict(sorted(found.items()))

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._faults(f"delete {self._name(key)}"):
            self._call("delete_object", key)

    def sweep(self) -> bool:
        return True  # an upload is whole or absent, and conditions are its locks

    def check(self) -> None:
        key = f"{PROBE}-{os.getpid()}-{time.time_ns()}"
        try:
            self.write(key, b"writable")
            honoured = not self._replaced(key, pa.py_buffer(b"again"), None)
            self.delete(key)
        except RetryLater as error:
            raise Misconfigured(
                SETTING, str(error), "check the network, AWS_ENDPOINT_URL and AWS_REGION"
            ) from error
        if not honoured:
            self._without_conditions()

    def part(self, key: str, span: str, tag: str | None = None) -> tuple[bytes, int, str]:
        """Bytes of an HTTP range, the object's size and version; `tag`: of this version only."""
        with self._faults(f"read {self._name(key)}"):
            more = {"IfMatch": tag} if tag else {}
            try:
                got = self._call("get_object", key, Range=f"bytes={span}", **more)
            except boto.ClientError as error:
                if _code_of(error) in ("InvalidRange", "416"):  # an empty object has no range
                    return b"", 0, ""
                raise
            total = got.get("ContentRange", "").rpartition("/")[2] or got["ContentLength"]
            return got["Body"].read(), int(total), got["ETag"]

    def _get(self, key: str) -> tuple[bytes, str]:
        with self._faults(f"read {self._name(key)}"):
            got = self._call("get_object", key)
            return got["Body"].read(), got["ETag"]

    def _get_or_none(self, key: str) -> tuple[pa.Buffer | None, str | None]:
        try:
            data, tag = self._get(key)
        except FileNotFoundError:
            return None, None
        return owned(data), tag

    def _put(self, key: str, data: pa.Buffer | bytes, **condition: str) -> str:
        with self._faults(f"write {self._name(key)}"):
            body = data if isinstance(data, bytes) else data.to_pybytes()
            tag: str = self._call("put_object", key, Body=body, **condition)["ETag"]
            return tag

    def _replaced(self, key: str, data: pa.Buffer, tag: str | None) -> bool:
        """Write over the version `tag` (None: over nothing); False if that is not what is there."""
        if self._conditions:
            condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
            try:
                self._put(key, data, **condition)
            except (_RaceLost, FileNotFoundError):  # the latter: deleted since it was read
                return False
            except _NoConditions:
                self._without_conditions()
            else:
                return True
        written = self._put(key, data)
        time.sleep(_SETTLE_S)
        now = self.stat(key)
        return now is not None and now.tag == written

    def _without_conditions(self) -> None:
        if self._conditions:
            self._conditions = False
            _log.warning(
                "s3://%s cannot write on a condition: two workers at one month may undo each "
                "other's work, which the next fetch then repeats",
                self._bucket,
            )

    def _client(self) -> Any:
        """This process's own: connections do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            session = botocore.session.get_session()
            settings = Config(
                region_name=session.get_config_variable("region") or "us-east-1",
                connect_timeout=4,
                read_timeout=30,
                max_pool_connections=32,
                retries={"total_max_attempts": 3, "mode": "standard"},
                # Checksums as trailers, botocore's default, are unknown to many stores.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )
            client = session.create_client("s3", config=settings)
            url = client.meta.endpoint_url
            if (proxy := proxy_for(url)) != get_environ_proxies(url).get(urlsplit(url).scheme):
                # botocore asks a proxy for this machine too, knows no ALL_PROXY and takes SOCKS
                # for HTTP. Only a client knows where it asks.
                proxies = {urlsplit(url).scheme: proxy} if proxy else {}
                client = session.create_client("s3", config=settings.merge(Config(proxies=proxies)))
            self._opened = os.getpid(), client
        return self._opened[1]

    def _call(self, operation: str, key: str, **more: Any) -> Any:
        request = getattr(self._client(), operation)
        return request(Bucket=self._bucket, Key=self._prefix + key, **more)

    def _name(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"

    @staticmethod
    def _stat(told: dict[str, Any], size: str) -> Stat:
        return Stat(told[size], int(told["LastModified"].timestamp() * 1e9), told["ETag"])

    def _faults(self, what: str) -> contextlib.AbstractContextManager[None]:
        return _faults(self._bucket, what)


class _Ranged(io.RawIOBase):
    """One version of an object, read in parts; its end, where parquet's footer is, at once."""

    def __init__(self, files: S3Files, key: str) -> None:
        self._files, self._key, self._at = files, key, 0
        self._tail, self._size, self._tag = files.part(key, f"-{_TAIL_BYTES}")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._size, self._at + size)
        tail_at = self._size - len(self._tail)
        if self._at >= end:
            return b""
        if self._at >= tail_at:
            data = self._tail[self._at - tail_at : end - tail_at]
        else:
            data = self._files.part(self._key, f"{self._at}-{end - 1}", self._tag)[0]
        self._at += len(data)
        return data


def _code_of(error: boto.ClientError) -> str:
    """The store's name of its error, or the HTTP status where it sent none."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def _faults(bucket: str, what: str) -> Iterator[None]:
    """Botocore's errors as FileNotFoundError, Misconfigured or RetryLater."""
    try:
        yield
    except boto.ClientError as error:
        if _code_of(error) in _ABSENT:
            raise FileNotFoundError(f"cannot {what}: there is no such object") from error
        raise _refusal(error, bucket, what) from error
    except _UNKNOWN as error:
        raise Misconfigured(
            _CREDENTIALS, f"no credentials for s3://{bucket}", _GIVE_CREDENTIALS
        ) from error
    except boto.ParamValidationError as error:
        raise Misconfigured(
            SETTING, f"{bucket!r} cannot be a bucket's name", "write s3://bucket/prefix"
        ) from error
    except (ValueError, ResponseParserError) as error:
        raise Misconfigured(
            "AWS_ENDPOINT_URL", f"no S3 there ({error})", "give the store's http(s)://host:port"
        ) from error
    except (boto.BotoCoreError, OSError) as error:
        raise RetryLater(f"cannot {what}: {error}", 5.0) from error


def _refusal(error: boto.ClientError, bucket: str, what: str) -> AlphamillError:
    code = _code_of(error)
    refusals: dict[tuple[str, ...], AlphamillError] = {
        _RACE_LOST: _RaceLost(f"cannot {what}: {code}", 0.5),
        _NO_CONDITIONS: _NoConditions(f"cannot {what}: {code}"),
        ("NoSuchBucket",): Misconfigured(
            SETTING, f"there is no bucket {bucket!r}", "create it, or correct the name"
        ),
        _KEYS: Misconfigured(_CREDENTIALS, f"refused ({code})", _GIVE_CREDENTIALS),
        _REGION: Misconfigured(
            "AWS_REGION", f"bucket {bucket!r} lies elsewhere ({code})", "set the bucket's region"
        ),
        _FORBIDDEN: Misconfigured(
            SETTING,
            f"may not {what}",
            "grant s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket",
        ),
    }
    for codes, refusal in refusals.items():
        if code in codes:
            return refusal
    return RetryLater(f"cannot {what}: {error}", 5.0)
