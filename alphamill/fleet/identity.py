"""What a process computes with: its code, its libraries, its settings and, unreadably, its keys.

A worker tells it in Redis when it starts, and `doctor`, `top` and whoever waits for a run compare
it with their own: a worker that was started before an upgrade, with another file of settings or
with another key looks like any other until its results or refusals come.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import alphamill
from alphamill.errors import Misconfigured
from alphamill.redis_address import shown
from alphamill.settings import LLMSettings, Settings

_PACKAGES = ("alphamill", "workers")
_SOURCES = {".py", ".lua", ".txt", ".toml"}  # code, scripts, prompts, tables; not how pages look
# Another version of these may give a figure other last bits.
_LIBRARIES = ("numpy", "pandas", "pyarrow", "numba", "llvmlite", "scipy", "ta-lib")
_ID_CHARS = 8
_VALUE_CHARS = 200
_SECRET_FIELDS = {"api_key", "headers", "headers_env", "notify_url", "webhook_secret"}
_LOGIN = re.compile(r"//[^/@\s]*@")
# Work and memory of one digest: some 50 ms and 16 MB, for whoever guesses as for whoever asks.
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 2}


@dataclass(frozen=True, slots=True)
class Build:
    """What computes. version: alphamill's; code: a hash of its source files, 8 hex digits.

    libraries: name -> version of those that a figure's last bits depend on, with the interpreter
    and the machine's architecture.
    """

    version: str
    code: str
    libraries: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """A short name that changes with any of it: "0.1.0+3f2a91bc"."""
        return f"{self.version}+{_hash(asdict(self))}"

    @classmethod
    def from_message(cls, told: Mapping[str, Any]) -> Self:
        """What another process has told of itself."""
        libraries = {str(name): str(text) for name, text in dict(told["libraries"]).items()}
        return cls(str(told["version"]), str(told["code"]), libraries)


@cache
def build() -> Build:
    """This process's own, of the files as they are at the first call: a worker asks at its start.

    About 20 ms.
    """
    libraries = {name: found for name in _LIBRARIES if (found := _version(name))}
    libraries["python"] = platform.python_version()
    libraries["machine"] = platform.machine()
    return Build(alphamill.__version__, _code(), libraries)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # it is needed by some pools alone
        return ""


def _code() -> str:
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path, name in _files(package):
            text = path.read_bytes()
            digest.update(f"{name}\0{len(text)}\0".encode())
            digest.update(text)
    return digest.hexdigest()[:_ID_CHARS]


def _files(package: str) -> Iterator[tuple[Path, str]]:
    found = find_spec(package)
    for folder in (found.submodule_search_locations or []) if found else []:
        root = Path(folder)
        for path in sorted(root.rglob("*")):
            if path.suffix in _SOURCES and path.is_file():
                yield path, f"{package}/{path.relative_to(root).as_posix()}"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a process is and works with.

    settings: dotted name, as in the TOML file, -> value; secrets are not among them. keys: what a
    key is for -> its digest, "" where none is set. salt: which salt the digests were made with;
    only digests of one salt can be compared.
    """

    build: Build
    settings: Mapping[str, str]
    keys: Mapping[str, str] = field(default_factory=dict)
    salt: str = ""

    @property
    def id(self) -> str:
        """Equal content, equal id."""
        return _hash(self.to_message())

    def to_message(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_message(cls, told: Mapping[str, Any]) -> Self:
        """The reverse of `to_message`; raises LookupError, TypeError or ValueError for another."""
        return cls(
            Build.from_message(told["build"]),
            dict(told["settings"]),
            dict(told["keys"]),
            str(told["salt"]),
        )


def identity(settings: Settings, salt: str = "") -> Identity:
    """This process's own. salt: the installation's (`Presence.salt`); "": keys are left out.

    With a salt it takes some 50 ms of processor time for each key.
    """
    keys = key_digests(settings.llm, salt) if salt else {}
    return Identity(build(), told_settings(settings), keys, _salt_id(salt))


def told_settings(settings: Settings) -> dict[str, str]:
    """Every setting that is no secret, by its dotted name; addresses without their logins."""
    plain = settings.model_dump(mode="json", exclude={"home", "redis_url", "notify_url", "lake"})
    told = dict(_flat(plain, ""))
    told["lake"] = _without_login(settings.lake_uri)
    # How a worker reaches the Redis in which it is heard of is its own affair, as is its home.
    told["broker_url"] = shown(settings.broker_url) if settings.broker_url else "the same Redis"
    return told


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in _SECRET_FIELDS:
                yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for place, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{place}]")
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        yield name, _without_login(text)[:_VALUE_CHARS]


def _without_login(text: str) -> str:
    return _LOGIN.sub("//", text)


def key_digests(llm: LLMSettings, salt: str) -> dict[str, str]:
    """What each key and secret header is for -> its digest; "" where none is set.

    A digest is two bytes of scrypt over the key with the installation's random salt, which lies in
    Redis. Who has the salt too can try guesses at 50 ms each, but one in 65,536 wrong ones fits, so
    that no guess is ever confirmed: it tells keys apart, and nothing of a key.
    """
    digest = cache(lambda secret: _digest(secret, salt))
    found = {}
    for tier, chosen in llm.tiers.items():
        for place, model in enumerate(chosen.models):
            endpoint = llm.endpoint(model)
            what = f"{tier.value}[{place}] at {_without_login(endpoint.url)}"
            try:
                key = llm.key(endpoint)
                headers = llm.headers_of(endpoint)
            except Misconfigured:  # named and not there, which is what differs
                found[what] = ""
                continue
            found[what] = digest(key.get_secret_value()) if key else ""
            for name, value in headers.items():
                found[f"{what}, header {name}"] = digest(value.get_secret_value())
    return found


def _digest(secret: str, salt: str) -> str:
    return hashlib.scrypt(secret.encode(), salt=salt.encode(), **_SCRYPT).hex()


def _salt_id(salt: str) -> str:
    return hashlib.sha256(salt.encode()).hexdigest()[:_ID_CHARS] if salt else ""


def _hash(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_CHARS]
